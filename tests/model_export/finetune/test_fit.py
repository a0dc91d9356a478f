"""The training: interrupted anywhere it ends as it would have, and it saves the better weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from model_export.checkpoint import load
from model_export.dataset import LabelledText
from model_export.finetune.fit import MEAN, Fit, chosen_of, logits, train
from model_export.finetune.recipe import Recipe

RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=5e-3, max_tokens=16, snapshot_steps=2, detokenised_share=0.5)
TEXTS = [LabelledText(f"{('bad', 'good')[n % 2]} film {n}", (n % 2,)) for n in range(24)]
DEV = [LabelledText(f"{('worst', 'love it')[n % 2]} {n}", (n % 2,)) for n in range(6)]


class Stopped(Exception):
    """The break."""


def stop_after(calls: int) -> Callable[[], None]:
    """For `train`: raises Stopped at that call."""
    left = calls

    def between() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stopped

    return between


def fresh(checkpoint: Path) -> Fit:
    """A run from the tiny checkpoint, of 6 steps an epoch."""
    torch.manual_seed(RECIPE.seed)
    return Fit(load(checkpoint), TEXTS, RECIPE)


def ended(run: Fit) -> tuple[Any, list[torch.Tensor]]:
    """What is left of a run -> its figures, and all weights of the candidates."""
    candidates = train(run, {"dev": DEV}, lambda: None)
    assert list(candidates) == ["epoch 2", MEAN]
    return run.figures, [weights for one in candidates.values() for weights in one.model.parameters()]


# 6 steps and a batch for measuring make 7 calls an epoch; the 15th call measures the mean of the snapshots.
@pytest.mark.parametrize("calls", [1, 4, 6, 7, 8, 13, 14, 15])
def test_interrupted_run_ends_as_if_it_had_not_been(checkpoint: Path, tmp_path: Path, calls: int) -> None:
    """Through a file, wherever it was interrupted: in an epoch, while measuring, and after the last epoch."""
    figures, weights = ended(fresh(checkpoint))
    run = fresh(checkpoint)
    with pytest.raises(Stopped):
        train(run, {"dev": DEV}, stop_after(calls))
    torch.save(run.state(), tmp_path / "state")
    again = fresh(checkpoint)
    again.restore(torch.load(tmp_path / "state", weights_only=True))
    assert again.step == run.step < calls + 1
    resumed_figures, resumed_weights = ended(again)
    assert resumed_figures == figures
    assert all(torch.equal(one, other) for one, other in zip(resumed_weights, weights, strict=True))


def test_better_candidate_is_chosen(checkpoint: Path) -> None:
    """By the figures on the dev set."""
    run = fresh(checkpoint)
    run.figures = {"epoch 2": {"dev": {"accuracy": 60.0}}, MEAN: {"dev": {"accuracy": 70.0}}}
    assert chosen_of(run, DEV, run.figures) == MEAN


def test_mean_is_of_the_last_third(checkpoint: Path) -> None:
    """Snapshots at steps 8, 10 and 12 of 12; without any there is one candidate."""
    run = fresh(checkpoint)
    assert list(run.candidates()) == ["epoch 2"]
    snapshots: list[torch.Tensor] = []

    def between() -> None:
        if run.step in {8, 10, 12} and run.batch and len(snapshots) < 3:
            snapshots.append(run.checkpoint.model.classifier.weight.detach().clone())

    mean = train(run, {"dev": DEV}, between)[MEAN].model.classifier.weight
    assert torch.allclose(mean, torch.stack(snapshots).mean(dim=0), atol=1e-6)


def test_each_step_is_clipped_follows_the_schedule_and_decays_matrices_alone(checkpoint: Path) -> None:
    """As the optimiser sees it, from a head so large that its gradients are, too."""
    run = fresh(checkpoint)
    with torch.no_grad():
        run.checkpoint.model.classifier.weight.mul_(1_000)
    seen: list[tuple[float, float]] = []

    def watch(optimiser: torch.optim.Optimizer, *_: object) -> None:
        groups = optimiser.param_groups
        weights = [weight for group in groups for weight in group["params"] if weight.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([weight.grad.norm() for weight in weights]))
        seen.append((float(norm), groups[0]["lr"]))
        decays = {(weight.ndim > 1, group["weight_decay"]) for group in groups for weight in group["params"]}
        assert decays == {(True, RECIPE.weight_decay), (False, 0.0)}

    hook = register_optimizer_step_pre_hook(watch)
    try:
        train(run, {"dev": DEV}, lambda: None)
    finally:
        hook.remove()
    norms, rates = zip(*seen, strict=True)
    assert len(norms) == run.steps
    assert max(norms) == pytest.approx(1.0, abs=1e-3)
    assert max(rates) == RECIPE.learning_rate
    assert sorted(rates[2:], reverse=True) == list(rates[2:])
    assert rates[-1] < 0.2 * RECIPE.learning_rate


def test_dropout_is_for_training_alone(checkpoint: Path) -> None:
    """In every epoch, also in those behind a measurement, which has none: two of them agree."""
    run = fresh(checkpoint)
    modes: list[tuple[bool, bool]] = []
    train(run, {"dev": DEV}, lambda: modes.append((0 < run.batch < 6, run.checkpoint.model.training)))
    assert {training for learning, training in modes if learning} == {True}
    first, second = (logits(run.checkpoint, DEV, RECIPE) for _ in range(2))
    assert (first == second).all()
