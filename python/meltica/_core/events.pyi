"""Events: one base class with the header, one class per kind.

Numbers have two forms: `trade.price` is a float, `trade.price_decimal` the exact `Decimal`, and
`trade.price == float(trade.price_decimal)` always holds. Prices are in quote currency, quantities in base currency.
Times are integer nanoseconds since the Unix epoch, UTC. A field that the venue did not send is None, never 0.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal, Self, final

from typing_extensions import disjoint_base

from meltica.model.enums import Side

__all__ = [
    "BookGap",
    "BookSnapshot",
    "Event",
    "Extension",
    "InstrumentUpdate",
    "KlineSummary",
    "MarketStale",
    "PriceLevel",
    "Ticker",
    "Trade",
]

@disjoint_base
class Event:
    """Base class of all events: what happened, where and when.

    Events are immutable, stay valid when kept, and can be pickled. Times are in ns since 1970-01-01 UTC. Two events are
    equal if their kind, origin, times and payload are equal; `received_time` and `dispatched_time` are not compared.

    The runtime makes the events. A test makes them with `meltica.testing.event(kind, symbol, at=seconds, **values)`.
    """

    @property
    def seq(self) -> int:
        """int: Global sequence number, from 1. An instance receives ascending numbers."""
    @property
    def kind(self) -> str:
        """str: The kind's name, such as `Trade`: also the name of the event's class."""
    @property
    def provider(self) -> str:
        """str: Name of the provider that sent the event; `meltica` for what lambdas emit."""
    @property
    def symbol(self) -> str:
        """str: Instrument such as `BTC-USDT`; the currency of a `BalanceUpdate`, the name of an `Extension`."""
    @property
    def provider_seq(self) -> int:
        """int: Sequence number per provider, kind and symbol, from 1; it goes on when the provider restarts."""
    @property
    def routing_version(self) -> int:
        """int: Version of the routing table when the event was dispatched."""
    @property
    def venue_time(self) -> int | None:
        """int | None: When the event happened by the venue's clock, in ns since 1970-01-01 UTC; None if not sent."""
    @property
    def received_time(self) -> int:
        """int: When the bytes arrived by the local clock, in ns since 1970-01-01 UTC; the recorded time in a replay."""
    @property
    def dispatched_time(self) -> int:
        """int: When the event was numbered and routed by the local clock, in ns since 1970-01-01 UTC."""
    def to_dict(self) -> dict[str, Any]:
        """Returns JSON-able data: camelCase keys, decimals as strings, times as RFC 3339; absent fields have no key."""
    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Event:
        """Returns the event that `to_dict` described. Raises `ValueError` naming a missing or wrong key."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Trade(Event):
    """A public trade.

    Immutable. In a test: `meltica.testing.event("Trade", "BTC-USDT", side="Buy", price="100", quantity="2")`.

    Example:

        def on_trade(self, trade: meltica.Trade) -> None:
            self.log.info("%s %s at %s", trade.side, trade.quantity, trade.price)
    """

    @property
    def trade_id(self) -> str | None:
        """str | None: The venue's id of the trade; None if the venue does not send it."""
    @property
    def late(self) -> bool:
        """bool: Whether the trade was missed while the connection was lost, and comes after later ones."""
    @property
    def side(self) -> Side | None:
        """meltica.Side | None: The taker's side; None if the venue does not send it."""
    @property
    def price(self) -> float:
        """float: Price in quote currency."""
    @property
    def price_decimal(self) -> Decimal:
        """Decimal: The exact `price`."""
    @property
    def quantity(self) -> float:
        """float: Quantity in base currency."""
    @property
    def quantity_decimal(self) -> Decimal:
        """Decimal: The exact `quantity`."""

