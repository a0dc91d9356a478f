"""Mutated model packages, signed anew so that no digest gives them away: refused in one line, or right golden scores.

Half of them go to `python -m app.model.check`, which tries every engine, half to the service itself.
"""

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

from bench.fuzz.part import Part
from bench.questions import OK, post
from bench.sides import find_machine, running, service
from load.programs import ROOT, ProcessError, Program

MUTATED = ("model.onnx", "model.onnx", "weights.safetensors", "tokenizer.json", "manifest.json", "profile.json")
GOLDEN_TOLERANCE = 0.02
"""As app/model/classifier.py has it."""
LOAD_SECONDS = 60
BLANK = 422
LOADED = re.compile(r'"event":"(ready|load_failed|golden_check_failed)"')
SHOWN = 600
STACK = '"exception":['
"""How a line of the log holds the stack of what nobody has caught."""


def mutate(source: random.Random, file: Path) -> None:
    """Change some bytes, cut the file, or move a piece of it; mostly near its beginning, where its structure is."""
    content = bytearray(file.read_bytes())
    reach = min(len(content), source.choice((64, 4_096, len(content))))
    match source.choice(("bytes", "bytes", "cut", "move")):
        case "bytes":
            for _ in range(source.choice((1, 2, 8, 64))):
                content[source.randrange(reach)] = source.randrange(256)
        case "cut":
            del content[source.randrange(len(content)) :]
        case "move":
            begin, end = sorted(source.choices(range(reach + 1), k=2))
            at = source.randrange(reach + 1)
            content[at:at] = content[begin:end]
    file.write_bytes(content)


def sign(folder: Path) -> None:
    """Let the manifest say of each file what it is now, as its author would; nothing where it is none any more."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        for name in manifest["files"]:
            content = (folder / name).read_bytes()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    except (ValueError, KeyError, TypeError, OSError):
        return
    path.write_text(json.dumps(manifest))


def check(folder: Path) -> tuple[str, str | None]:
    """What the check before publishing says: how it went, and what is wrong with that."""
    command = [sys.executable, "-m", "app.model.check", str(folder)]
    done = subprocess.run(  # noqa: S603 - our own program
        command, cwd=ROOT, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False
    )
    said = done.stdout + done.stderr
    sound = done.returncode in (0, 1) and len(said.splitlines()) == 1
    outcome = "can be served" if done.returncode == 0 else "refused by the check"
    return outcome, None if sound else f"the check ended with {done.returncode}: {said[-SHOWN:]}"


def serve(folder: Path) -> tuple[str, str | None]:
    """What the service does with it: how it went, and what is wrong with that."""
    try:
        with running(find_machine(), replace(service(folder), ready_path="/livez")) as (port, program):
            event = _loaded(program)
            wrong = _golden_fault(folder, port) if event == "ready" else None
            log = program.log()
    except ProcessError as exc:
        # Beside the reason there are events, one JSON object a line.
        said = [line for line in str(exc).splitlines()[1:] if not line.startswith("{")]
        one_line = len(said) == 1 and said[0].startswith("error: ")
        return "refused at the start", None if one_line else f"the start ended with {said}"
    if STACK in log:
        wrong = log[max(0, log.index(STACK) - SHOWN) :]
    return "served" if event == "ready" else event, wrong


def _loaded(program: Program) -> str:
    """The event that ended its loading."""
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        if event := LOADED.search(program.log()):
            return event[1]
        time.sleep(0.01)
    raise ProcessError(f"not loaded after {LOAD_SECONDS} s:\n{program.log()[-SHOWN:]}")


def _golden_fault(folder: Path, port: int) -> str | None:
    """What is wrong with the scores of its golden texts, if anything; those that no client may ask are left out."""
    connection = HTTPConnection("127.0.0.1", port, timeout=LOAD_SECONDS)
    for golden in json.loads((folder / "manifest.json").read_bytes())["golden"]:
        status, body = post(connection, json.dumps({"text": [golden["text"]]}).encode())
        if status == BLANK:
            continue
        found = {item["label"]: item["score"] for item in json.loads(body)["predictions"][0]} if status == OK else {}
        if any(abs(found.get(label, 9) - score) > GOLDEN_TOLERANCE for label, score in golden["scores"].items()):
            return f"{status} and {found} for a golden text of {golden['scores']}"
    connection.close()
    return None


def fuzz(part: Part) -> None:
    """One copy after the other, each with one file changed."""
    source = part.source
    with tempfile.TemporaryDirectory() as parent:
        for turn in part.turns():
            folder = Path(parent) / "package"
            shutil.copytree(part.model_dir, folder)
            file = folder / source.choice([name for name in MUTATED if (folder / name).exists()])
            mutate(source, file)
            sign(folder)
            try:
                outcome, wrong = (check if turn % 2 else serve)(folder)
            except (ProcessError, OSError, subprocess.TimeoutExpired) as exc:
                outcome, wrong = "neither", repr(exc)
            part.tried[f"{file.name}: {outcome}"] += 1
            if wrong:
                part.found(f"turn {turn}, {file.name}", wrong)
            shutil.rmtree(folder)
