"""`OrderMachine`: the life of one order, from the intent to its end. It is the only state machine of orders.

Pure: no I/O and no clock. Each method records one thing that happened: it changes the record and returns the
effects to carry out. `now` is a clock in nanoseconds that counts suspension and never goes back in a process.

The rules, by the numbers in the code:

1. The venue's reports only move an order forward. An order that has ended never opens again.
2. A fill is a fact in any state. It counts once per execution id, and completes an order that had ended.
3. The state is not final until the sum of the fills reaches the quantity that the venue reports as filled.
4. An order leaves once, after its commit, and at most `MAX_AGE` after the strategy requested it.
5. A cancel is a wish that is kept. Before the order leaves, the cancel ends it. While the request that sends
   the order is unanswered, the cancel waits. After that it is repeated until the venue reports the end.
6. UNKNOWN is entered from any state that is not final, and left by the venue's word or by an operator.
7. An order that the venue does not know has ended only if two queries, at least `answers_apart` apart, find
   it neither by its id nor among the open orders nor in the fills, and both were made when it could no longer
   arrive. If the venue had acknowledged the order, fills and balances must agree with ours, too.
8. At most one amendment is in flight, and it leaves once. The larger quantity counts until the outcome is
   certain.
"""

from dataclasses import replace
from decimal import Decimal

from meltica.model.enums import OrderState, TimeInForce
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.trading.effects import (
    BookFill,
    CallbackKind,
    CheckForgotten,
    Effect,
    Fault,
    FaultCode,
    Submit,
    SubmitAmendment,
)
from meltica.trading.exact import ZERO, add, multiply
from meltica.trading.order import Amendment
from meltica.trading.terms import Terms
from meltica.trading.transitions import (
    CANCELLED_BEFORE_SENDING,
    DUPLICATE,
    EVENT_FAILED,
    EXPIRES_IN,
    FORGOTTEN,
    NEVER_ARRIVED,
    OUTCOME_UNKNOWN,
    RESTARTED,
    TOO_LATE,
    UNKNOWN_ORDER,
    Transitions,
)

MAX_AGE = 500_000_000
"""Nanoseconds from the strategy's request to the write to the connection; later the order is not sent."""


