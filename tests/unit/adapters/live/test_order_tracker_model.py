"""The order tracker against a plain model of a venue: whatever is late, repeated, reordered or lost,
nothing is missing.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from meltica.adapters.live.order_tracker import (
    LATE,
    UNKNOWN_TO_VENUE,
    OrderTracker,
    SentOrder,
)
from meltica.adapters.live.reports import OrderReport
from meltica.model.balances import Balance
from meltica.model.enums import OrderState
from meltica.model.orders import NewOrder, OrderSnapshot
from tests.support.venue_model import Message, Order, Venue, new_order

SECOND = 10**9
ARRIVES_WITHIN = 10 * SECOND
IDS = ("a", "b", "c")
FOREIGN = ("f", "g")
RANKS = {OrderState.ACK: 0, OrderState.PARTIAL: 1}


@dataclass(eq=False)
class Request:
    """A request of ours that sends an order."""

    order: NewOrder
    sent: SentOrder
    reached: bool = False
    answer: OrderSnapshot | None = None
    """The venue's answer; None when it refused."""
    until: int | None = None
    """The time until which it may arrive, once its outcome is unknown."""
    answered: bool = False


T = TypeVar("T")


def choose(values: Sequence[T], pick: int) -> T:
    return values[pick % len(values)]


def advance(order: OrderSnapshot) -> tuple[Decimal, int]:
    return order.filled_quantity, RANKS.get(order.state, 2)


