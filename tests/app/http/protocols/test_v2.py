"""The Open Inference Protocol, as Triton's own client speaks it and byte by byte."""

import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from tests.app import plain_http
from tests.conftest import Service

MODEL = "distilbert-sst2-mini"
TEXTS = ["I love you.", "I hate you, café."]
INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture(scope="module")
def client(service: Service) -> triton.InferenceServerClient:
    """Triton's client, unchanged."""
    return triton.InferenceServerClient(service.url.removeprefix("http://"))


def expected(service: Service, **options: Any) -> list[list[dict[str, Any]]]:
    """What our own API says of the texts."""
    answer = plain_http.post(service.url + "/predict", json={"text": TEXTS, **options})
    predictions: list[list[dict[str, Any]]] = answer.json()["predictions"]
    return predictions


def tensor(*, binary: bool) -> triton.InferInput:
    """The texts as Triton's client sends them."""
    made = triton.InferInput("text", [len(TEXTS)], "BYTES")
    made.set_data_from_numpy(np.array(TEXTS, dtype=object), binary_data=binary)
    return made


def infer(service: Service, body: object, **headers: str) -> httpx.Response:
    """A request as bytes or as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body)
    return plain_http.post(service.url + INFER, content=content, headers=headers)


def request(data: list[Any], shape: list[int], **fields: Any) -> dict[str, Any]:
    """A request with one tensor in JSON."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": shape, "data": data}], **fields}


def test_triton_sees_a_server_with_one_model(client: triton.InferenceServerClient) -> None:
    """Live, ready, and what it takes and gives."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "2")
    assert not client.is_model_ready("another")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata(MODEL, "1")
    assert [(made["name"], made["datatype"]) for made in metadata["outputs"]] == [
        ("labels", "BYTES"),
        ("scores", "FP32"),
    ]


@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_triton_gets_the_scores_of_our_own_api(
    service: Service, client: triton.InferenceServerClient, packing: str | None, *, binary_in: bool, binary_out: bool
) -> None:
    """With tensors as JSON and as bytes, compressed or not."""
    answer = client.infer(
        MODEL,
        [tensor(binary=binary_in)],
        request_id="seven",
        outputs=[triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("scores", "labels")],
        request_compression_algorithm=packing,
        response_compression_algorithm=packing,
    )
    assert answer.get_response()["id"] == "seven"
    ours = expected(service)
    labels = [[str(label, "utf-8") if binary_out else label for label in row] for row in answer.as_numpy("labels")]
    assert labels == [[item["label"] for item in scores] for scores in ours]
    assert answer.as_numpy("scores").tolist() == [
        pytest.approx([item["score"] for item in scores], abs=1e-6) for scores in ours
    ]


def test_triton_may_choose(service: Service, client: triton.InferenceServerClient) -> None:
    """Our own options are parameters, and every output is binary where none is named."""
    answer = client.infer(MODEL, [tensor(binary=True)], parameters={"top_k": 1, "raw_scores": True})
    ours = expected(service, top_k=1, raw_scores=True)
    assert answer.as_numpy("scores").shape == (2, 1)
    assert answer.as_numpy("scores").tolist() == [pytest.approx([row[0]["score"]], abs=1e-5) for row in ours]


def test_triton_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    """Its exception has our sentence."""
    with pytest.raises(InferenceServerException, match="there is no model 'another'"):
        client.infer("another", [tensor(binary=True)])
    wrong = triton.InferInput("text", [1], "FP32")
    wrong.set_data_from_numpy(np.zeros(1, dtype=np.float32))
    with pytest.raises(InferenceServerException, match="one tensor, of BYTES, got 'text'"):
        client.infer(MODEL, [wrong])


@pytest.mark.parametrize("data", [(["a", "b"], [2]), ([["a"], ["b"]], [2, 1]), (["a", "b"], [2, 1])])
def test_any_shape_of_texts_is_read(service: Service, data: tuple[list[Any], list[int]]) -> None:
    """Flat or nested, as KServe's client and curl send them."""
    answer = infer(service, request(*data))
    assert answer.status_code == 200, answer.text
    assert [output["shape"] for output in answer.json()["outputs"]] == [[2, 2], [2, 2]]
    assert "id" not in answer.json()


def element(text: bytes, length: int | None = None) -> bytes:
    """One element of a BYTES tensor."""
    return struct.pack("<I", len(text) if length is None else length) + text


@pytest.mark.parametrize(
    ("binary", "told", "said"),
    [
        (element(b"good"), 9, "8 bytes stand behind the JSON"),
        (element(b"good", 5), 8, "the element at byte 0 has 5 bytes"),
        (element(b"good", 2**32 - 1), 8, "more than there are"),
        (element(b"go\xff"), 7, "not UTF-8"),
        (element(b"good") * 2, 16, "the shape is of 1 texts, the data of 2"),
        (b"", 0, "the shape is of 1 texts, the data of 0"),
        (element(b" "), 5, "blank"),
    ],
)
def test_wrong_binary_tensor_is_refused(service: Service, binary: bytes, told: int, said: str) -> None:
    """Whatever its lengths claim."""
    tensor = {"name": "t", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": told}}
    head = json.dumps({"inputs": [tensor]}).encode()
    answer = infer(service, head + binary, **{"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 422
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (request(["a"], [1]), {"Inference-Header-Content-Length": "99999"}, 422, "number of bytes of the body"),
        (request(["a"], [1]), {"Inference-Header-Content-Length": "-1"}, 422, "number of bytes of the body"),
        (request(["a"], [2]), {}, 422, "the shape is of 2 texts, the data of 1"),
        (request([1], [1]), {}, 422, "text.0: Input should be a valid string"),
        (request(["a"] * 129, [129]), {}, 413, "129 texts exceed the limit of 128"),
        (request(["a"], [2**40, 2**40]), {}, 413, "texts exceed the limit of 128"),
        (request(["a"], [1] * 9), {}, 422, "inputs.0.shape"),
        (request(["a"], [-1]), {}, 422, "inputs.0.shape.0"),
        (request(["a"], [1], outputs=[{"name": "logits"}]), {}, 422, "there is no output 'logits'"),
        (request(["a"], [1], parameters={"top_k": 0}), {}, 422, "top_k: "),
        ({"inputs": []}, {}, 422, "inputs: "),
        (b"{", {}, 422, "Invalid JSON"),
    ],
)
def test_wrong_request_is_refused(
    service: Service, body: object, headers: dict[str, str], status: int, said: str
) -> None:
    """In the protocol's shape: one sentence with the place."""
    answer = infer(service, body, **headers)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


def test_requests_are_counted_by_their_template(service: Service) -> None:
    """And texts by the protocol."""
    route = "/v2/models/{name}/versions/{version}/infer"
    names = [f'http_requests_total{{method="POST",route="{route}",status="200"}}']
    names += [f'valence_texts_total{{label="{label}",protocol="v2"}}' for label in ("POSITIVE", "NEGATIVE")]
    before = sum(map(service.metric, names))
    url = f"{service.url}/v2/models/{MODEL}/versions/1/infer"
    assert plain_http.post(url, json=request(["a", "b"], [2])).status_code == 200
    assert sum(map(service.metric, names)) == before + 3
