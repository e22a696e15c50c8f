"""Spans as they wait for their export: plain values, without OpenTelemetry."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple

Value = str | int | bool | float


class SpanContext(NamedTuple):
    """What identifies a span."""

    trace_id: bytes
    span_id: bytes


class Span(NamedTuple):
    """A span that has ended; times are ns since 1970."""

    context: SpanContext
    parent: bytes | None
    name: str
    kind: Literal["internal", "server", "client"]
    start: int
    end: int
    attributes: Mapping[str, Value]
    error: str | None = None
    links: Sequence[SpanContext] = ()


def span_id(trace_id: bytes, name: str) -> bytes:
    """Returns the id of a span that is the same each time the span is built."""
    return blake2b(trace_id + name.encode(), digest_size=8).digest()
