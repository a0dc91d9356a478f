"""What the service takes for granted of a network, tried in PyTorch before minutes go into an export.

It passes token ids and a mask on, no token types, and it pads with id 0 at the end. `served.py` tries the same on the
finished package.
"""

from inspect import signature

import numpy as np

from model_export.checkpoint import Checkpoint
from model_export.errors import ENCODERS, ExportError, one_line
from model_export.reference import CheckpointScorer
from model_export.scores import FloatArray

_TOLERANCE = 1e-3
"""fp32 rounding in another shape moves a score by 1e-6; a token that is read in the wrong place by far more."""
_LONG, _SHORT = "a rather long and winding film that never gets anywhere", "good film"
_WRITTEN = "good [SEP] </s> film"
"""Special tokens are plain text where a client writes them; a tokenizer may not heed that."""
_TOKEN_TYPES = "token_type_ids"  # noqa: S105 - an input of a network


def check(checkpoint: Checkpoint, name: str) -> None:
    """Raise ExportError for a checkpoint that the service would feed wrongly."""
    _check_token_types(checkpoint, name)
    scorer = CheckpointScorer(checkpoint)
    _check_longest(checkpoint, scorer, name)
    for text in (_SHORT, _WRITTEN):
        alone, batched = (_scores(scorer, texts, name) for texts in ([text], [_LONG, text]))
        difference = float(np.nan_to_num(np.abs(alone[-1] - batched[-1]), nan=np.inf).max())
        if difference > _TOLERANCE:
            raise ExportError(
                f"{name} can't be served: in a batch, where padding is id 0 behind a mask, {text!r} scores "
                f"{difference:.2g} off, so a {checkpoint.architecture} reads more than the mask shows; {ENCODERS}"
            )


def _check_token_types(checkpoint: Checkpoint, name: str) -> None:
    given, taken = checkpoint.tokenizer.model_input_names, signature(checkpoint.model.forward).parameters
    types = checkpoint.tokenizer.backend_tokenizer.encode(_SHORT).type_ids
    if any(types) and _TOKEN_TYPES in given and _TOKEN_TYPES in taken:
        raise ExportError(
            f"{name} can't be served: its tokenizer gives tokens the types {types}, and the service knows only type 0; "
            "train it with a tokenizer whose types for one text are 0, as BERT's own"
        )


def _check_longest(checkpoint: Checkpoint, scorer: CheckpointScorer, name: str) -> None:
    text = "good " * checkpoint.max_tokens
    try:
        scorer.scores([text])
    except Exception as exc:
        raise ExportError(
            f"{name} can't be served: it fails on a text of {len(scorer.token_ids(text))} tokens: {one_line(exc)}; "
            "correct model_max_length in tokenizer_config.json"
        ) from exc


def _scores(scorer: CheckpointScorer, texts: list[str], name: str) -> FloatArray:
    try:
        return scorer.scores(texts)
    except Exception as exc:
        raise ExportError(
            f"{name} can't be served: it fails on the texts {texts}: {one_line(exc)}; {ENCODERS}"
        ) from exc
