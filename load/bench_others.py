"""Other servers with the same model file: one text a request, all misses, on the cores that the service has.

Each runs in an environment of its own (`load/other_servers/install.sh FOLDER`), in two processes of one thread each
where the server can do that. Infinity has one process, whose session takes both cores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from load.bench_client import request_bytes
from load.bench_process import free_port
from load.bench_sides import ROOT, Side

INFINITY = (
    "v2", "--model-id", ".", "--served-model-name", "classify", "--engine", "optimum", "--device", "cpu",
    # The file is quantised: optimising it again fails. Its warm-up sends more than 512 tokens, which fails, too.
    "--onnx-disable-optimize", "--no-model-warmup", "--no-lengths-via-tokenize", "--batch-size", "8",
    "--host", "127.0.0.1", "--log-level", "warning",
)  # fmt: skip
QUIET = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


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
        "MLSERVER_MODEL_IMPLEMENTATION": "load.other_servers.mlserver_app.Classify",
        "MLSERVER_MODEL_MAX_BATCH_SIZE": "8",
        "MLSERVER_MODEL_MAX_BATCH_TIME": "0.002",
    }


OTHERS = {
    "LitServe": Other(
        lambda programs, _: [str(programs / "python"), "-m", "load.other_servers.litserve_app"], "/health"
    ),
    "Infinity": Other(
        lambda programs, port: [str(programs / "infinity_emb"), *INFINITY, "--port", str(port)],
        "/health",
        partial(request_bytes, path="/classify", body=lambda text: {"model": "classify", "input": [text]}),
        in_model_folder=True,  # it finds no file in a folder that is named from elsewhere
    ),
    "BentoML": Other(
        lambda programs, port: [
            str(programs / "bentoml"), "serve", "load.other_servers.bentoml_app:Classify", "--host", "127.0.0.1",
            "--port", str(port),
        ],
        "/readyz",
    ),
    "MLServer": Other(
        lambda programs, _: [str(programs / "mlserver"), "start", str(ROOT / "load" / "other_servers")],
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
