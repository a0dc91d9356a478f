"""The Open Inference Protocol, version 2, over HTTP (https://github.com/kserve/open-inference-protocol).

With Triton's binary tensors: behind the JSON, whose length the header `Inference-Header-Content-Length` tells, a BYTES
tensor is one element after the other, each with its length in front, four bytes, little-endian.
"""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from pydantic import BaseModel, Field, NonNegativeInt

from app.errors import InvalidRequest
from app.http.protocols.inference import JSON_TYPE, Header, InferenceProtocol, Respond, chosen_scores, one_sentence
from app.http.protocols.native import checked
from app.http.schemas import PAIRS, PredictRequest, detail, read, refuse_many
from app.model.tabular import AnyManifest
from app.scoring.memory import Answer

MODEL, MODEL_VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
VERSION = "1"
"""Of the model: there is one at a time."""
JSON_LENGTH = b"inference-header-content-length"
OCTETS: Header = (b"content-type", b"application/octet-stream")
OPTIONS = "top_k", "raw_scores", "truncation"
"""Our own options, which are parameters here."""
MAX_TENSORS, MAX_DIMENSIONS = 16, 8
NUMBERS = {"FP32": "<f4", "FP64": "<f8", "INT32": "<i4", "INT64": "<i8"}
"""Types of numbers -> as binary tensors have them."""
OUTPUTS = {"labels": ("label", "BYTES"), "scores": ("score", "FP32"), "value": ("value", "FP64")}
"""Output -> the key of our own answers that it is made of, and its type."""


class Tensor(BaseModel):
    """Texts: BYTES of any shape, in `data` or, where `binary_data_size` is a parameter, behind the JSON."""

    name: str
    shape: list[NonNegativeInt] = Field(max_length=MAX_DIMENSIONS)
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None

    @property
    def elements(self) -> list[Any]:
        """Those in `data`, which may be plain or nested."""
        return [value for row in self.data or [] for value in (row if isinstance(row, list) else [row])]


class WantedOutput(BaseModel):
    """An output that is asked for; `binary_data` in its parameters says how."""

    name: str
    parameters: dict[str, Any] = {}


