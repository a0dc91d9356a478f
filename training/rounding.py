"""Rounding weights to the export's integers at random, so that a short training from a package is not lost.

The weights of an unpacked package lie on the grid of its integers. A short training moves most of them by less than
half a step, and rounding to the nearest integer would take them all back; rounded at random, up as often as they lie
further up, they keep on average what they have learned.
"""

import torch

from model_export.quantise import WEIGHT_LIMIT


def round_at_random(model: torch.nn.Module, seed: int) -> None:
    """Round the weights of all linear layers in `model.distilbert.transformer` in place; its export changes none again.

    The grid is the export's, one scale an output; the largest weight of each output, which sets the scale, stays.
    """
    generator = torch.Generator().manual_seed(seed)
    layers: torch.nn.Module = model.distilbert.transformer
    with torch.no_grad():
        for module in layers.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(_rounded(module.weight, generator))


def _rounded(weights: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(outputs, inputs) -> the same on the grid."""
    peaks = weights.abs().amax(dim=1, keepdim=True)
    scales = torch.where(peaks == 0, 1.0, peaks / WEIGHT_LIMIT)
    chance = torch.rand(weights.shape, generator=generator)
    integers = torch.floor(weights / scales + chance).clamp(-WEIGHT_LIMIT, WEIGHT_LIMIT)
    return torch.where(weights.abs() == peaks, weights, integers * scales)
