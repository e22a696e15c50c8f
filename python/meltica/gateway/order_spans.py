"""The spans of an order that has ended, built from its stamps.

The trace id is the id of the order, so it is known wherever the order is. The steps are those of
`GET /orders/{id}/trace`; those of the event by the wall clock are moved to the clock of trading.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from meltica.control.traces import SPANS, Point, points_of
from meltica.model.enums import OrderState
from meltica.persistence.stores.trading.loaders import StoredOrder
from meltica.persistence.stores.trading.rows import FillRow
from meltica.telemetry.otlp.spans import Span, SpanContext, Value, span_id
from meltica.telemetry.trace_context import TraceContext

MAX_FILLS: Final = 100
"""Fills of an order that have a span."""
_OF_EVENT: Final = frozenset({"venue", "received"})
_FAILED: Final = frozenset({OrderState.REJECTED})


def build(
    order: StoredOrder, fills: Sequence[FillRow], cause: TraceContext | None = None
) -> partial[list[Span]]:
    """Returns what builds the spans of an order; it holds no more fills than have spans.

    `cause` is a request that changed the order.
    """
    return partial(_spans, order, fills[:MAX_FILLS], len(fills), cause)


def _spans(
    order: StoredOrder, fills: Sequence[FillRow], count: int, cause: TraceContext | None
) -> list[Span]:
    """Returns the span of an order, and one for each of its steps."""
    trace = order.id.bytes
    root = SpanContext(trace, span_id(trace, "order"))
    points = _points(order, fills)
    steps = list(_steps(root, points))
    attributes: dict[str, Value] = {
        "meltica.order.id": str(order.id),
        "meltica.order.client_id": order.client_order_id,
        "meltica.instance": order.instance,
        "meltica.mode": order.mode,
        "meltica.provider": order.provider,
        "meltica.symbol": order.symbol,
        "meltica.order.side": order.side,
        "meltica.order.type": order.order_type,
        "meltica.order.state": order.state,
        "meltica.order.quantity": str(order.quantity),
        "meltica.order.filled_quantity": str(order.filled_quantity),
        "meltica.order.fills": count,
    }
    if order.venue_order_id is not None:
        attributes["meltica.order.venue_id"] = order.venue_order_id
    if order.trigger is not None and (event := order.trigger.event) is not None:
        attributes["meltica.event.kind"] = event.kind
        attributes["meltica.event.sequence"] = event.sequence
    failure = (order.reason or order.state) if order.state in _FAILED else None
    start = min((point.at for point in points), default=order.intent_at)
    end = max((point.at for point in points), default=order.intent_at)
    links = () if cause is None else (SpanContext(cause.trace_id, cause.span_id),)
    return [Span(root, None, "order", "internal", start, end, attributes, failure, links), *steps]


def _points(order: StoredOrder, fills: Sequence[FillRow]) -> list[Point]:
    event = None if order.trigger is None else order.trigger.event
    ahead = 0 if event is None else event.received_at - event.received_time
    points = points_of(order, fills)
    return [each._replace(at=each.at + ahead) if each.step in _OF_EVENT else each for each in points]


def _steps(root: SpanContext, points: Sequence[Point]) -> Iterator[Span]:
    """Yields a span from each point to the next one, named after what it leads to."""
    before: int | None = None
    for index, point in enumerate(points):
        if before is not None:
            attributes: dict[str, Value] = {"meltica.spent": SPANS[point.step]}
            if point.fill is not None:
                attributes["meltica.fill.quantity"] = str(point.fill.quantity)
                attributes["meltica.fill.price"] = str(point.fill.price)
            kind = "client" if point.step == "acknowledged" else "internal"
            id = span_id(root.trace_id, f"{index} {point.step}")
            # The clock of a venue may be ahead: no span ends before its start.
            yield Span(
                SpanContext(root.trace_id, id),
                root.span_id,
                f"order.{point.step}",
                kind,
                min(before, point.at),
                point.at,
                attributes,
            )
        before = point.at
