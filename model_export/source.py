"""Where a checkpoint comes from: a folder, or the Hugging Face hub at one pinned revision.

`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean to huggingface_hub.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import disable_progress_bars

from model_export.errors import ExportError, one_line
from model_export.progress import note

DEFAULT_MODEL = "winegarj/distilbert-base-uncased-finetuned-sst2"

# The one place where hub sources are pinned. `main` is a branch, not a commit: the hub was out of reach when this was
# written, and no public text names the commit. So it is resolved at download time, printed, and written into the
# manifest; put the commit here to pin it for good.
PINNED_REVISIONS = {DEFAULT_MODEL: "main"}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_HUB_TIMEOUT_SECONDS = 30.0

SENTENCEPIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model")
"""What a tokenizer.json is made of where a checkpoint has none: XLM-R's name, ALBERT's and T5's, DeBERTa's, others'."""

_TEXT_FILES = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "README.md",
    *SENTENCEPIECE_FILES,
]
# In the order of preference. Safetensors cannot run code; the pickles of old checkpoints are loaded with weights_only.
_WEIGHT_FILES = (
    ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"),
)


@dataclass(frozen=True)
class Source:
    """A checkpoint on this machine. `id` never holds a path; `revision` is a commit, or None for a local folder."""

    folder: Path
    id: str
    revision: str | None


def fetch(model: str, revision: str | None) -> Source:
    """Return the checkpoint of a folder or of a hub id; the latter is downloaded, or taken from the hub's cache.

    Raises ExportError when there is no such folder, id or revision, or the hub cannot be reached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ExportError(f"--revision is for hub ids, and {model} is a folder")
        return Source(folder, folder.resolve().name, None)
    if not _HUB_ID.fullmatch(model):
        raise ExportError(f"{model} is neither a folder nor a hub id (owner/name)")
    return _from_hub(model, revision or PINNED_REVISIONS.get(model, "main"))


def weight_files(folder: Path, name: str | None = None) -> list[Path]:
    """The weights of a checkpoint, of the preferred format only. Raises ExportError when there are none."""
    for patterns in _WEIGHT_FILES:
        files = sorted(path for pattern in patterns for path in folder.glob(pattern))
        if files:
            return files
    raise ExportError(f"{name or folder.resolve().name} holds no weights (model.safetensors or pytorch_model.bin)")


def _from_hub(model: str, revision: str) -> Source:
    try:
        commit = revision if _COMMIT.fullmatch(revision) else _resolve(model, revision)
        note(f"fetching {model} at revision {commit}")
        return Source(_download(model, commit), model, commit)
    except GatedRepoError as exc:
        raise ExportError(f"{model} is gated: accept its terms on {constants.ENDPOINT} and set HF_TOKEN") from exc
    except RevisionNotFoundError as exc:
        raise ExportError(f"{model} has no revision {revision!r} on {constants.ENDPOINT}") from exc
    except RepositoryNotFoundError as exc:
        raise ExportError(f"{model} is neither a folder nor a model on {constants.ENDPOINT}") from exc
    except OSError as exc:  # every network error of requests and huggingface_hub is one
        raise ExportError(f"cannot fetch {model} from {constants.ENDPOINT}: {one_line(exc)}") from exc
    except ValueError as exc:  # names that the hub's own rules refuse, such as `a--b`
        raise ExportError(f"{model}: {one_line(exc)}") from exc


def _resolve(model: str, revision: str) -> str:
    """The commit at which a branch or tag stands now."""
    commit: str | None = HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_SECONDS).sha
    if commit is None:
        raise ExportError(f"{constants.ENDPOINT} does not say at which commit {model} {revision} stands")
    return commit


def _download(model: str, commit: str) -> Path:
    if not sys.stderr.isatty():
        disable_progress_bars()  # a bar in a log is a line for every redraw
    safe, pickled = (list(patterns) for patterns in _WEIGHT_FILES)
    folder = Path(snapshot_download(model, revision=commit, allow_patterns=_TEXT_FILES + safe))
    if not any(path for pattern in safe for path in folder.glob(pattern)):
        snapshot_download(model, revision=commit, allow_patterns=pickled)
    return folder
