"""The fuzzers, for a second each, and whether what they judge by tells right from wrong."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path

import pytest

from bench.fuzz import bodies, liar, packages, streams
from bench.fuzz.part import Part
from bench.questions import Questions, post
from tests.conftest import ROOT, Service


@pytest.fixture(scope="module")
def questions(service: Service) -> Questions:
    """A few texts and their right answers."""
    return Questions(int(service.url.rpartition(":")[2]), texts=5)


@pytest.fixture
def connection(service: Service) -> Iterator[HTTPConnection]:
    """To the running service."""
    opened = HTTPConnection(service.url[7:])
    yield opened
    opened.close()


def test_every_part_runs_and_finds_nothing(tmp_path: Path) -> None:
    """But for those that take long to begin, and are other programs."""
    file = tmp_path / "fuzz.json"
    command = [
        sys.executable,
        "-m",
        "bench.fuzz",
        "--seconds",
        "0.5",
        "--parts",
        "bodies",
        "streams",
        "redis",
        "packages",
    ]
    done = subprocess.run(
        [*command, "--json", file], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 findings\n")
    tried = {name: part["tried"] for name, part in json.loads(file.read_text())["parts"].items()}
    assert all(tried[name]["answers 200"] > 0 for name in ("bodies", "streams", "redis"))
    assert tried["bodies"]["answers 422"] > 0
    assert sum(tried["packages"].values()) > 0


def test_wrong_answers_are_found(questions: Questions, connection: HTTPConnection) -> None:
    """Another text's scores, too few of them, a refusal in another shape, and an error of the service."""
    body = json.dumps({"text": questions.texts[:2]}).encode()
    status, answer = post(connection, body)
    assert bodies.fault(questions, body, status, answer) is None
    assert bodies.fault(questions, body, 500, answer) == "status 500"
    assert bodies.fault(questions, body, 422, answer) == "a refusal in another shape"
    assert bodies.fault(questions, b"no JSON", status, answer) == "an answer to what is no question"
    predictions = json.loads(answer)["predictions"]
    swapped = json.dumps({"predictions": predictions[::-1]}).encode()
    assert bodies.fault(questions, body, status, swapped) == "a wrong score"
    assert (
        bodies.fault(questions, body, status, json.dumps({"predictions": predictions[:1]}).encode()) == "1 predictions"
    )


def test_streams_notice_answers_that_are_another_requests(service: Service, questions: Questions) -> None:
    """Here the requests are not those that were sent."""
    port, source = int(service.url.rpartition(":")[2]), random.Random(4)
    requests = [streams.make_request(source, questions, number) for number in range(6)]
    for expected, wrong in ((requests, False), (requests[::-1], True)):
        stream = streams.Stream(port, random.Random(2), requests)  # whose last request stays as it is
        stream.requests = expected
        with stream.socket:
            while stream.pieces:
                stream.send()
            assert bool(stream.fault(Part(0, 0, ROOT), questions)) == wrong


def test_cut_streams_are_whole() -> None:
    """No byte is lost, none comes twice."""
    source, content = random.Random(1), bytes(range(200))
    for _ in range(50):
        pieces = streams.cut(source, content, most=7)
        assert b"".join(pieces) == content
        assert 1 <= len(pieces) <= 8
        assert all(pieces)


def test_mutated_packages_differ_and_are_signed(tmp_path: Path) -> None:
    """The manifest names what the file is now."""
    model = ROOT / "models" / "distilbert-sst2-mini"
    for name in ("manifest.json", "profile.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["files"] = {"profile.json": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    signed = set()
    for seed in range(5):
        packages.mutate(random.Random(seed), tmp_path / "profile.json")
        packages.sign(tmp_path)
        signed.add(json.loads((tmp_path / "manifest.json").read_text())["files"]["profile.json"]["sha256"])
    assert len(signed) > 3


def test_lies_differ_from_the_truth() -> None:
    """Each of them, of several values."""
    values: liar.Values = [bytes([number]) * 60 for number in range(8)]
    for seed, lie in pairwise([0, *liar.LIES.values(), *liar.BROKEN.values()]):
        assert callable(lie)
        assert lie(random.Random(str(seed)), values) != liar.array(values)
