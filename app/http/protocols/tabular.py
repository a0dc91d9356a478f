"""Rows of a table: `{"features": [[...]]}` or, by name, `{"rows": [{...}]}` in; every label with its score, or a value.

The manifest says which columns there are, so both schemas are made of it, and `/openapi.json` shows them.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import GenericAlias
from typing import Annotated, Any, NamedTuple

import orjson
from fastapi import APIRouter
from pydantic import AllowInfNan, BaseModel, ConfigDict, FailFast, Field, Strict, ValidationError, create_model
from pydantic_core import from_json

from app.errors import InvalidRequest
from app.http.observe import PATH
from app.http.protocols.inference import (
    ANSWER_HEADERS,
    JSON_TYPE,
    Header,
    InferenceProtocol,
    Respond,
    inlined,
    label_scores,
    refusals,
)
from app.http.schemas import ErrorResponse, detail, invalid, refuse_many, refuse_twice
from app.model.tabular import LARGEST_VALUE, AnyManifest, Column, Row, TabularManifest, out_of_range
from app.model.tokenizer import Truncation
from app.scoring.memory import Answer
from app.telemetry.metrics import OUT_OF_RANGE

ROWS = b'"rows"'
"""The key that tells rows by name from `features`."""
FORBID = ConfigDict(extra="forbid")
OUT_OF_RANGE_HEADER = {
    "X-Out-Of-Range": {
        "description": "Indices of the rows with a value that the model was not trained on; absent if none.",
        "schema": {"type": "string"},
    }
}


class Rows(NamedTuple):
    """What is asked for, in the words of requests of texts: the way of both is one."""

    text: list[Row]
    truncation: Truncation = "end"


class RowSchemas:
    """The two shapes of a request to a model with these columns, of at most `max_rows` rows."""

    def __init__(self, manifest: TabularManifest, max_rows: int) -> None:
        self.max_rows = max_rows
        columns = manifest.features
        limits = Strict(), FailFast(), Field(min_length=1, max_length=max_rows)
        (golden, *_), names = manifest.golden, manifest.names
        # Fields by number: a column may have any name, also one that pydantic's models have for themselves.
        fields: dict[str, Any] = {
            f"f{index}": (_number(column, alias=column.name, title=column.name), ...)
            for index, column in enumerate(columns)
        }
        row = create_model("Row", __config__=FORBID, __doc__="One value of each column.", **fields)
        by_name: Any = Annotated[GenericAlias(list, row), *limits, Field(description=f"1 to {max_rows} rows.")]
        values = GenericAlias(tuple, tuple(_number(column, title=column.name) for column in columns))
        told = f"1 to {max_rows} rows of {len(columns)} values: {', '.join(names)}."
        by_position: Any = Annotated[GenericAlias(list, values), *limits, Field(description=told)]
        self.by_name = _request("NamedRows", "Rows by the names of their columns.", rows=by_name)
        self.by_position = _request("PositionedRows", "Rows by the order of the columns.", features=by_position)
        self.example = {"rows": [dict(zip(names, golden.row, strict=True))]}

    def read(self, body: bytes) -> list[Row]:
        """The rows of a body. Raises TooLarge for too many, InvalidRequest with the place of each fault otherwise."""
        named = ROWS in body
        try:
            rows = self._rows(body, named=named)
        except ValidationError as exc:
            refusal = invalid(exc, body)
            if refusal.details[0]["type"] in ("json_invalid", "byte_order_mark"):
                raise refusal from exc
            value = from_json(body)
            self._check_keys(value)
            if named or "rows" not in value:
                raise refusal from exc
            rows, named = self._read_named(body), True  # the key is written in another way
        quotes = 2 + 2 * len(rows) * len(rows[0]) if named else 2
        if body.count(b'"') != quotes:  # then look closer
            refuse_twice(body, "in one object")
        return rows

    def checked(self, values: list[Any]) -> list[Row]:
        """Rows of another protocol. Raises as `read` does."""
        try:
            request: Any = self.by_position.model_validate({"features": values})
        except ValidationError as exc:
            self._refuse_many(values)
            raise invalid(exc) from exc
        return list(map(Row, request.features))

    def _rows(self, body: bytes, *, named: bool) -> list[Row]:
        request: Any = (self.by_name if named else self.by_position).model_validate_json(body)
        if named:
            return [Row(vars(row).values()) for row in request.rows]
        return list(map(Row, request.features))

    def _read_named(self, body: bytes) -> list[Row]:
        try:
            return self._rows(body, named=True)
        except ValidationError as exc:
            raise invalid(exc, body) from exc

    def _check_keys(self, value: Any) -> None:
        keys = {"rows", "features"} & value.keys() if isinstance(value, dict) else set()
        if len(keys) != 1:
            msg = "there should be either `features`, a list of rows of values, or `rows`, a list of rows by name"
            raise InvalidRequest([detail("missing", [], msg)])
        self._refuse_many(value[keys.pop()])

    def _refuse_many(self, rows: Any) -> None:
        if isinstance(rows, list):
            refuse_many(len(rows), self.max_rows, [], "rows")


class Tabular(InferenceProtocol):
    """`POST /predict` of a tabular model."""

    name = "valence"
    path = PATH

    def __init__(self, schemas: RowSchemas, manifest: TabularManifest) -> None:
        self._schemas = schemas
        self._ranges = Ranges(manifest.names)

    def parse(self, body: bytes, _: Mapping[bytes, bytes]) -> tuple[Rows, Respond]:
        """The rows of a body, whatever its content type says."""
        rows = self._schemas.read(body)

        def respond(answers: Sequence[Answer], manifest: AnyManifest) -> tuple[bytes, Sequence[Header]]:
            assert isinstance(manifest, TabularManifest)
            content = orjson.dumps({"predictions": predictions(manifest, answers)})
            return content, (JSON_TYPE, *self._ranges.count(manifest.features, rows))

        return Rows(rows), respond


class Ranges:
    """Tells rows with values that the model was not trained on: they are answered, counted and pointed out."""

    def __init__(self, names: Sequence[str]) -> None:
        self._counters = {name: OUT_OF_RANGE.labels(name) for name in names}

    def count(self, columns: Sequence[Column], rows: Iterable[Row]) -> Sequence[Header]:
        """The header that names such rows, if there are any."""
        outside = {}
        for index, row in enumerate(rows):
            if names := out_of_range(columns, row):
                outside[index] = names
        for names in outside.values():
            for name in names:
                self._counters[name].inc()
        return [(b"x-out-of-range", b",".join(b"%d" % index for index in outside))] if outside else []


def predictions(manifest: TabularManifest, answers: Sequence[Answer]) -> list[Any]:
    """What is said of each row: its labels with their scores, highest first, or its value."""
    if manifest.classes is None:
        return [{"value": answer.scores[0]} for answer in answers]
    return [label_scores(manifest.classes, answer) for answer in answers]


def router(schemas: RowSchemas, manifest: TabularManifest) -> APIRouter:
    """What `/openapi.json` says of `POST /predict`, which is answered before this route is asked."""
    routes = APIRouter(tags=["prediction"])
    either = {"anyOf": [inlined(schemas.by_name), inlined(schemas.by_position)]}
    body = {"required": True, "content": {"application/json": {"schema": either, "example": schemas.example}}}
    responses: dict[int | str, dict[str, Any]] = {200: {"headers": ANSWER_HEADERS | OUT_OF_RANGE_HEADER}}
    responses |= refusals(ErrorResponse)
    response = _response_of(manifest)

    @routes.post(PATH, response_model=response, responses=responses, openapi_extra={"requestBody": body})
    async def predict() -> None:
        """Predict from rows of a table.

        By name, in any order, or by position. A value that the model was not trained on is answered, and
        `X-Out-Of-Range` names its row.
        """

    return routes


def _response_of(manifest: TabularManifest) -> type[BaseModel]:
    target = manifest.target
    if manifest.classes is None:
        unit = f" in {target.unit}" if target.unit else ""
        told = f"{target.name}{unit}; at training from {target.minimum} to {target.maximum}."
        value = create_model("Value", value=(float, Field(description=told)))
        return _predictions(value)
    label = Field(description=f"Of {target.name}.", json_schema_extra={"enum": list(manifest.classes)})
    score = create_model("LabelScore", label=(str, label), score=(float, Field(description="Between 0 and 1.")))
    return _predictions(GenericAlias(list, score))


def _predictions(one: Any) -> type[BaseModel]:
    each: Any = GenericAlias(list, one)
    return create_model("PredictResponse", predictions=(each, Field(description="Of each row, in their order.")))


def _request(name: str, told: str, **field: Any) -> type[BaseModel]:
    fields: dict[str, Any] = {key: (kind, ...) for key, kind in field.items()}
    return create_model(name, __config__=FORBID, __doc__=told, **fields)


def _number(column: Column, **names: str) -> Any:
    """A finite JSON number, described as the manifest has it."""
    unit = f"{column.unit}; " if column.unit else ""
    told = f"{unit}at training from {column.minimum:g} to {column.maximum:g}."
    whole = 1 if column.type == "integer" else None
    limits = Field(ge=-LARGEST_VALUE, le=LARGEST_VALUE, multiple_of=whole, description=told, **names)  # type: ignore[call-overload]
    return Annotated[float, Strict(), AllowInfNan(False), limits]
