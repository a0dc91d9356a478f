"""A checkpoint with the geometry of the full-size DistilBERT (66 M parameters) and random weights.

For speed the weights do not matter: the work is the same. In the environment of the export:
python -m bench.rivals.usual_checkpoint FOLDER TOKENIZER_JSON
"""

import sys

from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast


def main(folder: str, tokenizer_json: str) -> None:
    """Write the checkpoint, with the tokenizer of the given file."""
    config = DistilBertConfig(id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1})
    DistilBertForSequenceClassification(config).save_pretrained(folder)
    special = {
        name: f"[{name[:-6].upper()}]" for name in ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    }
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=tokenizer_json,
        model_max_length=config.max_position_embeddings,
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
