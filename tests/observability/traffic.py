"""Mixed traffic: what users of the service send, and what they should not send."""

import itertools

import httpx

from load.texts import cold_text, load_texts

TRUNCATED = "a very long text " * 500
FOREIGN = "私はこの映画が大好きです 🎬"
WINE = {
    "fixed acidity": 7.4,
    "volatile acidity": 0.7,
    "citric acid": 0.0,
    "residual sugar": 1.9,
    "chlorides": 0.076,
    "free sulfur dioxide": 11.0,
    "total sulfur dioxide": 34.0,
    "density": 0.9978,
    "pH": 3.51,
    "sulphates": 0.56,
    "alcohol": 9.4,
}
"""A row for models/wine-quality."""
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


def send_rows(url: str) -> None:
    """Ten rows to the bundled model of a table, of which three have more alcohol than any wine at training."""
    rows = [WINE | {"density": 0.995 + next(numbers) / 1e7} for _ in range(7)]
    rows += [WINE | {"alcohol": 40.0 + next(numbers) / 1e3} for _ in range(3)]
    httpx.post(f"{url}/predict", json={"rows": rows}, timeout=30).raise_for_status()


def new(text: str) -> str:
    """This text as it was never sent before."""
    return cold_text(text, str(next(numbers)))


def predict(client: httpx.Client, *texts: str) -> None:
    """Fail unless they are answered."""
    client.post("/predict", json={"text": texts}).raise_for_status()
