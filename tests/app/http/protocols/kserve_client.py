"""KServe's own client, in its own environment, against a service: `kserve_client.py URL MODEL` prints JSON."""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

TEXTS = ["I hate you.", "I love you."]


def request(model: str, *, binary: bool) -> InferRequest:
    """Both texts as one tensor: JSON or bytes."""
    tensor = InferInput("text", [len(TEXTS)], "BYTES")
    tensor.set_data_from_numpy(np.array(TEXTS, dtype=np.object_), binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], parameters={"top_k": 1})


async def talk(url: str, model: str) -> dict[str, Any]:
    """What the client made of every answer."""
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        told: dict[str, Any] = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model": await client.is_model_ready(url, model),
            "other": await client.is_model_ready(url, "no-such-model"),
        }
        for form in ("json", "binary"):
            answer = await client.infer(url, request(model, binary=form == "binary"), model_name=model)
            told[form] = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        try:
            await client.infer(url, request(model, binary=False), model_name="no-such-model")
        except httpx.HTTPStatusError as exc:
            told["refusal"] = str(exc)
        return told


print(json.dumps(asyncio.run(talk(*sys.argv[1:])), default=bytes.decode))  # noqa: T201 - what the test reads
