"""The bundled starting point: a DistilBERT that computes what the BERT does."""

import pytest

pytest.importorskip("torch", reason="the export group is not installed: make test-export")
import torch
from transformers import AutoTokenizer, BertModel

from model_export.minilm import bert_as_distilbert, minilm_folder


def test_minilm_carries_over_exactly() -> None:
    """The DistilBERT's hidden states are those of the BERT that it was made from, to 1e-5, padded texts included."""
    bert = BertModel.from_pretrained(minilm_folder(), add_pooling_layer=False).eval()
    distilbert = bert_as_distilbert(bert, ("NEGATIVE", "POSITIVE")).distilbert.eval()
    texts = ["Good.", "An overlong, overwrought and yet oddly moving story about two people and a lighthouse."]
    encoded = AutoTokenizer.from_pretrained(minilm_folder())(texts, padding=True, return_tensors="pt")
    inputs = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
    with torch.inference_mode():
        difference = bert(**inputs).last_hidden_state - distilbert(**inputs).last_hidden_state
    assert (difference * encoded["attention_mask"][..., None]).abs().max() < 1e-5
