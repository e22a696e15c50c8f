"""The trace that a request belongs to: the header `traceparent` of W3C Trace Context."""

import os
import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final, NamedTuple

_HEADER: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")


class TraceContext(NamedTuple):
    """A span, and whether its trace is recorded."""

    trace_id: bytes
    span_id: bytes
    sampled: bool

    @property
    def header(self) -> str:
        """The value of `traceparent` for what the span causes."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-{int(self.sampled):02x}"

    def child(self) -> "TraceContext":
        """Returns a new span of the trace."""
        return self._replace(span_id=_random(8))


current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)
"""The request that this task works for; the tasks that it starts have it, too."""


def started() -> TraceContext:
    """Returns the first span of a new trace."""
    return TraceContext(_random(16), _random(8), sampled=True)


def parse(values: Sequence[bytes]) -> TraceContext | None:
    """Returns the span that the values of the header name; None unless there is one that is valid."""
    match = _HEADER.fullmatch(values[0].strip(b" \t")) if len(values) == 1 else None
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    # Later versions may have more parts, and the first four as they are.
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    context = TraceContext(
        bytes.fromhex(trace.decode()), bytes.fromhex(span.decode()), bool(int(flags, 16) & 1)
    )
    return context if any(context.trace_id) and any(context.span_id) else None


def _random(size: int) -> bytes:
    # No id is all zeros.
    return os.urandom(size - 1) + bytes([os.urandom(1)[0] | 1])
