"""What the service takes for granted of a network, tried in PyTorch before minutes go into an export.

It passes token ids and a mask on, and of pairs the types of the tokens, and it pads with id 0 at the end. `served.py`
tries the same on the finished package.
"""

import numpy as np

from model_export.checkpoint import Checkpoint
from model_export.errors import ENCODERS, ExportError, one_line
from model_export.pairs import Text, token_types
from model_export.reference import CheckpointScorer
from model_export.scores import FloatArray

_TOLERANCE = 1e-3
"""fp32 rounding in another shape moves a score by 1e-6; a token that is read in the wrong place by far more."""
_LONG, _SHORT = "a rather long and winding film that never gets anywhere", "good film"
_WRITTEN = "good [SEP] </s> film"
"""Special tokens are plain text where a client writes them; a tokenizer may not heed that."""


def check(checkpoint: Checkpoint, name: str, *, pairs: bool = False) -> None:
    """Raise ExportError for a checkpoint that the service would feed wrongly, with texts or with `pairs` of them."""
    if pairs:
        _check_types_of_pairs(checkpoint, name)
    else:
        _check_token_types(checkpoint, name)
    scorer = CheckpointScorer(checkpoint, pairs=pairs)
    _check_longest(checkpoint, scorer, name, pairs=pairs)
    long: Text = (_LONG, _SHORT) if pairs else _LONG
    texts: list[Text] = [(_SHORT, _WRITTEN), (_WRITTEN, _SHORT)] if pairs else [_SHORT, _WRITTEN]
    for text in texts:
        alone, batched = (_scores(scorer, batch, name) for batch in ([text], [long, text]))
        difference = float(np.nan_to_num(np.abs(alone[-1] - batched[-1]), nan=np.inf).max())
        if difference > _TOLERANCE:
            raise ExportError(
                f"{name} can't be served: in a batch, where padding is id 0 behind a mask, {text!r} scores "
                f"{difference:.2g} off, so a {checkpoint.architecture} reads more than the mask shows; {ENCODERS}"
            )


def _check_token_types(checkpoint: Checkpoint, name: str) -> None:
    types = checkpoint.tokenizer.backend_tokenizer.encode(_SHORT).type_ids
    if any(types) and checkpoint.reads_token_types:
        raise ExportError(
            f"{name} can't be served: its tokenizer gives tokens the types {types}, and the service knows only type 0; "
            "train it with a tokenizer whose types for one text are 0, as BERT's own"
        )


def _check_types_of_pairs(checkpoint: Checkpoint, name: str) -> None:
    if not checkpoint.reads_token_types:
        if checkpoint.takes_token_types and getattr(checkpoint.model.config, "type_vocab_size", 0) > 1:
            raise ExportError(
                f"{name} can't be served with pairs: the network has token types, and its tokenizer gives none "
                "(model_input_names in tokenizer_config.json)"
            )
        return
    for pair in ((_SHORT, _LONG), (_LONG, _SHORT)):
        encoding = checkpoint.tokenizer.backend_tokenizer.encode(*pair)
        if encoding.type_ids != token_types(encoding.ids):
            raise ExportError(
                f"{name} can't be served with pairs: its tokenizer gives the tokens of {pair} the types "
                f"{encoding.type_ids}, and the service knows 0 up to the separator between them and 1 behind it"
            )


def _check_longest(checkpoint: Checkpoint, scorer: CheckpointScorer, name: str, *, pairs: bool) -> None:
    text: Text = "good " * checkpoint.max_tokens
    if pairs:
        text = str(text), str(text)
    try:
        scorer.scores([text])
    except Exception as exc:
        raise ExportError(
            f"{name} can't be served: it fails on a text of {len(scorer.token_ids(text))} tokens: {one_line(exc)}; "
            "correct model_max_length in tokenizer_config.json"
        ) from exc


def _scores(scorer: CheckpointScorer, texts: list[Text], name: str) -> FloatArray:
    try:
        return scorer.scores(texts)
    except Exception as exc:
        raise ExportError(
            f"{name} can't be served: it fails on the texts {texts}: {one_line(exc)}; {ENCODERS}"
        ) from exc