@final
class Ticker(Event):
    """Last price and top of the book. Fields that the venue did not send are None.

    Immutable. In a test: `meltica.testing.event("Ticker", "BTC-USDT", bid="99", ask="101")`.

    Example:

        def on_ticker(self, ticker: meltica.Ticker) -> None:
            if ticker.bid is not None and ticker.ask is not None:
                self.log.info("spread %.2f", ticker.ask - ticker.bid)
    """

    @property
    def last(self) -> float | None:
        """float | None: Price of the last trade, in quote currency; None if not sent."""
    @property
    def last_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `last`; None if `last` is None."""
    @property
    def bid(self) -> float | None:
        """float | None: Best bid price, in quote currency; None if not sent."""
    @property
    def bid_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `bid`; None if `bid` is None."""
    @property
    def bid_quantity(self) -> float | None:
        """float | None: Quantity at the best bid, in base currency; None if not sent."""
    @property
    def bid_quantity_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `bid_quantity`; None if `bid_quantity` is None."""
    @property
    def ask(self) -> float | None:
        """float | None: Best ask price, in quote currency; None if not sent."""
    @property
    def ask_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `ask`; None if `ask` is None."""
    @property
    def ask_quantity(self) -> float | None:
        """float | None: Quantity at the best ask, in base currency; None if not sent."""
    @property
    def ask_quantity_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `ask_quantity`; None if `ask_quantity` is None."""
    @property
    def volume_24h(self) -> float | None:
        """float | None: Volume of the last 24 hours, in base currency; None if not sent."""
    @property
    def volume_24h_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `volume_24h`; None if `volume_24h` is None."""

@final
class PriceLevel:
    """One price level of a book, immutable. Unpacks to two floats: `price, quantity = level`.

    Raises `ValueError` for a price or quantity that is not a decimal number.
    """

    def __new__(cls, price: Decimal | str | float, quantity: Decimal | str | float) -> Self: ...
    @property
    def price(self) -> float:
        """float: Price in quote currency."""
    @property
    def price_decimal(self) -> Decimal:
        """Decimal: The exact `price`."""
    @property
    def quantity(self) -> float:
        """float: Quantity at this price, in base currency."""
    @property
    def quantity_decimal(self) -> Decimal:
        """Decimal: The exact `quantity`."""
    def __iter__(self) -> Iterator[float]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class BookSnapshot(Event):
    """The top of an order book: the best `book_depth` levels of each side.

    Immutable. In a test: `meltica.testing.event("BookSnapshot", "BTC-USDT", bids=[{"price": "99", "quantity": "1"}],
    asks=[])`.

    Example:

        def on_book_snapshot(self, book: meltica.BookSnapshot) -> None:
            for price, quantity in book.bids:
                self.log.info("%s bid at %s", quantity, price)
    """

    @property
    def bids(self) -> tuple[PriceLevel, ...]:
        """tuple[meltica.PriceLevel, ...]: Bid levels, highest price first."""
    @property
    def asks(self) -> tuple[PriceLevel, ...]:
        """tuple[meltica.PriceLevel, ...]: Ask levels, lowest price first."""
    @property
    def best_bid(self) -> PriceLevel | None:
        """meltica.PriceLevel | None: The highest bid; None if the side is empty."""
    @property
    def best_ask(self) -> PriceLevel | None:
        """meltica.PriceLevel | None: The lowest ask; None if the side is empty."""
    @property
    def bid_count(self) -> int:
        """int: Number of bid levels in the whole book, before it is cut to `book_depth`."""
    @property
    def ask_count(self) -> int:
        """int: Number of ask levels in the whole book, before it is cut to `book_depth`."""
    @property
    def bid_horizon(self) -> float | None:
        """float | None: The price down to which every bid is known; None if that is not known.

        Of worse levels, the book has those that changed since the snapshot of the venue. Others may exist.
        """
    @property
    def bid_horizon_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `bid_horizon`."""
    @property
    def ask_horizon(self) -> float | None:
        """float | None: The price up to which every ask is known, as `bid_horizon`."""
    @property
    def ask_horizon_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `ask_horizon`."""
    @property
    def first_update_id(self) -> int | None:
        """int | None: The venue's id of the first update in the message behind this book; None if it has no ids."""
    @property
    def last_update_id(self) -> int | None:
        """int | None: The venue's id of the last update in this book; None if it has no ids."""
    @property
    def checksum(self) -> int | None:
        """int | None: The venue's checksum of the book; None if it does not send one."""

