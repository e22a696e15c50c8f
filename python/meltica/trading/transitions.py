"""`Transitions`: the states of an order and how one follows another; what the events of `OrderMachine` share.

The numbers in the code are those of the rules in `meltica.trading.state_machine`.
"""

from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import fields
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

from meltica.model.enums import Mode, OrderState, TimeInForce
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.trading.effects import (
    Callback,
    CallbackKind,
    Effect,
    Fault,
    FaultCode,
    QueryFills,
    QueryOrder,
    SendCancel,
    WriteOrder,
)
from meltica.trading.exact import ZERO
from meltica.trading.order import STAMPS, OrderRecord
from meltica.trading.terms import Terms, Verdict

CANCELLED_BEFORE_SENDING = "cancelled_before_sending"
DUPLICATE = "duplicate_client_id"
EVENT_FAILED = "event_failed"
EXPIRES_IN = "expires_in"
FORGOTTEN = "forgotten"
NEVER_ARRIVED = "never_arrived"
ORDER_ENDED = "order_ended"
OUTCOME_UNKNOWN = "outcome_unknown"
RESTARTED = "restarted"
TOO_LATE = "too_late"
UNKNOWN_ORDER = "unknown_order"

_FINAL = frozenset(state for state in OrderState if state.is_final)
_FILLED = frozenset({OrderState.FILLED})
TRANSITIONS = {
    OrderState.PENDING: _FINAL | {OrderState.ACK, OrderState.PARTIAL, OrderState.UNKNOWN},
    OrderState.ACK: _FINAL | {OrderState.PARTIAL, OrderState.UNKNOWN},
    OrderState.PARTIAL: _FINAL | {OrderState.UNKNOWN},
    OrderState.UNKNOWN: _FINAL | {OrderState.ACK, OrderState.PARTIAL},
    OrderState.CANCELLED: _FILLED,
    OrderState.EXPIRED: _FILLED,
    OrderState.REJECTED: _FILLED,
    OrderState.FILLED: frozenset[OrderState](),
}
"""The states that follow each state. After an end, only fills that complete the order change it (2)."""

_CALLBACKS = {
    OrderState.ACK: CallbackKind.ACKNOWLEDGED,
    OrderState.PARTIAL: CallbackKind.ACKNOWLEDGED,
    OrderState.FILLED: CallbackKind.FILLED,
    OrderState.CANCELLED: CallbackKind.CANCELLED,
    OrderState.REJECTED: CallbackKind.REJECTED,
    OrderState.EXPIRED: CallbackKind.EXPIRED,
    OrderState.UNKNOWN: CallbackKind.UNKNOWN,
}
_values = attrgetter(*(each.name for each in fields(OrderRecord)))


class Timings(NamedTuple):
    """Intervals of one provider, in nanoseconds."""

    arrives_within: int
    """How long a request may be on its way to the venue's engine."""
    answers_apart: int = 2 * 10**9
    """The least time between two queries that prove that the venue does not know an order."""
    cancel_pace: int = 10**9
    query_pace: int = 10**9
    ends_within: int = 5 * 10**9
    """How long an acknowledged order that must not rest may stay open at the venue before it is cancelled."""
    fills_within: int = 10**9
    """How long after a report of the stream its fills may arrive; missing ones are then queried."""


TimingsOf = Callable[[str, Mode], Timings]
"""Returns the intervals of a provider in a mode."""


class Pace:
    """When to repeat a request: each time after twice as long, up to eight times the first interval."""

    __slots__ = ("_interval", "_last", "_wait")

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._last: int | None = None
        self._wait = interval

    def is_due(self, now: int) -> bool:
        """Returns whether to repeat it now, and counts that as done."""
        if self._last is None:
            self._last = now
            return True
        if now < self._last + self._wait:
            return False
        self._last, self._wait = now, min(2 * self._wait, 8 * self._interval)
        return True

    def hurry(self) -> None:
        """Starts again with the first interval."""
        self._wait = self._interval


