"""What a sampled request leaves behind: spans, made when they are over from times that were taken anyway.

Nothing here knows OpenTelemetry (app/otlp_export.py does), and a request that is not sampled gets no object at all:
where one could be, there is None. The spans of a request:

    POST /predict                   the server span; its parent is whoever sent `traceparent`
      cache                         the look-up in process: texts, hits
      redis                         if it was asked: keys, hits
      tokenise                      of the texts that no cache knows
      queue, inference              for each batch that had texts of this request; `inference` links to the batch
      coalesced                     instead of these two, for texts that another request had already sent to the model
    batch                           one call of the model: a trace of its own, linked to the requests in it

No attribute ever holds a text, a path that no route knows, a query or a user agent.
"""

from collections.abc import Sequence
from random import getrandbits
from time import perf_counter
from typing import NamedTuple

MAX_SPANS = 300
"""Of one request: enough for 128 texts that each have a batch to themselves."""
Attributes = dict[str, str | int | float | bool]


def new_id(bits: int) -> int:
    """A random number that is not 0, without a system call; forked processes go ways of their own."""
    return getrandbits(bits) or 1


class Ids(NamedTuple):
    """What tells a span from all others, so that another can link to it."""

    trace_id: int
    span_id: int


class Span(NamedTuple):
    """A span that is over. Times are seconds by `time.perf_counter`."""

    name: str
    ids: Ids
    parent_id: int
    """0: it has none."""
    began: float
    ended: float
    attributes: Attributes
    kind: str = "internal"
    links: Sequence[Ids] = ()
    failed: bool = False
    tracestate: str = ""


class Trace:
    """One sampled request, from its first byte to its answer. Lives on the event loop."""

    __slots__ = ("asked", "attributes", "ids", "parent_id", "spans", "tracestate")

    def __init__(self, trace_id: int, parent_id: int, tracestate: str) -> None:
        self.ids = Ids(trace_id, new_id(64))
        self.parent_id = parent_id
        self.tracestate = tracestate
        self.spans: list[Span] = []
        self.attributes: Attributes = {}
        """Of the server span; whoever handles the request adds what it knows."""
        self.asked = 0.0
        """When the model was asked for what no cache knew, by `time.perf_counter`."""

    @property
    def trace_id(self) -> str:
        """As logs and exemplars write it."""
        return f"{self.ids.trace_id:032x}"

    def repeated(self, texts: int) -> None:
        """The same body had been answered within the last second: nothing was looked up."""
        self.attributes |= {"valence.texts": texts, "valence.hits.memory": texts, "valence.repeated": True}

    def recalled(self, began: float, ended: float, texts: int, hits: int) -> None:
        """The in-process cache was looked up."""
        self.attributes |= {"valence.texts": texts, "valence.hits.memory": hits}
        self.add("cache", began, ended, {"valence.texts": texts, "valence.hits": hits})

    def asked_redis(self, began: float, ended: float, keys: int, hits: int) -> None:
        """Redis was asked for what the process did not know, and answered, or was late."""
        self.attributes["valence.hits.redis"] = hits
        attributes: Attributes = {"db.system.name": "redis", "db.operation.name": "MGET"}
        self.add("redis", began, ended, attributes | {"valence.keys": keys, "valence.hits": hits}, kind="client")

    def tokenised(self, began: float, ended: float, texts: int, tokens: int) -> None:
        """What was to be sent to the model was tokenised."""
        self.add("tokenise", began, ended, {"valence.texts": texts, "valence.tokens": tokens})

    def add(
        self,
        name: str,
        began: float,
        ended: float,
        attributes: Attributes,
        *,
        kind: str = "internal",
        links: Sequence[Ids] = (),
        failed: bool = False,
    ) -> None:
        """A step of this request; beyond `MAX_SPANS` only counted."""
        if len(self.spans) >= MAX_SPANS:
            self.attributes["valence.spans_dropped"] = int(self.attributes.get("valence.spans_dropped", 0)) + 1
            return
        ids = Ids(self.ids.trace_id, new_id(64))
        self.spans.append(Span(name, ids, self.ids.span_id, began, ended, attributes, kind, links, failed))

    def gave_up(self, reason: str) -> None:
        """The request ends while texts of it wait for the model."""
        self.add("unanswered", self.asked, perf_counter(), {"error.type": reason}, failed=True)
