"""Starting points: encoders and classifiers, with the labels to learn, or why they can't be one."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch
from safetensors.torch import load_file, save_file

from model_export.calibrate import head
from model_export.checkpoint import load
from model_export.errors import ExportError
from model_export.finetune.recipe import Recipe
from model_export.finetune.start import begin
from model_export.package import digest
from tests.model_export.tiny import BART, write_checkpoint


def test_classifier_of_the_same_labels_keeps_its_head(checkpoint: Path) -> None:
    """So that learning goes on; what it started from is recorded."""
    start = begin(str(checkpoint), None, ("NEGATIVE", "POSITIVE"), "softmax", Recipe())
    assert torch.equal(head(start.checkpoint).weight, head(load(checkpoint)).weight)
    assert start.facts == {
        "id": "tiny-distilbert",
        "revision": None,
        "sha256": {"model.safetensors": digest(checkpoint / "model.safetensors")},
    }


@pytest.mark.parametrize("labels", [("POSITIVE", "NEGATIVE"), ("a", "b", "c")])
def test_other_labels_get_a_new_head_on_the_same_encoder(checkpoint: Path, labels: tuple[str, ...]) -> None:
    """Also as many of them, and also the same in another order."""
    start, old = begin(str(checkpoint), None, labels, "sigmoid", Recipe()).checkpoint, load(checkpoint)
    assert start.labels == labels
    assert (start.activation, start.model.config.problem_type) == ("sigmoid", "multi_label_classification")
    assert start.model.config.id2label == dict(enumerate(labels))
    assert head(start).weight.shape == (len(labels), 32)
    assert not torch.equal(head(start).weight[:2], head(old).weight)
    encoders = (model.distilbert.state_dict() for model in (start.model, old.model))
    assert all(torch.equal(*weights) for weights in zip(*(each.values() for each in encoders), strict=True))


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("DistilBertModel", {}),
        ("BertForMaskedLM", {}),
        ("RobertaModel", {}),
        ("BartForSequenceClassification", BART | {"num_labels": 3}),
    ],
)
def test_encoders_and_other_families_are_starting_points(
    tmp_path: Path, architecture: str, config: dict[str, object]
) -> None:
    """The new head is random, but the same for the same seed."""
    folder = str(write_checkpoint(tmp_path / "tiny", architecture, **config))
    first, again = (begin(folder, None, ("x", "y"), "softmax", Recipe()).checkpoint for _ in range(2))
    assert torch.equal(head(first).weight, head(again).weight)
    assert len(first.labels) == 2


def test_damaged_encoder_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """Transformers would fill it with random numbers and say so in a warning only."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    del weights["distilbert.transformer.layer.1.ffn.lin1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"damaged lacks 1 of the encoder's weights, such as distilbert\.transformer"):
        begin(str(folder), None, ("a", "b"), "softmax", Recipe())


def test_what_cannot_be_served_is_refused_before_the_training(tmp_path: Path) -> None:
    """An hour of work for a model that the export refuses would be lost."""
    folder = write_checkpoint(
        tmp_path / "gpt", "GPT2ForSequenceClassification", n_embd=32, n_layer=2, n_head=2, pad_token_id=9
    )
    with pytest.raises(ExportError, match="gpt can't be served"):
        begin(str(folder), None, ("a", "b"), "softmax", Recipe())


def test_more_tokens_than_the_model_reads_are_refused(checkpoint: Path) -> None:
    """Both numbers are named."""
    with pytest.raises(ExportError, match="--max-tokens 513: tiny-distilbert reads at most 512"):
        begin(str(checkpoint), None, ("a", "b"), "softmax", Recipe(max_tokens=513))
