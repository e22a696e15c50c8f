"""ASGI middleware that makes a span of each request.

A request continues the trace that its header `traceparent` names; one that is not valid is ignored. Lines
that are logged during the request have the ids of its trace and of its span. The span is exported unless the
caller does not record the trace.
"""

import re
import time
from collections.abc import Callable
from typing import Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from meltica.telemetry.otlp.spans import Span, SpanContext, Value
from meltica.telemetry.trace_context import TraceContext, current, parse, started

_PARAMETER: Final = re.compile(r"\{(\w+):\w+\}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestTrace:
    """Wraps an application."""

    def __init__(self, app: ASGIApp, add: Callable[[Span], object], wanted: Callable[[], bool]) -> None:
        """Creates the middleware.

        - `add`: queues a span for the export.
        - `wanted`: whether spans are exported; otherwise only requests of a trace have one.

        """
        self._app = app
        self._add = add
        self._wanted = wanted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; passes any other scope to the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parent = parse([value for name, value in scope["headers"] if name.lower() == b"traceparent"])
        if parent is None and not self._wanted():
            await self._app(scope, receive, send)
            return
        context = started() if parent is None else parent.child()
        status, began = 0, time.time_ns()

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = current.set(context)
        try:
            with bound_contextvars(trace_id=context.trace_id.hex(), span_id=context.span_id.hex()):
                await self._app(scope, receive, observe)
        finally:
            current.reset(token)
            if context.sampled:
                self._add(_span(scope, context, parent, status, began))


def _span(scope: Scope, context: TraceContext, parent: TraceContext | None, status: int, began: int) -> Span:
    given = cast(dict[str, object], scope)
    method = str(given["method"])
    method = method if method in _METHODS else "_OTHER"
    attributes: dict[str, Value] = {"http.request.method": method}
    name = method
    if (template := given.get("path_template")) is not None:
        route = _PARAMETER.sub(r"{\1}", str(template))
        attributes["http.route"] = route
        name = f"{method} {route}"
    if status:
        attributes["http.response.status_code"] = status
    failure = None if 0 < status < 500 else f"HTTP {status}" if status else "no response"
    return Span(
        SpanContext(context.trace_id, context.span_id),
        None if parent is None else parent.span_id,
        name,
        "server",
        began,
        # The wall clock may have been set back.
        max(began, time.time_ns()),
        attributes,
        failure,
    )
