"""`OrderTracker`: what a live account has published of its orders and balances, and what is news to publish.

Pure: no I/O, and time is passed in. The account calls it with what happens, publishes the reports that it
returns, and confirms each with `published`; a report that could not be published is not confirmed.

    an order leaves          sent(order), then accepted, refused or outcome_unknown
    the stream reports       order_reported, balance_reported
    the stream is lost       disconnected
    the stream is back       start_reading, queries, reconciled, then complete

The rules, by the numbers in the code:

1. The stream's reports are published as they come, late and repeated ones included: the owner of orders
   absorbs them.
2. A rejection without a venue order id does not belong to an order that the venue has under the same client
   order id: it rejects a second order under that id, and is not published.
3. After a reconnect, orders, fills and balances are read again, and only what is news is published. Open
   orders, orders that were sent and not reported, and orders with unexpected fills are queried one by one.
4. A client order id may be used again after its order has ended. The venue order id tells the orders apart;
   of two unlike ones the later is current. Reports of the earlier order never hide the later one.
5. An order that was sent stays on the list of queries until it is refused or reported, or until it was
   queried when it could no longer arrive.
6. An order that was reported or accepted as open, and that the venue no longer knows, is published once as
   UNKNOWN with reason `unknown_to_venue`. It is queried again after each reconnect; the venue's next report
   is published as usual.
7. A balance is published unless a newer one was; one with a deposit or a withdrawal always is. A currency
   that the venue no longer lists is published once
   with a balance of zero.
8. The order of a listed fill is queried after each reconnect until a report of the order includes the fill.
9. An order without a client order id is another client's, and cannot be queried: the stream's reports of it
   are published, and nothing of it is remembered.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from typing import NamedTuple

from meltica.adapters.live.order_states import advances, is_another, same_venue_id, sums
from meltica.adapters.live.reports import BalanceReport, OrderReport, Report
from meltica.model.balances import Balance, Transfer
from meltica.model.enums import OrderState
from meltica.model.fills import Fill
from meltica.model.orders import NewOrder, OrderSnapshot

CLOSED_ORDERS = 10_000
"""How many ended or unknown orders to keep for telling news from repetitions."""

LATE = 60 * 10**9
"""Nanoseconds by which a report may arrive after the report of a later change, and by which a fill may be
listed late. Fills are read from that far back.
"""

UNKNOWN_TO_VENUE = "unknown_to_venue"


@dataclass(eq=False, slots=True)
class SentOrder:
    """One request that sends an order."""

    symbol: str
    client_order_id: str
    before: OrderSnapshot | None
    """The order that was published under the same id before."""
    in_flight: bool = True
    arrives_until: float = 0.0
    """The time after which an order with an unknown outcome can no longer arrive."""
    answer: OrderSnapshot | None = None
    """The order as the venue accepted it."""

    def may_arrive(self, now: float) -> bool:
        """Returns whether the order may be on its way to the venue."""
        return self.in_flight or now < self.arrives_until


class Query(NamedTuple):
    """An order to query by its id."""

    symbol: str
    client_order_id: str
    published: OrderSnapshot | None
    """What was published of it before the query."""


@dataclass(eq=False, slots=True)
class Reading:
    """The account as the venue answers queries after a reconnect."""

    fills_from: int | None
    """The venue time from which to read fills; None when no fills need to be read."""
    settled: Sequence[SentOrder]
    """Orders that were sent, and could no longer arrive when the reading began."""
    time: int = 0
    """The venue's time before the first query."""
    orders: dict[str, OrderSnapshot] = field(default_factory=dict[str, OrderSnapshot])
    missing: list[Query] = field(default_factory=list[Query])
    """Queries to which the venue answered that it does not know the order."""
    fills: Sequence[Fill] = ()
    """The fills that the venue listed, and those that earlier readings left unexplained."""
    balances: Mapping[str, Balance] = field(default_factory=dict[str, Balance])

    def answered(self, query: Query, order: OrderSnapshot | None) -> None:
        """Records the response to a query; None when the venue does not know the order."""
        if order is None:
            self.missing.append(query)
        else:
            self.orders[query.client_order_id] = order


class _Which(Enum):
    """Which order under a client order id a report is about."""

    CURRENT = auto()
    EARLIER = auto()
    LATER = auto()


