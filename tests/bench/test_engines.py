"""The comparison of graphs, on the bundled one."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.model.native.weights import Unsupported
from bench.engines import SHAPES, main, make_feed, native_run, onnxruntime_run
from tests.conftest import ROOT

GRAPH = ROOT / "models" / "distilbert-sst2-mini" / "model.onnx"


def test_table_has_a_line_for_each_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the JSON every time."""
    file = tmp_path / "engines.json"
    engines = [f"ours={GRAPH}", f"ours+no-arena={GRAPH}"]
    assert main([*engines, "--rounds", "1", "--calls", "1", "--json", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["engine", "ours", "ours+no-arena"]
    times = json.loads(file.read_text())["milliseconds"]
    assert set(times) == {"ours", "ours+no-arena"}
    assert all(len(shapes) == len(SHAPES) and all(len(shape) == 1 for shape in shapes) for shapes in times.values())


def test_a_folder_runs_in_the_native_engine() -> None:
    """With as many texts a call as the service has, on as many threads as asked for, in their order."""
    feed = make_feed(9, 32)
    try:
        alone, together = (native_run(GRAPH.parent, feed, threads)() for threads in (1, 2))
    except Unsupported as exc:
        pytest.skip(str(exc))
    assert [len(part) for part in alone] == [4, 4, 1]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.concatenate(alone), np.concatenate(together))  # type: ignore[arg-type,call-overload]
    (theirs,) = onnxruntime_run(GRAPH, feed, 1, frozenset())()  # type: ignore[misc]
    np.testing.assert_allclose(np.concatenate(alone), theirs, atol=0.3)  # type: ignore[arg-type,call-overload]


@pytest.mark.parametrize("option", ["binding", "no-arena", "spinning"])
def test_options_leave_the_logits_alone(option: str) -> None:
    """An option that changed the work would be no comparison."""
    feed = make_feed(2, 8)
    plain, other = (onnxruntime_run(GRAPH, feed, 1, options)() for options in (frozenset[str](), frozenset({option})))
    np.testing.assert_allclose(plain[0], other[0], atol=1e-5)  # type: ignore[index]


@pytest.mark.parametrize(("argument", "said"), [("ours=nowhere.onnx", "nowhere.onnx"), (f"a+fast={GRAPH}", "fast")])
def test_what_is_not_there_is_refused(argument: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By name."""
    with pytest.raises(SystemExit):
        main([argument])
    assert said in capsys.readouterr().err
