"""The Open Inference Protocol for tabular models: one tensor of numbers, rows by columns.

Plain or nested in JSON, or binary behind it, as Triton's clients send it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.http.protocols.inference import Header, Respond
from app.http.protocols.tabular import Ranges, Rows, RowSchemas, predictions
from app.http.protocols.v2 import (
    NUMBERS,
    Infer,
    Tensor,
    V2Request,
    is_binary,
    only_tensor,
    response,
    split,
    wanted_outputs,
    wrong,
)
from app.http.schemas import read, refuse_many
from app.model.tabular import AnyManifest, TabularManifest
from app.scoring.memory import Answer


class V2Rows(Infer):
    """Rows."""

    def __init__(self, path: str, schemas: RowSchemas, manifest: TabularManifest) -> None:
        super().__init__(path)
        self._schemas = schemas
        self._columns = len(manifest.features)
        self._ranges = Ranges(manifest.names)
        self._outputs = ("value",) if manifest.classes is None else ("labels", "scores")

    def parse(self, body: bytes, headers: Mapping[bytes, bytes]) -> tuple[Rows, Respond]:
        """Its tensor -> rows. Raises InvalidRequest or TooLarge."""
        header, binary = split(body, headers)
        asked = read(V2Request, header)
        rows = self._schemas.checked(self._values(asked.inputs, binary))
        wanted = wanted_outputs(asked, self._outputs)

        def respond(answers: Sequence[Answer], manifest: AnyManifest) -> tuple[bytes, Sequence[Header]]:
            assert isinstance(manifest, TabularManifest)
            said = [row if isinstance(row, list) else [row] for row in predictions(manifest, answers)]
            content, own = response(manifest.name, asked, said, wanted)
            return content, (*own, *self._ranges.count(manifest.features, rows))

        return Rows(rows), respond

    def _values(self, inputs: list[Tensor], binary: bytes) -> list[list[Any]]:
        """The rows of the one tensor."""
        columns = self._columns
        tensor = only_tensor(inputs, NUMBERS)
        if len(tensor.shape) != 2 or tensor.shape[1] != columns:  # noqa: PLR2004 - rows and columns
            raise wrong("shape", f"the shape should be [rows, {columns}], got {tensor.shape}")
        refuse_many(tensor.shape[0], self._schemas.max_rows, ["inputs"], "rows")
        values = _numbers(tensor, binary)
        if len(values) != tensor.shape[0] * columns:
            raise wrong("shape", f"the shape is of {tensor.shape[0] * columns} values, the data of {len(values)}")
        return [values[start : start + columns] for start in range(0, len(values), columns)]


def _numbers(tensor: Tensor, binary: bytes) -> list[Any]:
    """The values, row after row; whether they are numbers is for the schema to say."""
    kind = np.dtype(NUMBERS[tensor.datatype])
    if is_binary(tensor, binary, "values", kind.itemsize):
        values: list[Any] = np.frombuffer(binary, kind).tolist()
        return values
    return tensor.elements
