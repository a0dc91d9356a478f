"""The way such a service is usually built, to compare with.

FastAPI, a transformers pipeline in PyTorch, and a cache of whole requests in Redis. Its best set-up on two cores is two
workers with one torch thread each. USUAL_CHECKPOINT is the folder of the model, USUAL_REDIS_URL the Redis.
"""

import hashlib
import json
import os
from typing import Any

import torch
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from redis.asyncio import Redis
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

TTL_SECONDS = 180
# With torch's default of one thread per core, two workers fight for the cores: ten requests a second, not hundreds.
torch.set_num_threads(1)

_checkpoint = os.environ["USUAL_CHECKPOINT"]
classify = pipeline(
    "text-classification",
    model=AutoModelForSequenceClassification.from_pretrained(_checkpoint),
    tokenizer=AutoTokenizer.from_pretrained(_checkpoint),
    top_k=None,
    device="cpu",
)
redis = Redis.from_url(os.environ["USUAL_REDIS_URL"])
app = FastAPI()


class PredictRequest(BaseModel):
    """Texts to classify."""

    text: list[str]


class LabelScore(BaseModel):
    """One label and its score."""

    label: str
    score: float


class PredictResponse(BaseModel):
    """For each text every label with its score."""

    predictions: list[list[LabelScore]]


@app.get("/readyz")
async def readyz() -> dict[str, str]:
    """Importing this module loads the model: who answers is ready."""
    return {"status": "ready"}


@app.post("/predict")
async def predict(body: PredictRequest) -> PredictResponse:
    """Classify texts; a request that came before is answered from Redis."""
    key = "usual:" + hashlib.sha256(json.dumps(body.text).encode()).hexdigest()
    if (stored := await redis.get(key)) is not None:
        return PredictResponse(**json.loads(stored))
    scores: Any = await run_in_threadpool(classify, body.text, truncation=True)
    answer = PredictResponse(predictions=scores)
    await redis.set(key, answer.model_dump_json(), ex=TTL_SECONDS)
    return answer
