"""The training service's settings: a wrong one stops the start, and every one is in the docs."""

import re

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")

from model_export.tracking import VARIABLE
from tests.conftest import ROOT
from training.errors import TrainingError
from training.service.__main__ import main
from training.service.settings import PREFIX, Settings, read_settings


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PORT", "65536", "VALENCE_TRAINING_PORT: Input should be less than or equal to 65535, got '65536'"),
        ("TOKEN", "short", "VALENCE_TRAINING_TOKEN: "),
        ("QUEUE", "0", "VALENCE_TRAINING_QUEUE: "),
        ("TIMEOUT_SECONDS", "nan", "VALENCE_TRAINING_TIMEOUT_SECONDS: "),
    ],
)
def test_a_wrong_value_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, message: str
) -> None:
    """With one line that names it, and never a token."""
    monkeypatch.setenv(VARIABLE, "http://127.0.0.1:5000")
    monkeypatch.setenv(PREFIX + variable, value)
    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")
    assert "got 'short'" not in line


def test_mlflow_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as unset, and the token may be."""
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(TrainingError, match=f"^{VARIABLE}: is not set"):
        read_settings()
    monkeypatch.setenv(VARIABLE, "http://127.0.0.1:5000")
    monkeypatch.setenv(PREFIX + "TOKEN", "")
    assert read_settings().token is None


def test_every_setting_is_in_the_docs() -> None:
    """One row for each, with its default and the description that the code has."""
    page = (ROOT / "docs" / "training-service.md").read_text(encoding="utf-8")
    rows = re.findall(rf"^\| `({PREFIX}\w+|{VARIABLE})` \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        unset = field.is_required() or field.default is None
        variable = field.validation_alias or PREFIX + name.upper()
        shown = "unset" if unset else f"`{field.default}`"
        expected.append((variable, shown, " ".join((field.description or "").split())))
    assert rows == expected
