"""Make a checkpoint of a DistilBERT package, to go on training from what is served.

    python -m training.unpack PACKAGE --output CHECKPOINT

Its weights are the package's int8 ones in float32, so that its scores are near the package's, not those of the
checkpoint that was exported: that one is better to start from where it is still at hand.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

from model_export.errors import one_line
from model_export.package import WEIGHTS
from model_export.progress import note
from model_export.weights import state_of
from training.errors import TrainingError

_INPUTS = ["input_ids", "attention_mask"]
_SPECIAL = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}


def unpack(package: Path, output: Path) -> None:
    """Write the checkpoint of `package` into the new folder `output`; the temperature is taken out of its head.

    Its tokenizer does not name emoji: an export with `--emoji-names` adds that again. Raises TrainingError for a
    folder that holds no package of a DistilBERT, and for an `output` that exists.
    """
    if output.exists():
        raise TrainingError(f"{output} exists; name a new folder")
    try:
        manifest = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
        described = json.loads((package / "tokenizer.json").read_text(encoding="utf-8"))
        model = model_of(package, (manifest.get("calibration") or {}).get("temperature", 1.0))
        tokenizer = tokenizer_of(described, manifest["max_tokens"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as exc:
        raise TrainingError(f"{package} holds no package of a DistilBERT: {one_line(exc)}") from exc
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def model_of(package: Path, temperature: float) -> DistilBertForSequenceClassification:
    """The network of `package` in float32, its logits multiplied by `temperature`, which had divided them."""
    model = DistilBertForSequenceClassification(DistilBertConfig.from_json_file(package / "config.json"))
    state = state_of(load_file(package / WEIGHTS))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.mul_(temperature)
    return model


def tokenizer_of(described: dict[str, Any], max_tokens: int) -> PreTrainedTokenizerFast:
    """The tokenizer that a package's tokenizer.json describes, without names of emoji."""
    fast = Tokenizer.from_str(json.dumps(without_names(described)))
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, model_max_length=max_tokens, model_input_names=_INPUTS, **_SPECIAL
    )


def without_names(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer.json without the table of emoji's names, which the export puts before the normalizer."""
    normalizer = tokenizer["normalizer"]
    if normalizer and normalizer["type"] == "Sequence" and normalizer["normalizers"][0]["type"] == "Precompiled":
        rest = normalizer["normalizers"][1:]
        normalizer = rest[0] if len(rest) == 1 else {"type": "Sequence", "normalizers": rest} if rest else None
    return tokenizer | {"normalizer": normalizer}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.unpack", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", type=Path, help="folder of a package of a DistilBERT")
    parser.add_argument("--output", type=Path, required=True, help="folder for the checkpoint; must not exist")
    options = parser.parse_args(arguments)
    try:
        unpack(options.package, options.output)
    except TrainingError as exc:
        note(f"error: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
