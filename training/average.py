"""Average the weights of checkpoints that were trained from one start, such as those of several seeds.

    python -m training.average CHECKPOINT... --output CHECKPOINT [--weights 0.7 0.3] [--round-at-random 0]

The mean costs nothing to serve and errs less than each alone (Wortsman et al., "Model soups", ICML 2022). That of a
fine-tuned model and of what it was before, by `--weights`, keeps more of the latter (Wortsman et al., CVPR 2022).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from model_export.checkpoint import silence
from model_export.errors import one_line
from model_export.progress import note
from training.errors import TrainingError
from training.rounding import round_at_random


def average(checkpoints: Sequence[Path], shares: Sequence[float]) -> PreTrainedModel:
    """The first checkpoint with the mean of all weights by `shares`, float32. Raises TrainingError for other shapes."""
    models = [AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32) for path in checkpoints]
    states = [model.state_dict() for model in models]
    shapes = [{name: tuple(weights.shape) for name, weights in state.items()} for state in states]
    for path, found in zip(checkpoints, shapes, strict=True):
        if found != shapes[0]:
            raise TrainingError(f"{path} has other weights than {checkpoints[0]}: only models of one start have a mean")
    parts = [(share / sum(shares), state) for share, state in zip(shares, states, strict=True)]
    models[0].load_state_dict({name: sum(share * state[name] for share, state in parts) for name in states[0]})
    result: PreTrainedModel = models[0]
    return result


def run(checkpoints: Sequence[Path], shares: Sequence[float] | None, output: Path, seed: int | None) -> None:
    """Write the mean into the new folder `output`, rounded at random by `seed`, if any. Raises TrainingError."""
    shares = shares or [1.0] * len(checkpoints)
    if len(shares) != len(checkpoints) or min(shares) <= 0:
        raise TrainingError(f"--weights: expected {len(checkpoints)} numbers above 0, one a checkpoint, got {shares}")
    if output.exists():
        raise TrainingError(f"{output} exists; name a new folder")
    model = average(checkpoints, shares)
    if seed is not None:
        round_at_random(model, seed)
    model.save_pretrained(output)
    AutoTokenizer.from_pretrained(checkpoints[0]).save_pretrained(output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.average", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", help="folders that training.train has written")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint; must not exist")
    parser.add_argument("--weights", type=float, nargs="+", help="how much each checkpoint counts; all alike without")
    parser.add_argument(
        "--round-at-random",
        type=int,
        metavar="SEED",
        help="to the export's integers, for a start made by training.unpack: it keeps small changes",
    )
    options = parser.parse_args(arguments)
    silence()
    try:
        run(options.checkpoints, options.weights, options.output, options.round_at_random)
    except (TrainingError, OSError, ValueError) as exc:
        note(f"error: {one_line(exc)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
