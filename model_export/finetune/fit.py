"""The training itself: epochs over the texts, and which of the resulting weights are the best.

What is saved is the better of the last epoch and the mean of snapshots from the last third of the run (Izmailov et al.,
2018, arXiv:1803.05407), as measured on the dev set.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel
from transformers import get_linear_schedule_with_warmup

from model_export.calibrate import targets_of
from model_export.checkpoint import Checkpoint
from model_export.dataset import LabelledText
from model_export.finetune import batches
from model_export.finetune.bar import say, shown, steps_bar
from model_export.finetune.loss import class_weights, loss_of
from model_export.finetune.measures import constant, figures, judged_by
from model_export.finetune.recipe import Recipe
from model_export.precision import autocast
from model_export.reference import CheckpointScorer, logits_of
from model_export.scores import FloatArray
from model_export.selection import best
from model_export.windows import Windows

MEAN = "mean of snapshots"

Between = Callable[[], None]
"""Called between two batches; what it raises ends the run there."""


class Fit:
    """One run, and where it stands between two batches: a run that `restore`s a `state` goes on as the first would."""

    def __init__(self, checkpoint: Checkpoint, texts: Sequence[LabelledText], recipe: Recipe) -> None:
        self.checkpoint, self.texts, self.recipe = checkpoint, texts, recipe
        model, targets = checkpoint.model, targets_of(texts, len(checkpoint.labels))
        self.steps = recipe.epochs * recipe.steps(len(texts))
        self.figures: dict[str, dict[str, dict[str, float]]] = {}
        """stage -> set -> measure -> value."""
        self.epoch = self.batch = 0  # that are done, the batches of this epoch
        self.loss_sum = 0.0
        self._targets = torch.tensor(targets, dtype=torch.float32)
        self._loss = loss_of(checkpoint.activation, class_weights(recipe.class_weights, targets, checkpoint.activation))
        decayed = [p for p in model.parameters() if p.ndim > 1]
        plain = [p for p in model.parameters() if p.ndim <= 1]  # biases and layer norms are not decayed
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self._optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
        warmup = round(self.steps * recipe.warmup_share)
        self._schedule = get_linear_schedule_with_warmup(self._optimiser, warmup, self.steps)
        self._average = AveragedModel(model)
        self._order = random.Random(recipe.seed)  # noqa: S311 - repeatable
        self._order_at_epoch = self._order.getstate()

    @property
    def step(self) -> int:
        """Batches that are done, over all epochs."""
        return self.epoch * self.recipe.steps(len(self.texts)) + self.batch

    @property
    def loss(self) -> float:
        """The mean over the batches of this epoch that are done."""
        return self.loss_sum / max(1, self.batch)

    def state(self) -> dict[str, Any]:
        """All that changes with the batches, random numbers included; plain values and tensors."""
        return {
            "model": self.checkpoint.model.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "order": self._order_at_epoch,
            "dropout": torch.get_rng_state(),
            "place": (self.epoch, self.batch, self.loss_sum),
            "figures": self.figures,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where `state` was taken."""
        self.checkpoint.model.load_state_dict(state["model"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._order_at_epoch = state["order"]
        torch.set_rng_state(state["dropout"])
        self.epoch, self.batch, self.loss_sum = state["place"]
        self.figures = state["figures"]

    def batches(self) -> Iterable[batches.Batch]:
        """Those of this epoch that are not done yet."""
        self._order.setstate(self._order_at_epoch)
        return batches.epoch(self.checkpoint.tokenizer, self.texts, self.recipe, self._order, self.batch)

    def learn(self, encoded: dict[str, torch.Tensor], texts: torch.Tensor) -> None:
        """One step of the optimiser."""
        model, step = self.checkpoint.model, self.step + 1
        with autocast():
            logits = model(**encoded).logits
        loss = self._loss(logits.float(), self._targets[texts])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        self._optimiser.step()
        self._schedule.step()
        self._optimiser.zero_grad(set_to_none=True)
        if step >= self.steps * (1 - self.recipe.averaged_share) and step % self.recipe.snapshot_steps == 0:
            self._average.update_parameters(model)
        self.batch += 1
        self.loss_sum += loss.item()

    def end_epoch(self) -> None:
        """Go on to the next one."""
        self._order_at_epoch = self._order.getstate()
        self.epoch, self.batch, self.loss_sum = self.epoch + 1, 0, 0.0

    def candidates(self) -> dict[str, Checkpoint]:
        """The weights that may be saved; a run of few steps has no snapshots."""
        found = {f"epoch {self.recipe.epochs}": self.checkpoint}
        if self._average.n_averaged:
            found[MEAN] = replace(self.checkpoint, model=self._average.module)
        return found


Checks = dict[str, Sequence[LabelledText]]
"""Sets to measure on, by name; `dev` is one of them."""


def train(run: Fit, checks: Checks, between: Between) -> dict[str, Checkpoint]:
    """Do what is left of `run`, and give the candidates by their names in its figures."""
    with steps_bar(run.steps, run.step) as show:
        while run.epoch < run.recipe.epochs:
            stage = f"epoch {run.epoch + 1}"
            run.checkpoint.model.train()
            for encoded, texts in run.batches():
                run.learn(encoded, texts)
                show(f"{stage} of {run.recipe.epochs}", run.loss)
                between()
            run.figures[stage] = {"training": {"loss": run.loss}} | measured(run.checkpoint, checks, run, between)
            tell(stage, run)
            run.end_epoch()
    candidates = run.candidates()
    if MEAN in candidates:
        run.figures[MEAN] = measured(candidates[MEAN], checks, run, between)
        tell(MEAN, run)
    return candidates


def chosen_of(run: Fit, dev: Sequence[LabelledText], candidates: Iterable[str]) -> str:
    """Name of the better candidate by its figures. Raises ExportError when none has learned anything."""
    measure = judged_by(run.checkpoint.activation, run.recipe.class_weights)
    worthless = constant(measure, targets_of(dev, len(run.checkpoint.labels)))
    return best({name: run.figures[name]["dev"][measure] for name in candidates}, worthless, measure)


def measured(checkpoint: Checkpoint, checks: Checks, run: Fit, between: Between) -> dict[str, dict[str, float]]:
    """Set -> measure -> value, of each of `checks`."""
    labels, activation = len(checkpoint.labels), checkpoint.activation
    return {
        name: figures(logits(checkpoint, texts, run.recipe, between), targets_of(texts, labels), activation)
        for name, texts in checks.items()
    }


def logits(
    checkpoint: Checkpoint, texts: Sequence[LabelledText], recipe: Recipe, between: Between = lambda: None
) -> FloatArray:
    """Logits (texts, labels) by the fp32 model, of as many tokens as it is trained with."""

    def watch(parts: Sequence[list[int]]) -> Iterable[list[int]]:
        for part in shown("measuring", parts):
            yield part
            between()

    checkpoint.model.eval()
    scorer = CheckpointScorer(checkpoint, Windows(recipe.max_tokens, most=1))
    return logits_of(scorer, [one.text for one in texts], watch)


def tell(stage: str, run: Fit) -> None:
    """One line for each set."""
    for name, values in run.figures[stage].items():
        written = (
            f"{measure} {value:.4f}" if measure == "loss" else f"{measure} {value:.2f} %"
            for measure, value in values.items()
        )
        say(f"{stage}, {name}: {', '.join(written)}")