class OrderMachine(Transitions):
    """The life of one order."""

    __slots__ = ()

    # From the intent to the connection

    def committed(self, now: int) -> list[Effect]:
        """Records that the order's row was committed."""
        out = self._begin()
        if self.record.committed_at is None:
            self.record.committed_at = now
        return self._finish(out)

    def sending(self, now: int, *, age: int, blocked: str | None = None) -> list[Effect]:
        """4: the last check before the write to the connection; returns `Submit` if the order may leave.

        `age` is the time since the strategy requested the order, `blocked` the reason if no order may leave.
        """
        record = self.record
        if record.state is not OrderState.PENDING or self._left_at is not None:
            return []
        if record.committed_at is None:
            raise RuntimeError(f"order {record.id} not sent: its row is not committed")
        out = self._begin()
        reason = blocked if blocked is not None else TOO_LATE if age > MAX_AGE else None
        if reason is not None:
            self._end(OrderState.REJECTED, reason, now, out)
            return self._finish(out)
        record.sent_at = self._left_at = now
        self._posting = True
        return [*self._finish(out), Submit()]

    def refused(self, now: int, reason: str) -> list[Effect]:
        """Records that the order was not carried out: refused before it left, or by the venue's answer."""
        out = self._begin()
        if self.record.state.is_final:
            self._posting = False
        elif reason == DUPLICATE and not self._is_acknowledged and self._posting:
            # The id is ours alone: the venue has taken the order from another copy of the request.
            return self.outcome_unknown(now)
        elif self._left_at is None or (self._posting and not self._is_acknowledged):
            self._posting = False
            self._end(OrderState.REJECTED, reason, now, out)
        else:
            self._posting = False
            if self._is_acknowledged:
                out.append(Fault(FaultCode.REFUSED_BUT_REPORTED, reason))
            self._query_order(now, out)
        return self._finish(out)

    def answered(self, snapshot: OrderSnapshot, now: int) -> list[Effect]:
        """Records the venue's answer to the request that sent the order."""
        self._has_certainly_left(now)
        self._posting = False
        return self.reported(snapshot, now)

    def outcome_unknown(self, now: int) -> list[Effect]:
        """6: records that the request was sent and that its outcome is unknown."""
        out = self._begin()
        self._has_certainly_left(now)
        self._posting = False
        if self.record.state is OrderState.PENDING:
            self._become_unknown(OUTCOME_UNKNOWN, now, out)
        if not self.record.state.is_final:
            self._query_order(now, out)
            self._cancel_if_due(now, out)
        return self._finish(out)

    def restored(self, now: int) -> list[Effect]:
        """Records that the order comes from its row: it was perhaps sent, and so was its amendment."""
        out = self._begin()
        record = self.record
        self._left_at = self._ended_since = now
        self._terms = Terms(record, new=False)
        if record.state.is_final:
            return self._finish(out)
        if record.state is OrderState.PENDING:
            self._become_unknown(RESTARTED, now, out)
        if record.amendment is not None:
            record.amendment = replace(record.amendment, sent_at=now, outcome_unknown=True)
        if self._is_uncertain or record.sent_at is None:
            # Reconciling reads the other orders together: one query for each would take too long.
            self._query_order(now, out)
            self._query_fills(now, out)
        self._cancel_if_due(now, out)
        return self._finish(out)

    # What the venue says

    def reported(
        self, snapshot: OrderSnapshot, now: int, *, asked_at: int | None = None, recovered: bool = False
    ) -> list[Effect]:
        """Records a report of the stream, or the answer to a query that was made at `asked_at`."""
        out = self._begin()
        record = self.record
        if not self._is_about_this(snapshot, out):
            return self._finish(out)
        self._query_answered(asked_at)
        if record.state.is_final:
            self._reported_after_end(snapshot, now, asked_at, out)
            return self._finish(out)
        second = snapshot.state is OrderState.REJECTED and not snapshot.venue_order_id
        if snapshot.state in (OrderState.UNKNOWN, OrderState.PENDING) or (second and self._is_acknowledged):
            # Not the venue's word on this order: it rejects a second one under the same id, or has no answer.
            self._query_order(now, out)
            return self._finish(out)
        stale = self._is_stale(snapshot, asked_at)
        self._acknowledge(snapshot.venue_order_id, snapshot.time, now, rejected=second)
        complete = snapshot.quantity if snapshot.state is OrderState.FILLED else ZERO
        self._claimed = max(self._claimed, snapshot.filled_quantity, complete)
        self._judge_terms(snapshot, now, asked_at, out)
        if snapshot.state.is_final:
            self._missing_at = None
            self._ending = self._ending or snapshot
        elif stale:
            self._query_order(now, out)
        else:
            self._missing_at = None
            self._open(now, out, recovered=recovered)
        self._settle(now, out, recovered=recovered)
        if asked_at is not None and self._claimed > record.filled_quantity:
            self._query_fills(now, out)
        return self._finish(out)

    def filled(self, fill: Fill, now: int, *, recovered: bool = False) -> list[Effect]:
        """2: records a fill. A repeated execution id changes nothing."""
        record = self.record
        if fill.execution_id in self._executions:
            return []
        if (fill.symbol, fill.side) != (record.symbol, record.side) or fill.quantity <= 0 or fill.price < 0:
            return [Fault(FaultCode.FILL_MISMATCH, f"{fill}")]
        out = self._begin()
        worst = record.worst_quantity
        # All before any changes: numbers that cannot be added leave the order as it was.
        quantity = add(record.filled_quantity, fill.quantity)
        cost = add(record.filled_cost, multiply(fill.price, fill.quantity))
        fee = add(record.fees.get(fill.fee_currency, ZERO), fill.fee)
        self._executions[fill.execution_id] = None
        record.filled_quantity, record.filled_cost = quantity, cost
        record.fees = {**record.fees, fill.fee_currency: fee}
        self._acknowledge(fill.venue_order_id or None, fill.time, now)
        if self._missing_at is not None:
            self._missing_at = None
            self._query_order(now, out)
        out.append(BookFill(fill, recovered))
        if record.filled_quantity > worst:
            out.append(Fault(FaultCode.OVERFILLED, f"{record.filled_quantity} of {worst}"))
        if record.state.is_final:
            self._filled_after_end(fill, now, out, recovered=recovered)
        else:
            self._settle(now, out, fill, recovered=recovered)
            if record.state is OrderState.UNKNOWN and self._ending is None:
                self._query_order(now, out)
            self._cancel_if_due(now, out)
        return self._finish(out)

    def has_fill(self, execution_id: str) -> bool:
        """Returns whether a fill was recorded."""
        return execution_id in self._executions

    def not_found(self, asked_at: int, now: int, *, absent: bool) -> list[Effect]:
        """7: records that the venue does not know the order, as of a query that was made at `asked_at`.

        `absent` says whether open orders and fills were read since then, the order is not open, and its fills
        were passed to `filled` before.
        """
        record = self.record
        self._query_answered(asked_at)
        if record.state.is_final or self._posting or self._ending is not None or self._left_at is None:
            return []
        may_arrive = not self._is_acknowledged and asked_at < self._left_at + self.timings.arrives_within
        if not absent or may_arrive:
            self._missing_at, self._query_wanted_at = None, now
            return []
        if self._missing_at is None:
            self._missing_at = asked_at
            self._order_pace.hurry()
            return []
        if asked_at < self._missing_at + self.timings.answers_apart:
            return []
        if self._is_acknowledged:
            return [CheckForgotten()]
        out = self._begin()
        self._end(OrderState.REJECTED, NEVER_ARRIVED, now, out)
        return self._finish(out)

    def forgotten(self, now: int, *, agrees: bool) -> list[Effect]:
        """7: records whether fills and balances agree with ours, after `CheckForgotten`.

        A report or fill that arrived in between makes the check void.
        """
        record = self.record
        if record.state.is_final or self._missing_at is None:
            return []
        out = self._begin()
        if agrees and self._claimed <= record.filled_quantity:
            # A complete order stays open while an amendment may have raised its quantity.
            complete = record.filled_quantity >= record.quantity
            state = OrderState.FILLED if complete else OrderState.CANCELLED
            self._end(state, None if complete else FORGOTTEN, now, out)
        elif record.state is not OrderState.UNKNOWN:
            self._become_unknown(FORGOTTEN, now, out)
        return self._finish(out)

    def failed(self, now: int, text: str) -> list[Effect]:
        """6: records that an event could not be applied: the order is cancelled, and queried."""
        out = self._begin()
        out.append(Fault(FaultCode.EVENT_FAILED, text))
        if self.record.state.is_final:
            return self._finish(out)
        if self._left_at is None:
            self._end(OrderState.REJECTED, EVENT_FAILED, now, out)
            return self._finish(out)
        if self.record.state is not OrderState.UNKNOWN:
            self._become_unknown(EVENT_FAILED, now, out)
        self._query_order(now, out)
        self._want_cancel(now, None, out)
        return self._finish(out)

    def query(self, now: int) -> list[Effect]:
        """Requests a query, for example after a lost stream. It is repeated until a fresh answer arrives."""
        out = self._begin()
        self._query_order(now, out)
        return self._finish(out)

    def resolve(self, state: OrderState, reason: str, now: int) -> list[Effect]:
        """6: ends an UNKNOWN order, or one whose fills stay missing, by the word of an operator.

        Raises ValueError for another order, and for a state that is not the end of an unfilled order.
        """
        self.check_resolution(state)
        out = self._begin()
        self._ending, self._claimed = None, self.record.filled_quantity
        self._end(state, reason, now, out)
        return self._finish(out)

    def check_resolution(self, state: OrderState) -> None:
        """Raises ValueError if `resolve` would."""
        record = self.record
        if record.state.is_final or (record.state is not OrderState.UNKNOWN and self._ending is None):
            raise ValueError(f"order {record.id} not resolved: its state is {record.state}, not UNKNOWN")
        if not state.is_final or state is OrderState.FILLED:
            raise ValueError(
                f"order {record.id} not resolved: expected CANCELLED, REJECTED or EXPIRED, saw {state}"
            )

    # Cancels and amendments

    def cancel(self, now: int) -> list[Effect]:
        """5: records that the order is no longer wanted."""
        if self.record.state.is_final or self.record.cancel_wanted:
            return []
        out = self._begin()
        self._want_cancel(now, CANCELLED_BEFORE_SENDING, out)
        return self._finish(out)

    def cancel_answered(self, now: int, snapshot: OrderSnapshot | None = None) -> list[Effect]:
        """Records that the venue accepted a cancel. Only a report of the end ends the order."""
        self._cancelling = False
        return [] if snapshot is None else self.reported(snapshot, now)

    def cancel_refused(self, now: int, reason: str) -> list[Effect]:
        """5: records that the venue refused a cancel. An order that it does not know is queried."""
        out = self._begin()
        self._cancelling = False
        if not self.record.state.is_final:
            if reason != UNKNOWN_ORDER and not self._cancel_rejected:
                self._cancel_rejected = True
                out.append(self._callback(CallbackKind.CANCEL_REJECTED, reason=reason))
            self._query_order(now, out)
        return self._finish(out)

    def cancel_failed(self) -> list[Effect]:
        """Records that a cancel did not reach the venue or has an unknown outcome. `tick` repeats it."""
        self._cancelling = False
        return []

    def amend_refusal(self, quantity: Decimal | None = None) -> str | None:
        """8: returns why the order cannot be amended now; None if it can."""
        record = self.record
        if record.state not in (OrderState.ACK, OrderState.PARTIAL) or self._ending is not None:
            return "order_not_open"
        if record.amendment is not None:
            return "amendment_in_flight"
        if record.cancel_wanted:
            return "cancel_wanted"
        return None if quantity is None or quantity > record.filled_quantity else "below_filled"

    def amend(self, *, price: Decimal | None = None, quantity: Decimal | None = None) -> list[Effect]:
        """8: records an amendment that risk approved. It leaves after the commit of the order's row.

        Raises ValueError when the order cannot be amended.
        """
        if (refusal := self.amend_refusal(quantity)) is not None:
            raise ValueError(f"order {self.record.id} not amended: {refusal}")
        out = self._begin()
        self.record.amendment = Amendment(price=price, quantity=quantity)
        return self._finish(out)

    def sending_amendment(self, now: int, *, age: int, blocked: str | None = None) -> list[Effect]:
        """4: the last check of an amendment; returns `SubmitAmendment` if it may leave."""
        record = self.record
        amendment = record.amendment
        if amendment is None or amendment.sent_at is not None:
            return []
        out = self._begin()
        record.amendment = None
        reason = blocked or (TOO_LATE if age > MAX_AGE else self.amend_refusal(amendment.quantity))
        if reason is not None:
            out.append(self._callback(CallbackKind.AMEND_REJECTED, reason=reason))
            return self._finish(out)
        record.amendment = replace(amendment, sent_at=now)
        return [*self._finish(out), SubmitAmendment(record.amendment)]

    def amend_answered(self, now: int, snapshot: OrderSnapshot | None = None) -> list[Effect]:
        """8: records that the venue carried out the amendment."""
        if snapshot is not None and self._terms.are_old(snapshot):
            # The venue has received it, and carries it out later, if at all.
            return [*self.amend_outcome_unknown(now), *self.reported(snapshot, now)]
        out = self._begin()
        if self._terms.sent_amendment is not None:
            if snapshot is not None:
                self._acknowledge(snapshot.venue_order_id, snapshot.time, now)
            self._accept_terms(snapshot, now, out)
            self._settle(now, out)
        out = self._finish(out)
        return out if snapshot is None else [*out, *self.reported(snapshot, now)]

    def amend_refused(self, now: int, reason: str) -> list[Effect]:
        """8: records that the amendment was not carried out: refused by the venue, or not received."""
        out = self._begin()
        amendment = self.record.amendment
        if amendment is not None:
            self._drop_amendment(reason, out)
            self._settle(now, out)
        may_have_left = amendment is None or amendment.sent_at is not None
        if may_have_left and not self.record.state.is_final:
            self._query_order(now, out)
        return self._finish(out)

    def amend_outcome_unknown(self, now: int) -> list[Effect]:
        """8: records that the amendment was sent and that its outcome is unknown."""
        out = self._begin()
        amendment = self.record.amendment
        if amendment is not None:
            sent_at = now if amendment.sent_at is None else amendment.sent_at
            self.record.amendment = replace(amendment, sent_at=sent_at, outcome_unknown=True)
            self._query_order(now, out)
        return self._finish(out)

    def tick(self, now: int) -> list[Effect]:
        """Returns what is due: repeated cancels and queries, and the cancel of an order that expires."""
        record = self.record
        out = self._begin()
        self._check_fills(now, out)
        if not record.state.is_final:
            if record.expires_at is not None and now >= record.expires_at and not record.cancel_wanted:
                self._want_cancel(now, EXPIRES_IN, out)
            elif self._is_left_open(now):
                out.append(Fault(FaultCode.LEFT_OPEN, f"{record.time_in_force} {record.state}"))
                self._want_cancel(now, None, out)
            self._cancel_if_due(now, out)
        if self._query_wanted_at is not None or self._is_uncertain:
            self._repeat_query(now, out)
        return self._finish(out)

    def _is_left_open(self, now: int) -> bool:
        """Returns whether the venue keeps an order open that must not rest, and no cancel is wanted yet."""
        record = self.record
        if record.time_in_force is TimeInForce.GTC or record.cancel_wanted or self._ending is not None:
            return False
        is_open = record.state in (OrderState.ACK, OrderState.PARTIAL)
        return is_open and now >= (record.acknowledged_at or 0) + self.timings.ends_within

    @property
    def _is_uncertain(self) -> bool:
        """Whether only a query can say how the order is."""
        record, amendment = self.record, self._terms.sent_amendment
        if record.state.is_final:
            return False
        completes = record.filled_quantity >= record.quantity
        return (
            record.state is OrderState.UNKNOWN
            or self._missing_at is not None
            or (amendment is not None and (amendment.outcome_unknown or completes))
        )
