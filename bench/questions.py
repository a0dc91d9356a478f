"""Texts whose right answers are known: what fuzz and chaos hold every answer against, to the last digit."""

import json
import random
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException

from load.texts import load_texts

OK = 200


class Questions:
    """Some texts, and for each the predictions that an undisturbed service on `port` gives it alone.

    Scores depend neither on the batch nor on the cache, so that any other answer is a wrong one.
    """

    def __init__(self, port: int, texts: int = 200) -> None:
        self.texts = (load_texts()["warm"] + load_texts()["cold"])[:texts]
        self._right = {text: _ask(port, text) for text in self.texts}

    def draw(self, source: random.Random, most: int = 3) -> list[str]:
        """One text, or up to `most` of them."""
        return source.choices(self.texts, k=source.randint(1, most))

    def is_right(self, texts: Sequence[str], body: bytes) -> bool:
        """Whether this body of a 200 has the right predictions for these texts, all and in their order."""
        try:
            return bool(json.loads(body)["predictions"] == [self._right[text] for text in texts])
        except (ValueError, KeyError, TypeError):
            return False


def post(connection: HTTPConnection, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Status and body of the answer to a POST of JSON to /predict. Raises OSError and HTTPException."""
    connection.request("POST", "/predict", body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    return answer.status, answer.read()


def _ask(port: int, text: str) -> object:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        status, body = post(connection, json.dumps({"text": [text]}).encode())
    finally:
        connection.close()
    if status != OK:
        raise HTTPException(f"{status} for a plain text: {body[:200]!r}")
    return json.loads(body)["predictions"][0]
