"""Builds the trace of an order from its rows.

The way of the event to the gateway is by the wall clock, what follows by that of trading.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET, UnsetType

from meltica.api.envelope import optional
from meltica.api.traces import (
    OrderTrace,
    SlowDeliveries,
    SlowDelivery,
    Span,
    TraceEvent,
    TraceRefusal,
    TraceStep,
)
from meltica.model.enums import OrderState

if TYPE_CHECKING:
    from meltica._core import SlowDelivery as CoreDelivery
    from meltica.persistence.stores.trading.loaders import StoredOrder
    from meltica.persistence.stores.trading.queries import StoredFill, StoredRefusal
    from meltica.persistence.stores.trading.rows import FillRow, Trigger

MS = 10**6
SPANS = {
    "received": Span.VENUE,
    "dispatched": Span.WORK,
    "read": Span.WAIT,
    "callback": Span.WAIT,
    "intent": Span.WORK,
    "approved": Span.WORK,
    "refused": Span.WORK,
    "committed": Span.WAIT,
    "sent": Span.WAIT,
    "acknowledged": Span.VENUE,
    "filled": Span.VENUE,
    "ended": Span.VENUE,
    "returned": Span.WORK,
}
"""What the time before each step is spent with."""
_TIMED = frozenset({"received", "filled", "ended"})
"""Steps whose time is not the latency of the order: the way of the event, and how long the order was open."""


class Point(NamedTuple):
    """A step, and its time in ns."""

    step: str
    at: int
    fill: "FillRow | None" = None


def trace_of(
    order: "StoredOrder | None", fills: Sequence["StoredFill"], refusals: Sequence["StoredRefusal"]
) -> OrderTrace:
    """Returns the trace of an order, or of one that was refused and does not exist; its refusals then do."""
    row = refusals[-1] if order is None else order
    steps = list(_steps(row.trigger, _points(order, fills) if order else _refused(refusals[-1])))
    spent = dict.fromkeys(Span, 0)
    for each in steps:
        if each.step not in _TIMED and each.after_ns is not UNSET and each.span is not UNSET:
            spent[each.span] += each.after_ns
    return OrderTrace(
        id=str(row.id if order else refusals[-1].order_id),
        instance=row.instance,
        mode=row.mode,
        provider=optional(row.provider),
        symbol=optional(row.symbol),
        state=order.state if order else UNSET,
        reason=optional(order.reason if order else refusals[-1].rule),
        event=_event(row.trigger),
        steps=steps,
        work_ns=spent[Span.WORK],
        wait_ns=spent[Span.WAIT],
        venue_ns=spent[Span.VENUE],
        refusals=[_refusal(each) for each in refusals],
    )


def points_of(order: "StoredOrder", fills: Sequence["FillRow"]) -> Iterator[Point]:
    """Yields the steps of an order, from its event on."""
    yield from (*_of_event(order.trigger), *_of_callback(order.trigger), *_points(order, fills))


def deliveries_of(found: "Sequence[CoreDelivery]") -> SlowDeliveries:
    """Returns the slowest deliveries, the slowest first."""
    deliveries = [
        SlowDelivery(
            instance=each.lambda_id,
            event=TraceEvent(
                sequence=each.sequence, kind=each.kind, provider=each.provider, symbol=each.symbol
            ),
            steps=list(_delivered(each)),
            total_ns=each.read_ns + each.callback_ns + each.returned_ns,
        )
        for each in found
    ]
    return SlowDeliveries(deliveries=deliveries, count=len(deliveries))


def _delivered(each: "CoreDelivery") -> Iterator[TraceStep]:
    before: int | None = None
    at = each.dispatched_time
    points = [] if each.venue_time is None else [Point("venue", each.venue_time)]
    points += [Point("received", each.received_time), Point("dispatched", at)]
    for name in ("read", "callback", "returned"):
        at += getattr(each, f"{name}_ns")
        points.append(Point(name, at))
    for point in points:
        yield _step(point, before)
        before = point.at


def _steps(trigger: "Trigger | None", points: Iterator[Point]) -> Iterator[TraceStep]:
    before: int | None = None
    for point in (*_of_event(trigger), *_of_callback(trigger), *points):
        yield _step(point, before)
        before = point.at
        if point.step == "received" and trigger is not None and trigger.event is not None:
            # The same instant by the clock of trading.
            before = trigger.event.received_at


def _step(point: Point, before: int | None) -> TraceStep:
    fill = point.fill
    return TraceStep(
        step=point.step,
        at=point.at // MS,
        after_ns=UNSET if before is None else point.at - before,
        span=UNSET if before is None else SPANS[point.step],
        quantity=UNSET if fill is None else str(fill.quantity),
        price=UNSET if fill is None else str(fill.price),
        recovered=True if fill is not None and fill.recovered else UNSET,
    )


def _of_event(trigger: "Trigger | None") -> Iterator[Point]:
    """Yields the steps by the wall clock."""
    if trigger is not None and (event := trigger.event) is not None:
        if event.venue_time is not None:
            yield Point("venue", event.venue_time)
        yield Point("received", event.received_time)


def _of_callback(trigger: "Trigger | None") -> Iterator[Point]:
    """Yields the steps by the clock of trading, up to the callback."""
    if trigger is None:
        return
    if (event := trigger.event) is not None:
        yield Point("dispatched", event.dispatched_at)
        yield Point("read", event.read_at)
    yield Point("callback", trigger.callback_at)


def _points(order: "StoredOrder", fills: Sequence["FillRow"]) -> Iterator[Point]:
    """Yields the steps of an order from the request on."""
    yield Point("intent", order.intent_at)
    # Earlier versions did not measure it: both had one reading of the clock.
    if order.approved_at is not None and order.approved_at != order.intent_at:
        yield Point("approved", order.approved_at)
    for step in ("committed", "sent", "acknowledged"):
        at: int | None = getattr(order, f"{step}_at")
        if at is not None:
            yield Point(step, at)
    booked = [(each.booked_at, each.report, each) for each in fills if each.booked_at is not None]
    for at, _, fill in sorted(booked, key=lambda each: each[:2]):
        yield Point("filled", at, fill)
    # A filled order has ended with its last fill.
    if order.ended_at is not None and not (order.state is OrderState.FILLED and booked):
        yield Point("ended", order.ended_at)


def _refused(refusal: "StoredRefusal") -> Iterator[Point]:
    if refusal.intent_at is not None:
        yield Point("intent", refusal.intent_at)
    yield Point("refused", refusal.refused_at)


def _event(trigger: "Trigger | None") -> TraceEvent | UnsetType:
    if trigger is None or trigger.event is None:
        return UNSET
    event = trigger.event
    return TraceEvent(sequence=event.sequence, kind=event.kind, provider=event.provider, symbol=event.symbol)


def _refusal(row: "StoredRefusal") -> TraceRefusal:
    return TraceRefusal(
        rule=row.rule,
        message=row.message,
        seen=optional(row.seen),
        limit=optional(row.limit),
        count=row.count,
        refused_at=row.refused_at // MS,
    )
