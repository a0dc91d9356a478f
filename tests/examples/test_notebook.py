"""The notebook: its code cells, one after another in one namespace, as a kernel runs them."""

import json
from typing import Any

import pytest

from tests.conftest import ROOT, Service

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def test_every_cell_runs_and_the_scores_are_plotted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar for each text, as long as its score; nothing that a run left behind is committed."""
    pytest.importorskip("matplotlib", reason="matplotlib belongs to the load tools' environment")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("BASE_URL", service.url)
    monkeypatch.syspath_prepend(NOTEBOOK.parent)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)  # noqa: S102 - our own notebook
    try:
        bars = [bar.get_width() for bar in names["axes"].containers[0]]
        rows = dict(zip((label.get_text() for label in names["axes"].get_yticklabels()), bars, strict=True))
        assert rows == dict(zip(names["texts"], names["positive"], strict=True))
        assert rows["I hate it and want my money back."] < 1 / 3 < 2 / 3 < rows["Generous, funny and moving."]
    finally:
        names["plt"].close(names["figure"])
