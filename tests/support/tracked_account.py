"""An account of the order tracker's tests: the tracker against a plain model of a venue."""

from decimal import Decimal

from meltica.adapters.live.order_tracker import OrderTracker, SentOrder
from meltica.adapters.live.reports import OrderReport
from meltica.model.enums import OrderState
from meltica.model.orders import OrderSnapshot
from tests.support.venue_model import Message, Order, Venue, new_order


class TrackedAccount:
    """An order tracker, a plain venue, and the published reports."""

    def __init__(self, closed_orders: int = 100) -> None:
        self.venue = Venue()
        self.tracker = OrderTracker(closed_orders)
        self.published: list[tuple[str, OrderState, Decimal]] = []
        self.queried: list[str] = []

    def place(self, id: str, filled: int = 0) -> Order:
        """Places an order of another client of the account, and fills a quantity of it at once."""
        self.venue.place(new_order(id))
        placed = self.venue.current(id)
        assert placed is not None
        if filled:
            self.venue.fill(placed, Decimal(filled))
        return placed

    def send(self, id: str) -> tuple[SentOrder, OrderSnapshot]:
        """Sends an order that the venue takes; returns the request and the answer, not yet received."""
        sent = self.tracker.sent(new_order(id))
        answer = self.venue.place(new_order(id))
        assert answer is not None
        return sent, answer

    def receive(self, *messages: Message) -> None:
        """Passes messages to the tracker; without arguments, all that the stream has."""
        for message in messages or self.venue.stream:
            for report in self.tracker.order_reported(message.order, message.fill):
                self._publish(report)
        if not messages:
            self.venue.stream.clear()

    def reconnect(self) -> list[tuple[str, OrderState, Decimal]]:
        """Drops undelivered messages, reads the account again, and returns the new reports."""
        self.venue.stream.clear()
        before = len(self.published)
        reading = self.tracker.start_reading(self.venue.now)
        reading.time = self.venue.now
        fills = [] if reading.fills_from is None else self.venue.fills_since(reading.fills_from)
        queries = self.tracker.queries(reading, self.venue.open_orders(), fills)
        self.queried = [query.client_order_id for query in queries]
        for query in queries:
            reading.answered(query, self.venue.find(query.client_order_id))
        for report in self.tracker.reconciled(reading):
            assert isinstance(report, OrderReport)
            self._publish(report)
        self.tracker.complete(reading)
        return self.published[before:]

    def _publish(self, report: OrderReport) -> None:
        order = report.order
        self.published.append((order.client_order_id, order.state, order.filled_quantity))
        self.tracker.published(report)