@final
class KlineSummary(Event):
    """A candle: prices and volume of one interval.

    Immutable. In a test, the times are RFC 3339 text: `meltica.testing.event("KlineSummary", "BTC-USDT", open="1",
    close="2", high="3", low="1", volume="5", open_time="2025-01-01T00:00:00Z", close_time="2025-01-01T00:01:00Z")`.
    """

    @property
    def open(self) -> float:
        """float: First price of the interval, in quote currency."""
    @property
    def open_decimal(self) -> Decimal:
        """Decimal: The exact `open`."""
    @property
    def close(self) -> float:
        """float: Last price of the interval, in quote currency."""
    @property
    def close_decimal(self) -> Decimal:
        """Decimal: The exact `close`."""
    @property
    def high(self) -> float:
        """float: Highest price of the interval, in quote currency."""
    @property
    def high_decimal(self) -> Decimal:
        """Decimal: The exact `high`."""
    @property
    def low(self) -> float:
        """float: Lowest price of the interval, in quote currency."""
    @property
    def low_decimal(self) -> Decimal:
        """Decimal: The exact `low`."""
    @property
    def volume(self) -> float:
        """float: Volume of the interval, in base currency."""
    @property
    def volume_decimal(self) -> Decimal:
        """Decimal: The exact `volume`."""
    @property
    def open_time(self) -> int:
        """int: Start of the interval by the venue's clock, in ns since 1970-01-01 UTC."""
    @property
    def close_time(self) -> int:
        """int: End of the interval by the venue's clock, in ns since 1970-01-01 UTC."""
    @property
    def interval(self) -> str | None:
        """str | None: The venue's name of the interval, such as `1m`; None if not sent."""
    @property
    def closed(self) -> bool | None:
        """bool | None: Whether the candle is final; None if the venue does not say."""

@final
class InstrumentUpdate(Event):
    """A new or changed instrument.

    Immutable. In a test: `meltica.testing.event("InstrumentUpdate", "BTC-USDT", instrument={"symbol": "BTC-USDT",
    "type": "spot", "baseCurrency": "BTC", "quoteCurrency": "USDT", "venue": "FAKE"})`.
    """

    @property
    def instrument(self) -> dict[str, Any]:
        """dict[str, Any]: The instrument, with the keys of the REST API (`priceIncrement`); absent fields have none."""

@final
class Extension(Event):
    """Free-form data from an adapter or another lambda.

    Immutable. In a test, `payload` is called `data`: `meltica.testing.event("Extension", "x", name="x", data={})`.
    """

    @property
    def name(self) -> str:
        """str: Name of the extension, as in `Lambda.emit(name, payload)`."""
    @property
    def payload(self) -> Any:
        """Any: The data, parsed from JSON at each access."""

@final
class BookGap(Event):
    """A gap in a venue's sequence of book updates: the ids from `expected` up to `seen` are missing.

    Immutable. In a test: `meltica.testing.event("BookGap", "BTC-USDT", expected=5, seen=8)`.
    """

    @property
    def expected(self) -> int:
        """int: The id that should have come next."""
    @property
    def seen(self) -> int:
        """int: The id that came instead."""

@final
class MarketStale(Event):
    """Market data of a symbol is stale: a book until its next `BookSnapshot`, a feed until its next event.

    Immutable. In a test: `meltica.testing.event("MarketStale", "BTC-USDT", reason="gap")`.
    """

    @property
    def reason(
        self,
    ) -> Literal[
        "gap",
        "crossed",
        "checksum",
        "no_snapshot",
        "overflow",
        "disconnected",
        "silent",
        "restarted",
        "undecoded",
        "left_out",
        "ticker_crossed",
        "ids_restarted",
        "contract_size",
    ]:
        """str: Why the data is stale.

        - `gap`: updates were lost.
        - `crossed`: the best bid reached the best ask.
        - `checksum`: the venue's checksum differs from ours.
        - `no_snapshot`: no usable snapshot came while updates were waiting for one.
        - `overflow`: a number of the venue does not fit the book.
        - `disconnected`: the connection was lost.
        - `silent`: the venue sent nothing for too long.
        - `restarted`: the venue's update ids have restarted.
        - `undecoded`: changes of the book could not be decoded.
        - `left_out`: the instance had no memory for the symbol and missed its earlier events.
        - `ticker_crossed`: the best bid of a ticker reached its best ask; its bid and ask are None.
        - `ids_restarted`: the venue's ids of trades have restarted, and a few trades were taken for repeated ones.
        - `contract_size`: the instrument list changed the size of a contract: quantities in base have the old one.
        """
