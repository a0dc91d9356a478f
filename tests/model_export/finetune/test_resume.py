"""The file of an interrupted run, and the signals that make one."""

import signal
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")

from model_export.checkpoint import load
from model_export.dataset import LabelledText
from model_export.errors import ExportError
from model_export.finetune.fit import Fit
from model_export.finetune.recipe import Recipe
from model_export.finetune.resume import Interrupted, State, keeper, stoppable


@pytest.fixture
def run(checkpoint: Path) -> Fit:
    """A run that has not begun."""
    return Fit(load(checkpoint), [LabelledText("good", (0,)), LabelledText("bad", (1,))], Recipe())


def test_state_is_saved_when_asked_to_stop(run: Fit, tmp_path: Path) -> None:
    """And not before; the message names the file, which is the only one."""
    state, asked = State(tmp_path / "output", {}), [False]
    keep = keeper(state, run, lambda: asked[0])
    keep()
    assert list(tmp_path.iterdir()) == []
    asked[0] = True
    with pytest.raises(Interrupted, match=r"after step 0 of 3; .*output\.resume"):
        keep()
    assert [path.name for path in tmp_path.iterdir()] == ["output.resume"]
    assert state.restore(run)
    state.remove()
    assert not state.restore(run)


def test_state_of_another_run_is_refused(run: Fit, tmp_path: Path) -> None:
    """With the first thing that differs, also where only one of both has it."""
    State(tmp_path / "output", {"seed": "0", "dev": "a"}).save(run)
    with pytest.raises(ExportError, match=r"another seed \(0, now 1\)"):
        State(tmp_path / "output", {"seed": "1", "dev": "a"}).restore(run)
    with pytest.raises(ExportError, match=r"another dev \(a, now None\)"):
        State(tmp_path / "output", {"seed": "0"}).restore(run)


def test_damaged_state_is_said(run: Fit, tmp_path: Path) -> None:
    """In one line that says what to do."""
    state = State(tmp_path / "output", {})
    state.save(run)
    state.path.write_bytes(state.path.read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"cannot be read: .*; remove it to begin anew"):
        state.restore(run)


def test_state_that_cannot_be_written_is_said(run: Fit, tmp_path: Path) -> None:
    """As where the folder is gone."""
    with pytest.raises(ExportError, match="cannot save the state of the run"):
        State(tmp_path / "none" / "output", {}).save(run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_and_the_second_ends(number: signal.Signals) -> None:
    """Behind the block a signal does what it did before."""
    before = signal.getsignal(number)
    with stoppable() as asked:
        assert not asked()
        signal.raise_signal(number)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
