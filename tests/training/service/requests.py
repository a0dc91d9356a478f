"""Requests that a training learns something of."""

import random
from typing import Any

WORDS = {"sad": "awful dull rude", "glad": "great lovely kind"}


def table(rows: int = 60, columns: int = 2, **changes: Any) -> dict[str, Any]:
    """Numbers of chance, and as target whether the first two of a row add up to more than 0; a small forest."""
    chance = random.Random(0)
    data = [[round(chance.gauss(0, 1), 3) for _ in range(columns)] for _ in range(rows)]
    target = [int(row[0] + row[1] > 0) for row in data]
    small = {"algorithm": "random_forest", "hyperparameters": {"n_estimators": 5}}
    return {"data": data, "target": target} | small | changes


def texts(rows: int = 40, **changes: Any) -> dict[str, Any]:
    """Texts with one of two labels, half of the `rows` each, and a fine-tuning of few steps."""
    labels = [name for _ in range(rows // 2) for name in WORDS]
    written = [f"{WORDS[label]} text number{row}" for row, label in enumerate(labels)]
    tiny = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "max_tokens": 16}
    return {"texts": written, "labels": labels, "hyperparameters": tiny} | changes
