"""Mixed traffic: what users of the service send, and what they should not send."""

import itertools

import httpx

from load.texts import cold_text, load_texts

TRUNCATED = "a very long text " * 500
FOREIGN = "私はこの映画が大好きです 🎬"
BAD_BODIES = ('{"text": [', '{"text": []}', '{"text": [" "]}')
SHOP, LIMITED = "key-of-the-shop", "key-with-a-limit"
"""Keys for services that ask for some; the second has less than it wants."""
numbers = itertools.count()


def send_some(url: str) -> None:
    """Some fifty requests of every kind: repeated, new, long, foreign, in batches, and wrong ones."""
    with httpx.Client(base_url=url, timeout=30, headers={"X-API-Key": SHOP}) as client:
        for text in load_texts()["warm"][:30]:
            predict(client, text)
        for text in load_texts()["cold"][:10]:
            predict(client, new(text))
        predict(client, *map(new, load_texts()["cold"][:60]))
        predict(client, new(TRUNCATED), new(FOREIGN))
        for body in BAD_BODIES:
            client.post("/predict", content=body)
        client.post("/predict", json={"text": ["too many"] * 1000})
        client.post("/", json={"inputs": "a fine film"}).raise_for_status()
        client.post("/predict", json={"text": ["a fine film"]}, headers={"X-API-Key": LIMITED})
        client.get("/readyz")
        client.get("/model/info")


def new(text: str) -> str:
    """This text as it was never sent before."""
    return cold_text(text, str(next(numbers)))


def predict(client: httpx.Client, *texts: str) -> None:
    """Fail unless they are answered."""
    client.post("/predict", json={"text": texts}).raise_for_status()
