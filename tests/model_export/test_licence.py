"""model_export/licence.py: the model card's licence under its SPDX name."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

from model_export.errors import ExportError
from model_export.licence import read_licence


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# Model", "Apache-2.0"),
        ("---\nlicense: llama3\n---\n", "LicenseRef-llama3"),
        ("---\ntags: [x]\n---\n", None),
        ("# A card without front matter", None),
    ],
)
def test_card_names_the_licence(tmp_path: Path, card: str, licence: str | None) -> None:
    """Known licences get their SPDX identifier, others stay recognisable as not being one."""
    (tmp_path / "README.md").write_text(card)
    assert read_licence(tmp_path) == licence


def test_checkpoint_without_card_has_no_licence(tmp_path: Path) -> None:
    """Nothing is guessed."""
    assert read_licence(tmp_path) is None


def test_broken_front_matter_is_named(tmp_path: Path) -> None:
    """The user learns which file is wrong and how to go on without it."""
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(ExportError, match=r"README\.md has a front matter that isn't YAML; name the --licence"):
        read_licence(tmp_path)
