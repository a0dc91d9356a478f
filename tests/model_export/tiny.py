"""Tiny checkpoints with random weights, of every family that the export is tested with."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import DistilBertTokenizerFast, RobertaTokenizerFast

from model_export.texts import short_texts

TOLERANCE = 0.3
"""Random weights are not what the default is made for: their scores change wildly with small errors."""

DEBERTA: dict[str, Any] = {
    "relative_attention": True,
    "position_biased_input": False,
    "position_buckets": 16,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "type_vocab_size": 0,
}
"""What the published checkpoints of DebertaV2ForSequenceClassification (v3, too) have in their config."""

BART: dict[str, Any] = {
    "d_model": 32,
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")},
    "classifier_dropout": 0.0,
}
"""Sizes of a tiny BartForSequenceClassification, whose config has names of its own."""


def write_checkpoint(folder: Path, architecture: str = "DistilBertForSequenceClassification", **config: Any) -> Path:
    """Write a random classifier (or another model of transformers) of a few thousand weights, and its tokenizer."""
    tokenizer = _byte_tokenizer() if architecture.startswith(("Roberta", "Bart")) else _word_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if architecture.startswith("DistilBert"):
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    positions = {"max_position_embeddings": 514 if architecture.startswith("Roberta") else 512}
    special = {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)}
    model_class = getattr(transformers, architecture)
    torch.manual_seed(0)
    config = {"initializer_range": 0.2} | sizes | positions | special | config
    model = model_class(model_class.config_class(**config)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 1:  # new models have biases of 0 and norms of 1, which would hide lost ones
                weights.add_(torch.randn_like(weights) * 0.1)
    if "SequenceClassification" in architecture:
        _give_opinions(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _give_opinions(model: Any, tokenizer: Any) -> None:
    """Centre and stretch the logits: a random head gives every text nearly the same scores."""
    head = next(getattr(model, name) for name in ("classifier", "classification_head", "score") if hasattr(model, name))
    head = getattr(head, "out_proj", head)
    tokens = min(64, model.config.max_position_embeddings)
    encoded = tokenizer(short_texts(), padding=True, truncation=True, max_length=tokens, return_tensors="pt")
    with torch.no_grad():
        logits = model(**encoded).logits
        stretch = 1.5 / logits.std(dim=0)
        if head.bias is not None:
            head.bias.copy_((head.bias - logits.mean(dim=0)) * stretch)
        head.weight.mul_(stretch[:, None])


def _word_tokenizer() -> Any:
    """WordPiece over single characters and a few words, as BERT and DistilBERT have it."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-"
    words = ["good", "bad", "film", "never", "again", "love", "it", "worst", "perfect", "the", "not"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    tokenizer = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return DistilBertTokenizerFast(tokenizer_object=tokenizer, model_max_length=512)


def _byte_tokenizer() -> Any:
    """Byte-level BPE without merges, as RoBERTa has it; its pad token is 1."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return RobertaTokenizerFast(tokenizer_object=tokenizer)  # knows no limit: that follows from the positions