class OrderTracker:
    """Orders and balances of one account."""

    def __init__(self, closed_orders: int = CLOSED_ORDERS) -> None:
        self._closed_orders = closed_orders
        self._published: OrderedDict[str, OrderSnapshot] = OrderedDict()
        """The most advanced published state of the current order of each client order id."""
        self._open: set[str] = set()
        """Published, neither ended nor unknown to the venue."""
        self._unknown: set[str] = set()
        """Last published as unknown to the venue."""
        self._replaced: dict[str, str] = {}
        """Client order id -> the venue order id of the order that had it before the current one."""
        self._sent: dict[str, list[SentOrder]] = {}
        """Sent, and neither refused nor reported yet."""
        self._balances: dict[str, BalanceReport] = {}
        self._unexplained: list[Fill] = []
        self._newest = 0
        """The latest venue time that was published."""
        self._first_reading = 0
        """The venue time of the first complete reading; what happened before is not news."""
        self._missed_from = 0
        """The venue time from which reports may be missing; 0 while none are, or nothing was published."""

    @property
    def kept_orders(self) -> int:
        """How many orders are remembered: the open ones, and the last ended or unknown ones."""
        return len(self._published)

    @property
    def unexplained_fills(self) -> Sequence[Fill]:
        """8: fills that the venue listed, and that no reported order includes."""
        return tuple(self._unexplained)

    def symbols(self) -> Set[str]:
        """Returns the symbols of all orders that are remembered, or were sent and not reported yet."""
        sent = (each.symbol for orders in self._sent.values() for each in orders)
        return {order.symbol for order in self._published.values()}.union(sent)

    def sent(self, order: NewOrder) -> SentOrder:
        """Registers an order before it is sent; returns the record of this request."""
        id = order.client_order_id
        sent = SentOrder(order.symbol, id, self._published.get(id))
        self._sent.setdefault(id, []).append(sent)
        return sent

    def accepted(self, sent: SentOrder, answer: OrderSnapshot) -> None:
        """Records the venue's response to an order."""
        sent.in_flight, sent.answer = False, answer
        id, before = sent.client_order_id, sent.before
        current = self._published.get(id)
        if current is not None:
            follows = before is not None and (
                current is before or before.venue_order_id == current.venue_order_id is not None
            )
            if is_another(answer.venue_order_id, current):
                is_new = follows or self._which(answer) is _Which.LATER
                if not is_new:
                    return
            else:
                is_new = answer.venue_order_id is None and current is before and current.state.is_final
            if not is_new:
                # Published already, or the venue answered with the order that has ended.
                self._drop_sent(sent)
                return
            # 4: the id belongs to a new order.
            self._forget(id)
            if current.venue_order_id is not None:
                self._replaced[id] = current.venue_order_id
        if sent not in self._sent.get(id, ()):
            # A report of an earlier order was taken for this one's.
            self._sent.setdefault(id, []).append(sent)

    def refused(self, sent: SentOrder) -> None:
        """Records that an order did not reach the venue's book: no report will follow."""
        self._drop_sent(sent)

    def outcome_unknown(self, sent: SentOrder, arrives_until: float) -> None:
        """Records that an order may have reached the venue, or may reach it until a time."""
        sent.in_flight, sent.arrives_until = False, arrives_until

    def may_arrive(self, client_order_id: str, now: float) -> bool:
        """Returns whether an order that the venue does not know may be on its way to it."""
        return any(sent.may_arrive(now) for sent in self._sent.get(client_order_id, ()))

    def order_reported(self, order: OrderSnapshot, fill: Fill | None = None) -> list[OrderReport]:
        """Returns what to publish of a report of the stream."""
        return [] if self._rejects_second_order(order) else [OrderReport(order, fill)]  # 1, 2

    def balance_reported(
        self, currency: str, balance: Balance, transfer: Transfer | None = None
    ) -> list[BalanceReport]:
        """Returns what to publish of a balance that the venue had at its time."""
        if transfer is None and self._is_older(currency, balance):  # 7
            return []
        return [BalanceReport(currency, balance, transfer)]

    def _is_older(self, currency: str, balance: Balance) -> bool:
        last = self._balances.get(currency)
        return last is not None and balance.time < last.balance.time

    def disconnected(self) -> None:
        """Records that the stream is lost. Later reports do not narrow what is read after the reconnect."""
        if self._missed_from == 0 and self._newest:
            self._missed_from = max(self._first_reading, self._newest - LATE)

    def start_reading(self, now: float) -> Reading:
        """Starts to read the account again. The stream must be back: it reports what happens from now on."""
        self.disconnected()
        settled = [sent for each in self._sent.values() for sent in each if not sent.may_arrive(now)]
        return Reading(self._missed_from or None, settled)

    def queries(
        self, reading: Reading, open_orders: Iterable[OrderSnapshot], fills: Iterable[Fill]
    ) -> list[Query]:
        """Returns which orders to query one by one, given the open orders and the fills that were read."""
        reading.orders = {order.client_order_id: order for order in open_orders if order.client_order_id}  # 9
        symbols = {id: self._published[id].symbol for id in (*self._open, *self._unknown)}
        symbols.update((id, each[0].symbol) for id, each in self._sent.items())
        listed = {
            (fill.client_order_id, fill.venue_order_id, fill.execution_id): fill
            for fill in (*self._unexplained, *fills)
            if fill.client_order_id  # 9
        }
        reading.fills = sorted(listed.values(), key=lambda fill: fill.time)
        for fill, filled in sums(reading.fills):
            if self._is_unexpected(fill, filled):
                symbols[fill.client_order_id] = fill.symbol
        return [
            Query(symbol, id, self._published.get(id))
            for id, symbol in symbols.items()
            if id not in reading.orders
        ]

    def reconciled(self, reading: Reading) -> list[Report]:
        """Returns what to publish after everything was read, orders first."""
        reports: list[Report] = [
            OrderReport(order) for order in reading.orders.values() if self._is_news(order)
        ]
        for query in reading.missing:
            reports += self._missing(query, reading)
        emptied = [
            currency
            for currency, last in self._balances.items()
            if currency not in reading.balances and last.balance.total
        ]
        empty = Balance(Decimal(0), Decimal(0), reading.time)
        for currency, balance in (*reading.balances.items(), *((each, empty) for each in emptied)):
            reports += self.balance_reported(currency, balance)
        return reports

    def complete(self, reading: Reading) -> None:
        """Records that all reports of a reading were published: nothing up to its time is missing."""
        for sent in reading.settled:
            self._drop_sent(sent)  # 5
            if sent.client_order_id not in self._published and sent.client_order_id not in self._sent:
                self._replaced.pop(sent.client_order_id, None)
        self._newest = max(self._newest, reading.time)
        self._first_reading = self._first_reading or reading.time
        self._missed_from = 0
        unknown = {query.client_order_id for query in reading.missing}
        unexplained = [
            fill for fill, filled in sums(reading.fills) if self._is_unexplained(fill, filled, unknown)
        ]
        self._unexplained = unexplained[-self._closed_orders :]

    def published(self, report: Report) -> None:
        """Records that a report was published."""
        if isinstance(report, BalanceReport):
            if not self._is_older(report.currency, report.balance):
                self._balances[report.currency] = report
            self._newest = max(self._newest, report.balance.time)
            return
        order = report.order
        self._newest = max(self._newest, order.time or 0)
        if not order.client_order_id:  # 9
            return
        if order.state is OrderState.UNKNOWN:
            self._note_unknown(order)
        else:
            self._note(order)
        while len(self._published) - len(self._open) > self._closed_orders:
            self._forget(next(id for id in self._published if id not in self._open))

    def _note(self, order: OrderSnapshot) -> None:
        """Remembers what was published of an order, the most advanced of it."""
        id, which = order.client_order_id, self._which(order)
        if which is _Which.EARLIER:  # 4
            return
        self._settle_sent(order)
        last = self._published.get(id)
        if which is _Which.LATER and last is not None and last.venue_order_id is not None:
            self._replaced[id] = last.venue_order_id
        if last is None or which is _Which.LATER or advances(order, last):
            self._published[id] = order
            self._published.move_to_end(id)
        self._unknown.discard(id)
        if self._published[id].state.is_final:
            self._open.discard(id)
        else:
            self._open.add(id)

    def _note_unknown(self, order: OrderSnapshot) -> None:
        id = order.client_order_id
        self._published[id] = order
        self._published.move_to_end(id)
        self._open.discard(id)
        self._unknown.add(id)

    def _missing(self, query: Query, reading: Reading) -> list[OrderReport]:
        """Returns what to publish of an order that the venue does not know."""
        id = query.client_order_id
        last = self._published.get(id)
        if last is not query.published or id in self._unknown:
            # Reported while it was queried, or published as unknown before.
            return []
        if last is None:
            answers = [
                sent.answer
                for sent in reading.settled
                if sent.client_order_id == id and sent.answer is not None and sent in self._sent.get(id, ())
            ]
            if not answers:
                return []
            last = answers[-1]
            if last.state.is_final:
                # The answer to its request is the venue's last word.
                return [OrderReport(last)]
        elif last.state.is_final:
            return []
        unknown = last._replace(state=OrderState.UNKNOWN, reason=UNKNOWN_TO_VENUE, time=reading.time)
        return [OrderReport(unknown)]  # 6

    def _is_news(self, order: OrderSnapshot) -> bool:
        """Returns whether the answer to a query is news."""
        match self._which(order):
            case _Which.EARLIER:
                return False
            case _Which.LATER:
                return True
            case _Which.CURRENT:
                id = order.client_order_id
                # 6: what was unknown to the venue is news when the venue knows it again.
                return id in self._unknown or advances(order, self._published[id])

    def _which(self, order: OrderSnapshot) -> _Which:
        """4: which order under its client order id a report is about."""
        id, venue_id = order.client_order_id, order.venue_order_id
        if venue_id is not None and venue_id == self._replaced.get(id):
            return _Which.EARLIER
        last = self._published.get(id)
        if last is None:
            return _Which.LATER
        if not is_another(venue_id, last):
            return _Which.CURRENT
        # A rejection without a venue order id never hides an order that the venue has.
        later = last.venue_order_id is None or order.time is None or order.time >= (last.time or 0)
        return _Which.LATER if later else _Which.EARLIER

    def _is_unexpected(self, fill: Fill, filled: Decimal) -> bool:
        """3: whether a fill calls for a query; `filled` sums the fills of its order up to this one."""
        id = fill.client_order_id
        if fill.venue_order_id == self._replaced.get(id):
            return False
        last = self._published.get(id)
        if last is None or not last.state.is_final or is_another(fill.venue_order_id, last):
            return True
        # The published quantity of a part-filled order may not include a fill that was booked late, whatever
        # its time.
        return filled > last.filled_quantity or last.filled_quantity < last.quantity

    def _is_unexplained(self, fill: Fill, filled: Decimal, unknown: Set[str]) -> bool:
        """8: whether a fill is in no order that was reported; `unknown` are the ids of unknown orders."""
        id = fill.client_order_id
        if fill.venue_order_id == self._replaced.get(id):
            return False
        last = self._published.get(id)
        if last is None:
            return id in unknown
        if fill.venue_order_id and is_another(fill.venue_order_id, last):
            return fill.time >= (last.time or 0)
        return filled > last.filled_quantity

    def _rejects_second_order(self, order: OrderSnapshot) -> bool:
        """2: whether a rejection is not of the order that the venue has under its id, but of a second one."""
        if order.state is not OrderState.REJECTED or order.venue_order_id is not None:
            return False
        sent = self._sent.get(order.client_order_id, ())
        if any(each.answer is not None and each.answer.venue_order_id is not None for each in sent):
            return True
        last = self._published.get(order.client_order_id)
        if last is None or last.venue_order_id is None:
            return False
        return not last.state.is_final or not sent

    def _settle_sent(self, order: OrderSnapshot) -> None:
        """5: drops the request that a report of its order answers."""
        if order.state is OrderState.REJECTED and order.venue_order_id is None:
            # It may reject another request under the same id.
            return
        for sent in self._sent.get(order.client_order_id, ()):
            if sent.answer is not None:
                reported = same_venue_id(order, sent.answer)
            elif sent.before is None:
                reported = True
            elif order.venue_order_id is None:
                reported = sent.before.venue_order_id is not None
            else:
                reported = is_another(order.venue_order_id, sent.before)
            if reported:
                self._drop_sent(sent)
                return

    def _drop_sent(self, sent: SentOrder) -> None:
        id = sent.client_order_id
        left = [each for each in self._sent.get(id, ()) if each is not sent]
        if left:
            self._sent[id] = left
        else:
            self._sent.pop(id, None)

    def _forget(self, id: str) -> None:
        del self._published[id]
        self._open.discard(id)
        self._unknown.discard(id)
        self._replaced.pop(id, None)
