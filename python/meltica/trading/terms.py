"""`Terms`: the price and quantity of an order, and the one amendment that may be in flight.

A report of the stream may be older than the current terms, so it does not change them by itself. They change
with the answer to an amendment, with a query made after the last change, and with a report of the stream
that can only follow the amendment.
"""

from decimal import Decimal
from enum import Enum, auto

from meltica.model.orders import OrderSnapshot
from meltica.trading.order import Amendment, OrderRecord


class Verdict(Enum):
    """What a report proves about the terms of an order."""

    NOTHING = auto()
    ACCEPTED = auto()
    """The venue carried out the amendment in flight."""
    LOST = auto()
    """The venue did not receive the amendment, and it can no longer arrive."""
    CHANGED = auto()
    """The venue has other terms, without an amendment of ours."""
    AMBIGUOUS = auto()
    """A query must decide."""


class Terms:
    """The terms of one order. `new` is False for an order that an earlier process may have amended."""

    __slots__ = ("_amended", "_record", "_since", "_time")

    def __init__(self, record: OrderRecord, *, new: bool) -> None:
        self._record = record
        self._amended = not new
        self._since = 0
        """From which time on queries report the current terms."""
        self._time: int | None = None
        """The venue's time of a report with the current terms."""

    @property
    def sent_amendment(self) -> Amendment | None:
        """The amendment that the venue may have carried out."""
        amendment = self._record.amendment
        return amendment if amendment is not None and amendment.sent_at is not None else None

    def target(self, amendment: Amendment) -> tuple[Decimal, Decimal]:
        """Returns quantity and price after an amendment."""
        quantity = self._record.quantity if amendment.quantity is None else amendment.quantity
        price = self._record.limit_price if amendment.price is None else amendment.price
        return quantity, price

    def accept(self, now: int, snapshot: OrderSnapshot | None) -> None:
        """Applies the amendment in flight; the venue's own numbers come first, where it reports them."""
        quantity, price = self.target(self._record.amendment or Amendment())
        if snapshot is not None and _are_possible(snapshot):
            quantity, price = snapshot.quantity, price if snapshot.price is None else snapshot.price
        self._record.amendment = None
        self._set(quantity, price, now, None if snapshot is None else snapshot.time)

    def adopt(self, now: int, snapshot: OrderSnapshot) -> None:
        """Applies the terms that the venue reports."""
        price = self._record.limit_price if snapshot.price is None else snapshot.price
        self._set(snapshot.quantity, price, now, snapshot.time)

    def are_old(self, snapshot: OrderSnapshot) -> bool:
        """Returns whether an open order has the terms from before the amendment in flight."""
        record, amendment = self._record, self.sent_amendment
        if amendment is None or snapshot.state.is_final or _has(snapshot, *self.target(amendment)):
            return False
        return _has(snapshot, record.quantity, record.limit_price)

    def judge(self, snapshot: OrderSnapshot, asked_at: int | None, arrives_within: int) -> Verdict:
        """Returns what a report proves. `asked_at` is the time of the query; the stream has None."""
        record, amendment = self._record, self.sent_amendment
        if not _are_possible(snapshot):
            return Verdict.NOTHING
        has_current = _has(snapshot, record.quantity, record.limit_price)
        has_target = amendment is not None and _has(snapshot, *self.target(amendment))
        sent_at = 0 if amendment is None else amendment.sent_at or 0
        if asked_at is None:
            return self._judge_stream(snapshot, has_current=has_current, has_target=has_target)
        if asked_at < max(self._since, sent_at):
            return Verdict.NOTHING
        if has_target:
            return Verdict.ACCEPTED
        if amendment is None:
            return Verdict.NOTHING if has_current else Verdict.CHANGED
        lost = amendment.outcome_unknown and asked_at >= sent_at + arrives_within
        return Verdict.LOST if lost else Verdict.NOTHING

    def _judge_stream(self, snapshot: OrderSnapshot, *, has_current: bool, has_target: bool) -> Verdict:
        if has_current:
            if self._time is None and not self._amended:
                self._time = snapshot.time
            return Verdict.NOTHING
        if has_target and not self._amended:
            return Verdict.ACCEPTED
        if self._time is None or snapshot.time is None or snapshot.time == self._time:
            return Verdict.AMBIGUOUS
        if snapshot.time < self._time:
            return Verdict.NOTHING
        return Verdict.ACCEPTED if has_target else Verdict.AMBIGUOUS

    def _set(self, quantity: Decimal, price: Decimal, now: int, time: int | None) -> None:
        self._record.quantity, self._record.limit_price = quantity, price
        self._amended, self._since, self._time = True, now, time


def _are_possible(snapshot: OrderSnapshot) -> bool:
    """Returns whether an order can have the numbers of a report; some venues report zeros."""
    return snapshot.quantity > 0 and (snapshot.price is None or snapshot.price > 0)


def _has(snapshot: OrderSnapshot, quantity: Decimal, price: Decimal) -> bool:
    return snapshot.quantity == quantity and snapshot.price in (None, price)
