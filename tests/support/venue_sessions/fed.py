"""Feeds a session to the core, and compares what a strategy gets with the truth of each line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from meltica import BookGap, BookSnapshot, KlineSummary, Lambda, MarketStale, Ticker, Trade
from meltica._core import Codec, Core
from meltica.adapters.codec import Codec as Declaration
from meltica.lambdas.instances import add_instance
from tests.support.venue_sessions.market import Book, Instrument, Level
from tests.support.venue_sessions.session import Line, Session

DEPTH = 25

Top = tuple[list[Level], list[Level]]


class Everything(Lambda):
    """Keeps every event, in order."""

    book_depth = DEPTH

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Any] = []

    def on_trade(self, trade: Trade, /) -> None:
        self.events.append(trade)

    def on_ticker(self, ticker: Ticker, /) -> None:
        self.events.append(ticker)

    def on_kline_summary(self, kline: KlineSummary, /) -> None:
        self.events.append(kline)

    def on_book_snapshot(self, book: BookSnapshot, /) -> None:
        self.events.append(book)

    def on_gap(self, gap: BookGap, /) -> None:
        self.events.append(gap)

    def on_stale(self, stale: MarketStale, /) -> None:
        self.events.append(stale)


@dataclass
class Fed:
    """The events of a session by the receive time of their line, and the counters."""

    session: Session
    events: list[Any]
    stats: dict[str, Any]
    bad_frames: Sequence[tuple[int, str, bytes]]
    by_line: dict[int, list[Any]] = field(default_factory=dict[int, list[Any]])

    def __post_init__(self) -> None:
        for event in self.events:
            self.by_line.setdefault(event.received_time, []).append(event)

    def of(self, kind: type) -> list[Any]:
        """Returns the events of a class."""
        return [event for event in self.events if isinstance(event, kind)]

    def states(self) -> Iterator[tuple[Line, Top | None, bool]]:
        """Yields each line of a book, the book that the strategy has then, and whether the line brought it.

        The book is None while there is none, or it is stale.
        """
        books: dict[str, Top | None] = {}
        for line in self.session.lines:
            new: set[str] = set()
            for event in self.by_line.get(line.ns, ()):
                if isinstance(event, BookSnapshot):
                    books[event.symbol] = top(event)
                    new.add(event.symbol)
                elif isinstance(event, BookGap | MarketStale):
                    books[event.symbol] = None
                    new.discard(event.symbol)
            if line.message and line.message.symbol and line.message.kind in ("diff", "snapshot"):
                yield line, books.get(line.message.symbol), line.message.symbol in new


def feed(
    declaration: Declaration,
    session: Session,
    instruments: Sequence[Mapping[str, object]] = (),
    categories: Mapping[int, str] | None = None,
) -> Fed:
    """Feeds all lines; `instruments` are listed first, `categories` are those of connections."""
    core = Core()
    try:
        producer = core.producer("venue", Codec(declaration))
        host = core.host("thread")
        policies: dict[str, str] = dict.fromkeys(("Trade", "Ticker", "KlineSummary", "BookSnapshot"), "block")
        instance = add_instance(host, Everything, id="e", scope={"venue": "*"}, policies=policies)
        instance.start()
        for instrument in instruments:
            producer.publish("InstrumentUpdate", str(instrument["symbol"]), {"instrument": instrument})
        for connection, category in (categories or {}).items():
            producer.set_category(category, connection=connection)
        for line in session.lines:
            message = line.message
            if message is None:
                if line.mark.startswith("lost"):
                    producer.restart(line.ns, connection=line.connection)
                continue
            symbol = message.symbol if message.requested else None
            producer.feed(message.frame.encode(), line.ns, symbol=symbol, connection=line.connection)
        assert producer.drain(30)
        subject = instance.subject
        assert isinstance(subject, Everything)
        fed = Fed(session, subject.events, producer.stats(), producer.bad_frames())
        host.stop(5)
        return fed
    finally:
        core.close()


def top(book: BookSnapshot) -> Top:
    """Returns the levels of an event."""
    bids, asks = (
        [(Decimal(str(level.price_decimal)), Decimal(str(level.quantity_decimal))) for level in side]
        for side in (book.bids, book.asks)
    )
    return bids, asks


def expected_top(scale: Instrument, book: Book) -> Top:
    """Returns the levels that an event of a book should have."""
    best = book.top(DEPTH)
    return [scale.level(*level) for level in best.bids], [scale.level(*level) for level in best.asks]
