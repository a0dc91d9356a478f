"""model_export/accuracy.py: half a point is all that quantisation may cost."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from model_export import accuracy
from model_export.checkpoint import load
from model_export.dataset import LabelledText
from model_export.errors import ExportError
from model_export.labelled import Example
from model_export.pairs import Text
from model_export.reference import CheckpointScorer
from model_export.scores import FloatArray, PackageScorer
from model_export.texts import short_texts
from model_export.verify import margins
from tests.model_export.doctor import append, change_graph
from tests.model_export.tiny import write_checkpoint


def test_accuracy_counts_right_labels(checkpoint: Path, package: Path, labelled: Path) -> None:
    """Texts labelled by the reference itself, one of four wrongly, give 75 %; the package agrees where it is sure."""
    reference = CheckpointScorer(load(checkpoint))
    scores = reference.scores(short_texts())
    sure = np.flatnonzero(margins(scores) > 0.5)[:32]
    examples = [
        Example(int(scores[index].argmax()) ^ (position % 4 == 0), short_texts()[index])
        for position, index in enumerate(sure)
    ]
    scorer = PackageScorer(package, activation="softmax", max_tokens=512)
    measured = accuracy.measure(reference, scorer, examples, labelled, "softmax")
    assert (measured.rows, measured.pytorch, measured.onnx) == (32, 75.0, 75.0)
    assert measured.data == labelled.name


def test_worse_package_stops_the_export(checkpoint: Path, package: Path, labelled: Path, tmp_path: Path) -> None:
    """A package that says the opposite of its checkpoint is named with both accuracies."""
    doctored = Path(shutil.copytree(package, tmp_path / "package"))
    change_graph(doctored, append("Neg"))
    reference = CheckpointScorer(load(checkpoint))
    texts = short_texts()[:20]
    examples = [Example(int(reference.scores([text]).argmax()), text) for text in texts]
    scorer = PackageScorer(doctored, activation="softmax", max_tokens=512)
    with pytest.raises(ExportError, match=r"drops by \d+\.\d\d points, from 100\.00 to"):
        accuracy.measure(reference, scorer, examples, labelled, "softmax")


def test_unknown_label_is_named_with_its_line(checkpoint: Path) -> None:
    """The line number counts the header, as an editor does."""
    examples = [Example(0, "bad"), Example(2, "good")]
    with pytest.raises(ExportError, match=r"dev\.tsv, line 3: label 2, but the model has only 2 labels"):
        accuracy.check(examples, load(checkpoint), Path("dev.tsv"))


def test_of_several_labels_a_text_all_must_be_right() -> None:
    """One too many, one too few and none at all where there is one are wrong; none where there is none is right."""
    scores = np.array([[0.9, 0.6, 0.1], [0.9, 0.6, 0.1], [0.9, 0.6, 0.1], [0.2, 0.4, 0.1], [0.2, 0.4, 0.1]])
    labels = [(0, 1), (0,), (0, 1, 2), (), (1,)]

    class Given:
        def scores(self, texts: Sequence[Text]) -> FloatArray:
            return scores[[int(text) for text in map(str, texts)]]

    examples = [LabelledText(str(index), each) for index, each in enumerate(labels)]
    assert accuracy.percent_right(Given(), examples, "sigmoid") == 40.0


def test_one_label_a_text_can_not_judge_a_checkpoint_that_gives_several(tmp_path: Path) -> None:
    """The line says which form of data can."""
    folder = write_checkpoint(tmp_path / "model", num_labels=3, problem_type="multi_label_classification")
    with pytest.raises(ExportError, match="several at once: name the columns of a table"):
        accuracy.check([Example(0, "bad")], load(folder), Path("dev.tsv"))