class V2Request(BaseModel):
    """What is asked of a model."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    """`top_k`, `raw_scores` and `truncation` as in our own API; `binary_data_output`; others are ignored."""
    inputs: list[Tensor] = Field(min_length=1, max_length=MAX_TENSORS)
    outputs: list[WantedOutput] = Field([], max_length=MAX_TENSORS)


class Infer(InferenceProtocol):
    """`POST /v2/models/{name}/infer`, with and without a version, whatever a tensor holds."""

    name = "v2"
    error = staticmethod(one_sentence)

    def __init__(self, path: str) -> None:
        self.path = path

    def answers(self, path: str, model: str) -> bool:
        """Whether this is its path for the model of this name."""
        return path == self.path.format(name=model, version=VERSION)


class V2(Infer):
    """Texts."""

    def __init__(self, path: str, schema: type[PredictRequest]) -> None:
        super().__init__(path)
        self._schema = schema

    def parse(self, body: bytes, headers: Mapping[bytes, bytes]) -> tuple[PredictRequest, Respond]:
        """Its tensors -> texts. Raises InvalidRequest or TooLarge."""
        header, binary = split(body, headers)
        asked = read(V2Request, header)
        options = {name: asked.parameters[name] for name in OPTIONS if name in asked.parameters}
        texts = _texts(asked.inputs, binary, self._schema)
        request = checked(self._schema, texts, **options)
        wanted = wanted_outputs(asked)

        def respond(answers: Sequence[Answer], manifest: AnyManifest) -> tuple[bytes, Sequence[Header]]:
            rows = chosen_scores(manifest.labels, request, answers)
            return response(manifest.name, asked, rows, wanted)

        return request, respond


def split(body: bytes, headers: Mapping[bytes, bytes]) -> tuple[bytes, bytes]:
    """JSON and what stands behind it."""
    told = headers.get(JSON_LENGTH)
    if told is None:
        return body, b""
    if not told.isdigit() or len(told) > len(str(len(body))) or int(told) > len(body):
        msg = f"Inference-Header-Content-Length should be a number of bytes of the body, which has {len(body)}"
        raise InvalidRequest([detail("json_length", [], msg)])
    return body[: int(told)], body[int(told) :]


def _texts(inputs: list[Tensor], binary: bytes, schema: type[PredictRequest]) -> list[Any]:
    """The elements of the one tensor of BYTES, or the pairs of them that its last dimension makes."""
    tensor = only_tensor(inputs, ["BYTES"])
    each, max_texts = 1 + schema.pairs, schema.max_texts
    if schema.pairs and (len(tensor.shape) < each or tensor.shape[-1] != each):
        raise wrong("shape", f"{PAIRS}: the last dimension should be 2, got {tensor.shape}")
    elements = math.prod(tensor.shape)
    refuse_many(elements // each, max_texts, ["inputs"])
    if is_binary(tensor, binary, "texts"):
        texts: list[Any] = list(_elements(binary, each * max_texts + 1))
    else:
        texts = tensor.elements
    if len(texts) != elements:
        raise wrong("shape", f"the shape is of {elements} texts, the data of {len(texts)}")
    return [texts[index : index + 2] for index in range(0, elements, 2)] if schema.pairs else texts


def only_tensor(inputs: list[Tensor], datatypes: Iterable[str]) -> Tensor:
    """The one tensor of a request. Raises InvalidRequest for several, or another type."""
    (tensor, *more) = inputs
    if more or tensor.datatype not in datatypes:
        found = ", ".join(f"{tensor.name[:64]!r} ({tensor.datatype[:16]})" for tensor in inputs)
        raise wrong("inputs", f"there should be one tensor, of {', '.join(datatypes)}, got {found}")
    return tensor


def is_binary(tensor: Tensor, binary: bytes, what: str, item_bytes: int = 1) -> bool:
    """Whether its data stands behind the JSON, in whole items. Raises InvalidRequest where it stands nowhere."""
    size = tensor.parameters.get("binary_data_size")
    if size is None and (binary or tensor.data is None):
        raise wrong("data", f"the {what} stand neither in `data` nor, with `binary_data_size`, behind the JSON")
    if size is not None and (size != len(binary) or len(binary) % item_bytes):
        raise wrong("binary_data_size", f"{len(binary)} bytes stand behind the JSON: another number is told")
    return size is not None


def _elements(binary: bytes, most: int) -> Iterator[str]:
    """At most so many elements of a BYTES tensor."""
    start = 0
    while start < len(binary) and most:
        length = int.from_bytes(binary[start : start + 4], "little")
        end = start + 4 + length
        if end > len(binary):
            raise wrong("binary_data", f"the element at byte {start} has {length} bytes: more than there are")
        try:
            yield binary[start + 4 : end].decode()
        except UnicodeDecodeError as exc:
            raise wrong("binary_data", f"the element at byte {start} is not UTF-8") from exc
        start, most = end, most - 1


def wanted_outputs(asked: V2Request, names: Sequence[str] = ("labels", "scores")) -> dict[str, bool]:
    """The outputs that are asked for, or all of `names`, and whether each is to be binary."""
    binary = asked.parameters.get("binary_data_output") is True
    if not asked.outputs:
        return dict.fromkeys(names, binary)
    for output in asked.outputs:
        if output.name not in names:
            there = " and ".join(map(repr, names))
            raise wrong("outputs", f"there is no output {output.name[:64]!r}: there are {there}")
    return {output.name: output.parameters.get("binary_data", binary) is True for output in asked.outputs}


def response(
    model: str, asked: V2Request, rows: list[list[dict[str, Any]]], wanted: dict[str, bool]
) -> tuple[bytes, Sequence[Header]]:
    """`rows` has what is said of each text: of its labels, or one value; each tensor has one number or name of each."""
    outputs: list[dict[str, Any]] = []
    tail = b""
    for name, binary in wanted.items():
        key, datatype = OUTPUTS[name]
        values = [item[key] for row in rows for item in row]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(rows), len(rows[0])]}
        if binary:
            packed = _packed_labels(values) if datatype == "BYTES" else np.array(values, NUMBERS[datatype]).tobytes()
            output["parameters"] = {"binary_data_size": len(packed)}
            tail += packed
        else:
            output["data"] = values
        outputs.append(output)
    told = {} if asked.id is None else {"id": asked.id}
    json = orjson.dumps({"model_name": model, "model_version": VERSION, **told, "outputs": outputs})
    if not tail:
        return json, (JSON_TYPE,)
    return json + tail, (OCTETS, (JSON_LENGTH, b"%d" % len(json)))


def _packed_labels(labels: Sequence[str]) -> bytes:
    return b"".join(struct.pack("<I", len(label.encode())) + label.encode() for label in labels)


def wrong(place: str, msg: str) -> InvalidRequest:
    """A fault of a tensor."""
    return InvalidRequest([detail("tensor", [place], msg)])
