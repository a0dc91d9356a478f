"""What the service is compared with: an empty application, the usual way to build such a service, and other servers.

The other servers get the same model file, one text a request, all misses, and the cores that the service has. Each runs
in an environment of its own (`bench/rivals/install.sh FOLDER`), in two processes of one thread each
where the server can do that. Infinity has one process, whose session takes both cores.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.client import request_bytes
from bench.sides import Side
from load.programs import ROOT, free_port

ANSWER = b'{"predictions":[[{"label":"POSITIVE","score":0.9996127},{"label":"NEGATIVE","score":0.0003873}]]}'
"""The size of a typical answer: what the empty application sends."""
GUNICORN = (
    "-m", "gunicorn", "--no-control-socket", "--graceful-timeout", "1", "-k", "uvicorn_worker.UvicornWorker", "-b",
)  # fmt: skip
INFINITY = (
    "v2", "--model-id", ".", "--served-model-name", "classify", "--engine", "optimum", "--device", "cpu",
    # The file is quantised: optimising it again fails. Its warm-up sends more than 512 tokens, which fails, too.
    "--onnx-disable-optimize", "--no-model-warmup", "--no-lengths-via-tokenize", "--batch-size", "8",
    "--host", "127.0.0.1", "--log-level", "warning",
)  # fmt: skip
QUIET = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def empty() -> Side:
    """The empty application under the same server."""
    return Side(
        lambda port: [sys.executable, *GUNICORN, f"127.0.0.1:{port}", "bench.rivals.empty_app:app"],
        lambda *_: {"EMPTY_BYTES": str(len(ANSWER)), "PYTHONPATH": str(ROOT)},
        ROOT / "bench",  # gunicorn.conf.py of the service is not here
        "/",
    )


def usual(python: Path, checkpoint: Path) -> Side:
    """FastAPI + transformers pipeline + request-level Redis cache: two workers with one torch thread each."""
    return Side(
        lambda port: [str(python), *GUNICORN, f"127.0.0.1:{port}", "-w", "2", "bench.rivals.usual_app:app"],
        lambda _, redis_url: {
            "PYTHONPATH": str(ROOT), "USUAL_CHECKPOINT": str(checkpoint), "USUAL_REDIS_URL": redis_url,
            "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1",
        },
        ROOT / "bench",
        "/readyz",
        redis=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Other:
    """A server: `command` is called with the programs of its environment, and its port."""

    command: Callable[[Path, int], list[str]]
    ready_path: str
    request: Callable[[str], bytes] = request_bytes
    env: Callable[[int], dict[str, str]] = lambda _: {}
    in_model_folder: bool = False


def _mlserver_env(port: int) -> dict[str, str]:
    return {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(free_port()),
        "MLSERVER_METRICS_PORT": str(free_port()),
        "MLSERVER_PARALLEL_WORKERS": "2",
        "MLSERVER_MODEL_NAME": "classify",
        "MLSERVER_MODEL_IMPLEMENTATION": "bench.rivals.mlserver_app.Classify",
        "MLSERVER_MODEL_MAX_BATCH_SIZE": "8",
        "MLSERVER_MODEL_MAX_BATCH_TIME": "0.002",
    }


OTHERS = {
    "LitServe": Other(
        lambda programs, _: [str(programs / "python"), "-m", "bench.rivals.litserve_app"], "/health"
    ),
    "Infinity": Other(
        lambda programs, port: [str(programs / "infinity_emb"), *INFINITY, "--port", str(port)],
        "/health",
        partial(request_bytes, path="/classify", body=lambda text: {"model": "classify", "input": [text]}),
        in_model_folder=True,  # it finds no file in a folder that is named from elsewhere
    ),
    "BentoML": Other(
        lambda programs, port: [
            str(programs / "bentoml"), "serve", "bench.rivals.bentoml_app:Classify", "--host", "127.0.0.1",
            "--port", str(port),
        ],
        "/readyz",
    ),
    "MLServer": Other(
        lambda programs, _: [str(programs / "mlserver"), "start", str(ROOT / "bench" / "rivals")],
        "/v2/health/ready",
        partial(
            request_bytes,
            path="/v2/models/classify/infer",
            body=lambda text: {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]},
        ),
        _mlserver_env,
    ),
}  # fmt: skip


def other_side(name: str, environments: Path, model: Path) -> Side | None:
    """How to run a server of OTHERS with the model in folder `model`; None when its environment was not made."""
    other, programs = OTHERS[name], environments / name.lower() / "bin"
    if not programs.is_dir():
        return None

    def env(port: int, _: str) -> dict[str, str]:
        ours = {"PYTHONPATH": str(ROOT), "OTHER_MODEL": str(model), "OTHER_PORT": str(port)}
        return {**QUIET, **ours, **other.env(port)}

    return Side(
        partial(other.command, programs), env, model if other.in_model_folder else ROOT, other.ready_path,
        request=other.request,
    )  # fmt: skip
