"""Checkpoints of many kinds: each becomes a package that the service can serve, or is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the export environment: make install-export")

import torch
from tokenizers import Tokenizer, processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from model_export import preconditions
from model_export.__main__ import main
from model_export.checkpoint import load
from model_export.errors import ExportError
from model_export.texts import short_texts
from tests.model_export.tiny import BART, DEBERTA, TOLERANCE, write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512}
"""Sizes of a tiny GPT-2."""


def export(checkpoint: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status, and the manifest of the package that was written beside the checkpoint."""
    output = checkpoint.with_name("package")
    status = main(["--model", str(checkpoint), "--tolerance", str(TOLERANCE), "--output", str(output), *options])
    manifest = output / "manifest.json"
    return status, json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}


def refusal(checkpoint: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line of an export that must fail before its first step, and leave nothing."""
    assert export(checkpoint, *options) == (1, {})
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("no profile")]
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def change_tokenizer(folder: Path, post_processor: Any) -> None:
    """Let the fast tokenizer of a checkpoint add its special tokens in another way."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = post_processor
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("DebertaV2ForSequenceClassification", DEBERTA),
        ("BertForSequenceClassification", {"pruned_heads": {0: [1]}}),
        ("DistilBertForSequenceClassification", {"pruned_heads": {1: [0]}}),
    ],
)
def test_encoder_becomes_a_package(tmp_path: Path, architecture: str, config: dict[str, Any]) -> None:
    """Relative positions, and layers with fewer heads than the others."""
    status, manifest = export(write_checkpoint(tmp_path / "model", architecture, **config))
    assert (status, manifest.get("architecture")) == (0, architecture)


def test_tokenizer_may_make_more_than_the_model_takes(tmp_path: Path) -> None:
    """A DistilBERT with BERT's tokenizer class gets token types, which it doesn't take."""
    folder = write_checkpoint(tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {
        "tokenizer_class": "BertTokenizer",
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert "token_type_ids" in AutoTokenizer.from_pretrained(folder)("good")
    status, manifest = export(folder)
    assert (status, manifest["inputs"]) == (0, ["input_ids", "attention_mask"])


def test_sentencepiece_becomes_a_fast_tokenizer(tmp_path: Path) -> None:
    """Of a checkpoint without tokenizer.json, as XLM-R's were for years."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs the package sentencepiece")
    folder = write_checkpoint(tmp_path / "xlmr", "XLMRobertaForSequenceClassification", vocab_size=420, pad_token_id=1)
    for path in [*folder.glob("*token*"), *folder.glob("vocab*")]:
        path.unlink()
    with (folder / "sentencepiece.bpe.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(short_texts()), model_writer=file, vocab_size=400, hard_vocab_limit=False
        )
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    status, manifest = export(folder)
    assert (status, manifest["max_tokens"]) == (0, 510)


def test_package_says_what_the_user_asked_for(tmp_path: Path) -> None:
    """Emoji by their names, a band without a clear label, and what the model is for."""
    folder = write_checkpoint(tmp_path / "distilbert")
    options = ("--emoji-names", "--unclear-below", "0.6", "--intended-use", "Reviews of films.")
    status, manifest = export(folder, *options)
    assert (status, manifest["unclear_below"], manifest["intended_use"]) == (0, 0.6, "Reviews of films.")
    tokenizer = Tokenizer.from_file(str(folder.with_name("package") / "tokenizer.json"))
    assert tokenizer.encode("\N{FIRE}").ids == tokenizer.encode("fire").ids


def test_bart_is_served(tmp_path: Path) -> None:
    """It classifies by the last </s>: one that a client writes is plain text, and each text has one of its own."""
    folder = write_checkpoint(tmp_path / "bart", "BartForSequenceClassification", **BART)
    status, manifest = export(folder)
    assert (status, manifest["architecture"]) == (0, "BartForSequenceClassification")


@pytest.mark.parametrize(
    ("pad", "reason"),
    [(1, "'good film' scores 0."), (None, "fails on the texts")],
)
def test_padding_by_another_id_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pad: int | None, reason: str
) -> None:
    """GPT-2 reads the last token that is not its pad token; the service pads with id 0."""
    folder = write_checkpoint(tmp_path / "gpt2", "GPT2ForSequenceClassification", **GPT2)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.config.pad_token_id = pad
    model.save_pretrained(folder)
    line = refusal(folder, capsys)
    assert line.startswith("gpt2 can't be served: ")
    assert reason in line
    assert line.endswith("export an encoder instead, such as a DistilBERT, BERT, RoBERTa or DeBERTa")


def test_token_types_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The service knows only type 0, so the golden texts would never score as at export."""
    folder = write_checkpoint(tmp_path / "typed", "BertForSequenceClassification")
    pieces = "[CLS]:1 $A:1 [SEP]:1"
    change_tokenizer(folder, processors.TemplateProcessing(pieces, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    line = refusal(folder, capsys)
    assert line.startswith("typed can't be served: its tokenizer gives tokens the types [1, 1, 1")
    assert line.endswith("train it with a tokenizer whose types for one text are 0, as BERT's own")


def test_network_that_fails_on_its_longest_text_is_refused(tmp_path: Path) -> None:
    """It would fail in the service as soon as somebody writes one. Here it has fewer positions than its config says."""
    loaded = load(write_checkpoint(tmp_path / "short"))
    loaded.model.distilbert.embeddings.position_embeddings = torch.nn.Embedding(64, 32)
    with pytest.raises(
        ExportError, match=r"^short can't be served: it fails on a text of 512 tokens: .*model_max_length"
    ):
        preconditions.check(loaded, "short")


def test_texts_without_tokens_are_refused_by_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What only the finished package shows: a visible text that a tokenizer drops, and no special token beside it."""
    folder = write_checkpoint(tmp_path / "bare")
    change_tokenizer(folder, processors.TemplateProcessing("$A", special_tokens=[]))
    status, manifest = export(folder)
    last = capsys.readouterr().err.splitlines()[-1]
    assert (status, manifest) == (1, {})
    assert last.startswith("error: bare can't be served: the text '\ufffd' has 0 tokens")
    assert list(tmp_path.iterdir()) == [folder]
