"""What the benchmark measures: scenario by scenario, which sides take turns, and what is left out for want of what."""

import argparse
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from bench.client import request_bytes
from bench.rivals.servers import OTHERS, empty, other_side, usual
from bench.sides import Figures, Load, Machine, measure, measure_raw, service
from load.programs import ROOT

Sides = dict[str, Callable[[], Figures]]
"""Side -> how to measure it once."""
Plan = dict[str, Sides]
"""Scenario -> its sides."""
KEY = "valence_" + "k" * 43
"""As long as those of `python -m app.keys`."""
SCENARIOS = ("hits", "redis", "misses", "misses-full", "others", "scaling", "mix")


def make_plan(options: argparse.Namespace, machine: Machine, scratch: Path) -> tuple[Plan, list[str]]:
    """Everything to be measured, and a note on everything that cannot be."""
    notes: list[str] = []
    plan: Plan = {"hits": _hits(options, machine, scratch), "misses": _misses(options.model_dir, options, machine)}
    if machine.redis_program is None:
        notes.append("not measured: hits from Redis and the mix, since redis-server is not installed")
    else:
        plan["redis"] = _hits_from_redis(options, machine)
        plan["mix"] = _mix(options, machine, scratch, notes) if "mix" in options.only else {}
    if options.full_size is None:
        notes.append("not measured: our service with a full-size model (--full-size PACKAGE)")
    else:
        plan["misses-full"] = _misses(options.full_size, options, machine)
    if options.same_file is None or options.others is None:
        notes.append("not measured: other servers (--same-file FOLDER and --others FOLDER, see bench/README.md)")
    else:
        plan["others"] = _others(options, machine, notes)
    plan["scaling"] = _scaling(options, machine, notes)
    return {name: plan[name] for name in SCENARIOS if name in options.only and plan.get(name)}, notes


def _hits(options: argparse.Namespace, machine: Machine, scratch: Path) -> Sides:
    load = Load("hits", 32, options.seconds, pinned=True)
    model, keys = options.model_dir, scratch / "keys"
    keys.write_text(f"bench sha256:{sha256(KEY.encode()).hexdigest()}\n")
    keyed = replace(
        service(model, api_keys_file=str(keys)), request=partial(request_bytes, headers=(f"x-api-key: {KEY}",))
    )
    return {
        "service": partial(measure, machine, service(model), load),
        "service, API keys": partial(measure, machine, keyed, load),
        "service, no access log": partial(measure, machine, service(model, log_level="warning"), load),
        "empty app": partial(measure, machine, empty(), load),
    }


def _hits_from_redis(options: argparse.Namespace, machine: Machine) -> Sides:
    load = Load("hits", 32, options.seconds, pinned=True)
    return {
        "service": partial(measure, machine, service(options.model_dir, redis=True, cache_max_entries="0"), load),
        "empty app": partial(measure, machine, empty(), load),
    }


def _mix(options: argparse.Namespace, machine: Machine, scratch: Path, notes: list[str]) -> Sides:
    load = Load("mix", 10, options.seconds, pinned=False)
    sides: Sides = {"service": partial(measure, machine, service(options.model_dir, redis=True), load)}
    if options.full_size is not None:
        sides["service, full size"] = partial(measure, machine, service(options.full_size, redis=True), load)
    if not options.usual_python.exists():
        notes.append(f"not measured: the usual way, since {options.usual_python} is not there (make install-export)")
    else:
        checkpoint = options.checkpoint or _random_checkpoint(options.usual_python, options.model_dir, scratch)
        sides["usual way"] = partial(measure, machine, usual(options.usual_python, checkpoint), load)
    return sides


def _misses(model: Path, options: argparse.Namespace, machine: Machine) -> Sides:
    """Raw runs use as many threads and texts a batch as the service did in the rounds so far."""
    seen = {"batch_texts": 1}
    threads = len(machine.both)

    def served(clients: int) -> Figures:
        load = Load("misses", clients, options.seconds, pinned=False)
        figures = measure(machine, service(model, threads=str(threads)), load)
        if clients > 1:
            seen["batch_texts"] = max(1, round(figures["batch_texts_sum"] / figures["batch_texts_count"]))
        return figures

    def raw() -> Figures:
        figures = measure_raw(machine, model, threads=threads, batch_texts=seen["batch_texts"], seconds=options.seconds)
        return figures | {"batch_texts": seen["batch_texts"], "threads": threads}

    return {"service, 64 clients": partial(served, 64), "service, 1 client": partial(served, 1), "onnxruntime": raw}


def _others(options: argparse.Namespace, machine: Machine, notes: list[str]) -> Sides:
    """All with the same int8 file, and our service with its own graph, too."""
    found = {
        "service, same file": service(options.same_file),
        # The scores of optimum's graph depend on the batch. The others live with that; a cache needs each text alone.
        "service, same file, texts alone": service(options.same_file, max_batch_tokens="0"),
    }
    if options.full_size is not None:
        found["service, own graph"] = service(options.full_size)
    for name in OTHERS:
        side = other_side(name, options.others, options.same_file)
        if side is None:
            notes.append(f"not measured: {name}, since {options.others / name.lower()} is not there (install.sh)")
        else:
            found[name] = side
    return {
        f"{name}, {clients} clients": partial(
            measure, machine, side, Load("misses", clients, options.seconds, pinned=False)
        )
        for clients in (10, 64)
        for name, side in found.items()
    }


def _scaling(options: argparse.Namespace, machine: Machine, notes: list[str]) -> Sides:
    """Server and client share one core, or both: the client's work is part of it, so the larger model says more."""
    if machine.server == machine.client:
        notes.append("not measured: scaling, which needs two cores")
        return {}
    model = options.full_size or options.model_dir
    load = Load("misses", 64, options.seconds, pinned=False)
    one = Machine(machine.server, machine.server, machine.redis_program)
    return {
        "1 core": partial(measure, one, service(model, threads="1"), load),
        "2 cores": partial(measure, machine, service(model, threads="2"), load),
    }


def _random_checkpoint(python: Path, model_dir: Path, scratch: Path) -> Path:
    folder = scratch / "full-size"
    command = [str(python), "-m", "bench.rivals.usual_checkpoint", str(folder), str(model_dir / "tokenizer.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own program
    return folder