class Transitions:
    """The state of one order, and the effects of changing it."""

    __slots__ = (
        "_before",
        "_cancel_pace",
        "_cancel_rejected",
        "_cancelling",
        "_claimed",
        "_ended_since",
        "_ending",
        "_executions",
        "_fills_missing_since",
        "_fills_pace",
        "_left_at",
        "_missing_at",
        "_order_pace",
        "_posting",
        "_query_wanted_at",
        "_terms",
        "_unknown_since",
        "_venue_ids",
        "changed_at",
        "measured",
        "record",
        "timings",
    )

    def __init__(self, record: OrderRecord, timings: Timings, executions: Iterable[str] = ()) -> None:
        self.record = record
        self.timings = timings
        self.changed_at = 0
        """When its row was last written."""
        self.measured = 0 if record.committed_at is None else len(STAMPS)
        """How many of its steps `Latencies` has counted; it counts none of an order that was restored."""
        # An empty dict or tuple takes a fraction of the memory of a set, and most orders have few of them.
        self._executions = dict.fromkeys(executions)
        self._terms = Terms(record, new=True)
        self._venue_ids = () if record.venue_order_id is None else (record.venue_order_id,)
        """The venue's ids of the order; an amendment may replace the order at the venue."""
        self._before: Any = None
        self._left_at: int | None = None
        """When the order left; after a restart, when it was restored."""
        self._posting = False
        """Whether the request that sends the order is unanswered."""
        self._claimed = ZERO
        """3: the largest filled quantity that the venue reported."""
        self._ending: OrderSnapshot | None = None
        """3: the end that the venue reported and that waits for missing fills."""
        self._missing_at: int | None = None
        """7: when the first of the two queries was made."""
        self._unknown_since = 0
        self._ended_since = 0
        self._cancelling = False
        """Whether a cancel is unanswered."""
        self._cancel_pace = Pace(timings.cancel_pace)
        self._cancel_rejected = False
        self._query_wanted_at: int | None = None
        """Since when an answer to a query is needed that is not older; None if none is."""
        self._order_pace = Pace(timings.query_pace)
        self._fills_missing_since: int | None = None
        self._fills_pace = Pace(timings.query_pace)

    @property
    def needs_tick(self) -> bool:
        """Whether time alone may change something: call `tick` now and then."""
        record = self.record
        if self._query_wanted_at is not None or self._claimed > record.filled_quantity:
            return True
        return not record.state.is_final and (
            record.cancel_wanted
            or record.state is OrderState.UNKNOWN
            or record.expires_at is not None
            or record.time_in_force is not TimeInForce.GTC
            or self._missing_at is not None
            or self._terms.sent_amendment is not None
        )

    @property
    def is_in_flight(self) -> bool:
        """Whether the order may move balances unseen: the venue may have it, and did not report its end."""
        record = self.record
        uncertain = record.state is OrderState.PENDING or (
            record.state is OrderState.UNKNOWN and record.reason != FORGOTTEN
        )
        return uncertain and self._ending is None

    @property
    def has_left(self) -> bool:
        """Whether the order was sent, or perhaps was by an earlier run."""
        return self._left_at is not None

    @property
    def amendment_has_left(self) -> bool:
        """Whether an amendment is in flight that was sent."""
        return self._terms.sent_amendment is not None

    @property
    def is_as_before(self) -> bool:
        """Whether the event that failed has left the record as it was."""
        return _values(self.record) == self._before

    @property
    def _is_acknowledged(self) -> bool:
        return self.record.acknowledged_at is not None

    def _has_certainly_left(self, now: int) -> None:
        """Records that the order left, for an account that does not make the last check."""
        if self._left_at is None and not self.record.state.is_final:
            self._left_at = self.record.sent_at = now

    def _begin(self) -> list[Effect]:
        self._before = _values(self.record)
        return []

    def _finish(self, out: list[Effect]) -> list[Effect]:
        """Returns the effects, the write of the row first if the record has changed."""
        return out if _values(self.record) == self._before else [WriteOrder(), *out]

    def _callback(
        self,
        kind: CallbackKind,
        fill: Fill | None = None,
        *,
        recovered: bool = False,
        reason: str | None = None,
    ) -> Callback:
        return Callback(kind, copy(self.record), fill, recovered, reason)

    def _enter(self, state: OrderState, reason: str | None) -> None:
        if state not in TRANSITIONS[self.record.state]:
            raise RuntimeError(f"order {self.record.id}: {state} does not follow {self.record.state}")
        self.record.state, self.record.reason = state, reason

    def _end(
        self,
        state: OrderState,
        reason: str | None,
        now: int,
        out: list[Effect],
        fill: Fill | None = None,
        *,
        recovered: bool = False,
    ) -> None:
        amendment = self._terms.sent_amendment
        if amendment is not None and self.record.filled_quantity > self.record.quantity:
            # More was filled than before the amendment: the venue carried it out.
            self._accept_terms(None, now, out)
        elif self.record.amendment is not None:
            self._drop_amendment(ORDER_ENDED, out)
        self._enter(state, reason)
        self._query_wanted_at = None
        self.record.ended_at = self._ended_since = now
        out.append(self._callback(_CALLBACKS[state], fill, recovered=recovered))

    def _become_unknown(self, reason: str, now: int, out: list[Effect]) -> None:
        self._enter(OrderState.UNKNOWN, reason)
        self._unknown_since = now
        out.append(self._callback(CallbackKind.UNKNOWN))

    def _open(self, now: int, out: list[Effect], *, recovered: bool) -> None:
        """Records that the venue has the order open."""
        record = self.record
        if self._ending is not None or record.state not in (OrderState.PENDING, OrderState.UNKNOWN):
            return
        self._enter(OrderState.PARTIAL if record.filled_quantity else OrderState.ACK, None)
        out.append(self._callback(CallbackKind.ACKNOWLEDGED, recovered=recovered))
        # 5: a cancel that came before the order was no use.
        self._cancel_pace = Pace(self.timings.cancel_pace)
        self._cancel_if_due(now, out)

    def _settle(
        self, now: int, out: list[Effect], fill: Fill | None = None, *, recovered: bool = False
    ) -> None:
        """3: ends the order if the fills add up to an end."""
        record, ending = self.record, self._ending
        if record.state.is_final:
            return
        end = reason = None
        if 0 < self._completing <= record.filled_quantity:
            end = OrderState.FILLED
        elif ending is not None and record.filled_quantity >= self._claimed:
            end, reason = ending.state, ending.reason
        if fill is not None and end is not OrderState.FILLED:
            if record.state in (OrderState.PENDING, OrderState.ACK):
                self._enter(OrderState.PARTIAL, None)
            out.append(self._callback(CallbackKind.PARTIAL_FILL, fill, recovered=recovered))
        if end is not None:
            last = fill if end is OrderState.FILLED else None
            self._end(end, reason, now, out, last, recovered=recovered)
        self._check_fills(now, out)

    @property
    def _completing(self) -> Decimal:
        """8: the filled quantity at which the order is complete for certain."""
        return self.record.quantity if self._terms.sent_amendment is None else self.record.worst_quantity

    def _is_about_this(self, snapshot: OrderSnapshot, out: list[Effect]) -> bool:
        record, id = self.record, snapshot.venue_order_id
        expected = not id or not self._venue_ids or id in self._venue_ids
        if (snapshot.symbol, snapshot.side) == (record.symbol, record.side) and (
            expected or self._terms.sent_amendment is not None
        ):
            return True
        out.append(Fault(FaultCode.ORDER_MISMATCH, f"{snapshot}"))
        return False

    def _is_stale(self, snapshot: OrderSnapshot, asked_at: int | None) -> bool:
        """6: whether a report may be older than what made the order UNKNOWN."""
        if self.record.state is not OrderState.UNKNOWN or not self._is_acknowledged:
            return False
        if asked_at is not None:
            return asked_at < self._unknown_since
        return snapshot.time is None or snapshot.time <= (self.record.venue_time or 0)

    def _acknowledge(
        self, venue_order_id: str | None, time: int | None, now: int, *, rejected: bool = False
    ) -> None:
        record = self.record
        if venue_order_id and venue_order_id not in self._venue_ids:
            self._venue_ids = (*self._venue_ids, venue_order_id)
            record.venue_order_id = venue_order_id
        if time is not None:
            record.venue_time = max(record.venue_time or 0, time)
        if record.acknowledged_at is None and not rejected:
            record.acknowledged_at = now

    def _judge_terms(
        self, snapshot: OrderSnapshot, now: int, asked_at: int | None, out: list[Effect]
    ) -> None:
        match self._terms.judge(snapshot, asked_at, self.timings.arrives_within):
            case Verdict.ACCEPTED:
                self._accept_terms(snapshot, now, out)
            case Verdict.LOST:
                self._terms.adopt(now, snapshot)
                self._drop_amendment(NEVER_ARRIVED, out)
            case Verdict.CHANGED:
                self._accept_terms(snapshot, now, out)
            case Verdict.AMBIGUOUS if not snapshot.state.is_final:
                self._query_order(now, out)
            case _:
                pass

    def _accept_terms(self, snapshot: OrderSnapshot | None, now: int, out: list[Effect]) -> None:
        self._terms.accept(now, snapshot)
        out.append(self._callback(CallbackKind.AMENDED))

    def _drop_amendment(self, reason: str, out: list[Effect]) -> None:
        self.record.amendment = None
        out.append(self._callback(CallbackKind.AMEND_REJECTED, reason=reason))

    def _reported_after_end(
        self, snapshot: OrderSnapshot, now: int, asked_at: int | None, out: list[Effect]
    ) -> None:
        """1: a report after the end never opens the order. An order that the venue has open is cancelled."""
        record = self.record
        self._claimed = max(self._claimed, snapshot.filled_quantity)
        self._check_fills(now, out)
        if snapshot.state not in (OrderState.ACK, OrderState.PARTIAL):
            return
        if asked_at is not None:
            if asked_at > self._ended_since:
                out.append(Fault(FaultCode.OPEN_AFTER_END, f"{record.state} {record.reason}"))
                out.append(SendCancel())
        elif record.venue_time is None or snapshot.time is None or snapshot.time > record.venue_time:
            self._query_order(now, out)

    def _filled_after_end(self, fill: Fill, now: int, out: list[Effect], *, recovered: bool) -> None:
        """2: a fill after the end completes the order, or leaves it ended."""
        record = self.record
        out.append(Fault(FaultCode.FILL_AFTER_END, f"{record.state} {record.reason}: {fill.execution_id}"))
        kind = CallbackKind.PARTIAL_FILL
        if record.filled_quantity >= record.quantity and record.state is not OrderState.FILLED:
            self._enter(OrderState.FILLED, None)
            kind = CallbackKind.FILLED
        out.append(self._callback(kind, fill, recovered=recovered))
        if record.state is not OrderState.FILLED:
            self._query_order(now, out)

    def _want_cancel(self, now: int, reason: str | None, out: list[Effect]) -> None:
        """5: keeps the wish; ends an order that has not left."""
        self.record.cancel_wanted = True
        if self._left_at is None:
            self._end(OrderState.CANCELLED, reason, now, out)
        else:
            self._cancel_if_due(now, out)

    def _cancel_if_due(self, now: int, out: list[Effect]) -> None:
        """5: requests a cancel if one is wanted, none is in flight and the last one was long enough ago."""
        record = self.record
        if not record.cancel_wanted or record.state.is_final or self._ending is not None:
            return
        if self._cancelling or (self._posting and not self._is_acknowledged):
            return
        if self._cancel_pace.is_due(now):
            self._cancelling = True
            out.append(SendCancel())

    def _query_order(self, now: int, out: list[Effect]) -> None:
        """Requests a query, which is repeated until an answer is not older than now."""
        self._query_wanted_at = now
        self._order_pace.hurry()
        self._repeat_query(now, out)

    def _repeat_query(self, now: int, out: list[Effect]) -> None:
        if self._order_pace.is_due(now):
            out.append(QueryOrder())

    def _query_answered(self, asked_at: int | None) -> None:
        wanted_at = self._query_wanted_at
        if asked_at is not None and wanted_at is not None and asked_at >= wanted_at:
            self._query_wanted_at = None

    def _check_fills(self, now: int, out: list[Effect]) -> None:
        """3: requests the fills that the venue reported and that did not arrive in time."""
        if self._claimed <= self.record.filled_quantity:
            self._fills_missing_since = None
            self._fills_pace.hurry()
        elif self._fills_missing_since is None:
            self._fills_missing_since = now
        elif now >= self._fills_missing_since + self.timings.fills_within:
            self._query_fills(now, out)

    def _query_fills(self, now: int, out: list[Effect]) -> None:
        if self._fills_pace.is_due(now):
            out.append(QueryFills())