class Tracking(RuleBasedStateMachine):
    """Requests, a stream and a venue, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.venue = Venue()
        self.tracker = OrderTracker()
        self.requests: list[Request] = []
        self.answers: list[OrderSnapshot] = []
        """The answers that reached us."""
        self.published: list[OrderReport] = []
        self.ours: set[str | None] = set()
        """The venue order ids of the orders that we sent."""
        self.connected = False
        self.reading: Generator[None] | None = None

    # What happens to requests.

    @initialize()
    def connect_first(self) -> None:
        self.settle()

    @precondition(lambda self: self.connected and self.reading is None)
    @rule(id=st.sampled_from(IDS))
    def send(self, id: str) -> None:
        order = new_order(id)
        self.requests.append(Request(order, self.tracker.sent(order)))

    @precondition(lambda self: any(not each.reached for each in self.requests))
    @rule(pick=st.integers(0, 20), refused=st.booleans(), filled=st.integers(0, 8))
    def reach(self, pick: int, refused: bool, filled: int) -> None:
        request = choose([each for each in self.requests if not each.reached], pick)
        request.reached = True
        if refused:
            self.venue.reject(request.order)
            return
        request.answer = self.venue.place(request.order)
        placed = self.venue.current(request.order.client_order_id)
        if request.answer is not None and placed is not None:
            self.ours.add(placed.venue_order_id)
            if filled:
                self.venue.fill(placed, Decimal(filled))
                request.answer = placed.snapshot()

    @precondition(lambda self: any(not each.answered for each in self.requests))
    @rule(pick=st.integers(0, 20), lost=st.booleans())
    def respond(self, pick: int, lost: bool) -> None:
        request = choose([each for each in self.requests if not each.answered], pick)
        request.answered = True
        if lost:
            request.until = self.venue.now + ARRIVES_WITHIN
            self.tracker.outcome_unknown(request.sent, request.until)
        elif request.reached and request.answer is not None:
            self.answers.append(request.answer)
            self.tracker.accepted(request.sent, request.answer)
        else:
            # Refused, or not taken at all.
            request.reached = True
            self.tracker.refused(request.sent)
        if request.reached:
            self.requests.remove(request)

    # What happens at the venue.

    @rule(id=st.sampled_from(FOREIGN))
    def foreign_order(self, id: str) -> None:
        # Another client does not repeat the id of its open order.
        if all(order.client_order_id != id for order in self.open_orders()):
            self.venue.place(new_order(id))

    @precondition(lambda self: self.open_orders())
    @rule(pick=st.integers(0, 20), quantity=st.integers(1, 8))
    def fill(self, pick: int, quantity: int) -> None:
        self.venue.fill(choose(self.open_orders(), pick), Decimal(quantity))

    @precondition(lambda self: self.open_orders())
    @rule(pick=st.integers(0, 20), state=st.sampled_from(["CANCELLED", "EXPIRED"]))
    def end(self, pick: int, state: str) -> None:
        self.venue.end(choose(self.open_orders(), pick), OrderState(state))

    @precondition(lambda self: self.open_orders())
    @rule(pick=st.integers(0, 20), price=st.integers(1, 5))
    def amend(self, pick: int, price: int) -> None:
        self.venue.amend(choose(self.open_orders(), pick), Decimal(price))

    @precondition(lambda self: self.ended_unfilled())
    @rule(pick=st.integers(0, 20), earlier=st.sampled_from([0, 1, SECOND, 30 * SECOND]))
    def fill_after_the_end(self, pick: int, earlier: int) -> None:
        """Books a fill late, with the time of the trade, which is not before the order's."""
        order = choose(self.ended_unfilled(), pick)
        now = self.venue.now
        self.venue.now = max(now - earlier, order.placed)
        self.venue.fill(order, Decimal(1))
        self.venue.now = now

    @precondition(lambda self: self.known_orders())
    @rule(pick=st.integers(0, 20))
    def forget_or_remember(self, pick: int) -> None:
        order = choose(self.known_orders(), pick)
        # Only its fills lead to an ended order that the venue knows again.
        order.forgotten = not order.forgotten and (order.open or order.filled > 0)

    @rule(step=st.sampled_from([0, 1, SECOND, 20 * SECOND, 2 * LATE]))
    def time_passes(self, step: int) -> None:
        now = self.venue.now + step
        # No report is later than that.
        for message in [each for each in self.venue.stream if (each.order.time or 0) + LATE < now]:
            self.venue.stream.remove(message)
            self.deliver(message)
        self.venue.now = now
        arrived_or_lost = [each for each in self.requests if each.until is not None and each.until <= now]
        for request in arrived_or_lost:
            self.requests.remove(request)

    # What happens to the stream.

    @precondition(lambda self: self.venue.stream)
    @rule(pick=st.integers(0, 20), repeat=st.booleans())
    def report(self, pick: int, repeat: bool) -> None:
        message = choose(self.venue.stream, pick)
        if not repeat:
            self.venue.stream.remove(message)
        self.deliver(message)

    @precondition(lambda self: self.venue.stream)
    @rule()
    def report_the_next(self) -> None:
        self.deliver(self.venue.stream.pop(0))

    @rule()
    def cut(self) -> None:
        self.connected, self.reading = False, None
        self.tracker.disconnected()

    @precondition(lambda self: not self.connected)
    @rule()
    def reconnect(self) -> None:
        self.connected, self.reading = True, self.read()

    @precondition(lambda self: self.reading is not None)
    @rule(steps=st.integers(1, 6))
    def read_on(self, steps: int) -> None:
        assert self.reading is not None
        for _ in range(steps):
            if next(self.reading, "end") == "end":
                self.reading = None
                return

    @precondition(lambda self: self.reading is not None)
    @rule()
    def fail_to_read(self) -> None:
        self.reading = self.read()

    @rule()
    def settle(self) -> None:
        """Reconnects to a venue where nothing happens until everything was read, and compares."""
        self.venue.stream.clear()
        self.connected = True
        for _ in self.read():
            pass
        self.reading = None
        self.compare()

    @invariant()
    def reports_are_lost_while_disconnected(self) -> None:
        if not self.connected:
            self.venue.stream.clear()

    # What the account does.

    def read(self) -> Generator[None]:
        tracker, venue = self.tracker, self.venue
        reading = tracker.start_reading(venue.now)
        reading.time = venue.now
        yield
        open_orders = venue.open_orders()
        yield
        fills = [] if reading.fills_from is None else venue.fills_since(reading.fills_from)
        yield
        for query in tracker.queries(reading, open_orders, fills):
            reading.answered(query, venue.find(query.client_order_id))
            yield
        reading.balances = {"USDT": Balance(Decimal(1), Decimal(1), reading.time)}
        for report in tracker.reconciled(reading):
            if isinstance(report, OrderReport):
                self.check_news(report.order)
                self.publish(report)
            tracker.published(report)
        tracker.complete(reading)

    def deliver(self, message: Message) -> None:
        reports = self.tracker.order_reported(message.order, message.fill)
        order = self.venue.current(message.order.client_order_id)
        if message.second and order is not None and order.open and self.words(order):
            assert reports == [], "a second order's rejection looks like the end of the first"
        for report in reports:
            assert (report.order, report.fill) == (message.order, message.fill)
            self.publish(report)
            self.tracker.published(report)

    # What must hold.

    def publish(self, report: OrderReport) -> None:
        order = report.order
        if order.state is OrderState.UNKNOWN:
            said = {
                each._replace(state=OrderState.UNKNOWN, reason=None, time=None) for each in self.venue.said
            }
            assert order._replace(reason=None, time=None) in said
            assert order.reason == UNKNOWN_TO_VENUE
        else:
            assert order in self.venue.said
        self.published.append(report)

    def check_news(self, order: OrderSnapshot) -> None:
        """What a reading publishes was not published before, and reopens nothing."""
        words = [each.order for each in self.published if each.order.venue_order_id == order.venue_order_id]
        of_venue = [each for each in words if each.state is not OrderState.UNKNOWN]
        if order.state is OrderState.UNKNOWN:
            assert not words or words[-1].state is not OrderState.UNKNOWN, "unknown is published once"
            assert all(not each.state.is_final for each in of_venue), "an ended order is not unknown"
        elif of_venue:
            best = max(of_venue, key=lambda each: (advance(each), each.time))
            assert order.state.is_final or not best.state.is_final, "what has ended was reopened"
            if words[-1].state is not OrderState.UNKNOWN:
                amended = (order.price, order.quantity) != (best.price, best.quantity)
                assert advance(order) > advance(best) or amended, "published twice"

    def compare(self) -> None:
        """What was published of each order is the venue's truth."""
        for id in (*IDS, *FOREIGN):
            order = self.venue.current(id)
            if order is None:
                continue
            words = self.words(order)
            of_venue = [each for each in words if each.state is not OrderState.UNKNOWN]
            answers = [each for each in self.answers if each.venue_order_id == order.venue_order_id]
            if order.forgotten:
                if of_venue or answers:
                    best = max([*of_venue, *answers], key=advance)
                    assert words, "an accepted order is never lost"
                    assert best.state.is_final or words[-1].state is OrderState.UNKNOWN
                continue
            filled = any(fill.venue_order_id == order.venue_order_id for fill in self.venue.fills)
            ours = order.venue_order_id in self.ours
            if not (of_venue or ours or order.open or filled):
                continue
            assert of_venue, f"{order} was never published"
            assert words[-1].state is not OrderState.UNKNOWN
            best = max(of_venue, key=advance)
            assert (best.state, best.filled_quantity) == (order.state, order.filled)
            if order.open:
                latest = max(each.time or 0 for each in of_venue)
                assert any(each.price == order.price for each in of_venue if each.time == latest)

    def words(self, order: Order) -> list[OrderSnapshot]:
        """Returns what was published of an order, in order."""
        return [each.order for each in self.published if each.order.venue_order_id == order.venue_order_id]

    def current_orders(self) -> list[Order]:
        """Returns the latest order of each id."""
        return [order for order in self.venue.orders if self.venue.current(order.client_order_id) is order]

    def known_orders(self) -> list[Order]:
        """Returns the latest orders that were sent by us or published."""
        return [o for o in self.current_orders() if o.venue_order_id in self.ours or self.words(o)]

    def open_orders(self) -> list[Order]:
        return [order for order in self.current_orders() if order.open]

    def ended_unfilled(self) -> list[Order]:
        """Returns orders that ended by something else than their last fill."""
        ended = (OrderState.CANCELLED, OrderState.EXPIRED)
        return [
            o for o in self.current_orders() if o.state in ended and o.filled < o.quantity and not o.forgotten
        ]


def test_nothing_is_missing_in_any_sequence() -> None:
    run_state_machine_as_test(
        Tracking, settings=settings(max_examples=300, stateful_step_count=50, deadline=None, derandomize=True)
    )
