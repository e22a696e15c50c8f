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
    "BalanceUpdate",
    "BookGap",
    "BookSnapshot",
    "Event",
    "ExecReport",
    "Extension",
    "InstrumentUpdate",
    "KlineSummary",
    "MarketStale",
    "PriceLevel",
    "RiskControl",
    "Ticker",
    "Trade",
]

@disjoint_base
class Event:
    """Base class of all events: what happened, where and when.

    Events are immutable, stay valid when kept, and can be pickled. Two events are equal if their kind, origin, times
    and payload are equal; `received_time` and `dispatched_time` are not compared.
    """

    @property
    def seq(self) -> int:
        """Global sequence number, from 1. An instance receives ascending numbers."""
    @property
    def kind(self) -> str:
        """The kind's name, such as `Trade`: also the name of the event's class."""
    @property
    def provider(self) -> str:
        """Name of the provider that sent the event; `meltica` for what lambdas emit."""
    @property
    def symbol(self) -> str:
        """Instrument such as `BTC-USDT`; the currency of a `BalanceUpdate`, the name of an `Extension`."""
    @property
    def provider_seq(self) -> int:
        """Sequence number per provider, kind and symbol, from 1 at each start of the provider."""
    @property
    def routing_version(self) -> int:
        """Version of the routing table when the event was dispatched."""
    @property
    def venue_time(self) -> int | None:
        """When the event happened by the venue's clock, in ns; None if the venue does not send a time."""
    @property
    def received_time(self) -> int:
        """When the bytes arrived by the local wall clock, in ns; in a replay, the recorded time."""
    @property
    def dispatched_time(self) -> int:
        """When the event was numbered and routed by the local wall clock, in ns."""
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

    Example:

        def on_trade(self, trade: meltica.Trade) -> None:
            self.log.info("%s %s at %s", trade.side, trade.quantity, trade.price)
    """

    @property
    def trade_id(self) -> str:
        """The venue's id of the trade."""
    @property
    def side(self) -> Side | None:
        """The taker's side; None if the venue does not send it."""
    @property
    def price(self) -> float:
        """Price in quote currency."""
    @property
    def price_decimal(self) -> Decimal:
        """`price` as an exact Decimal."""
    @property
    def quantity(self) -> float:
        """Quantity in base currency."""
    @property
    def quantity_decimal(self) -> Decimal:
        """`quantity` as an exact Decimal."""

@final
class Ticker(Event):
    """Last price and top of the book. Fields that the venue did not send are None.

    Example:

        def on_ticker(self, ticker: meltica.Ticker) -> None:
            if ticker.bid is not None and ticker.ask is not None:
                self.log.info("spread %.2f", ticker.ask - ticker.bid)
    """

    @property
    def last(self) -> float | None:
        """Price of the last trade, in quote currency; None if not sent."""
    @property
    def last_decimal(self) -> Decimal | None:
        """`last` as an exact Decimal; None if `last` is None."""
    @property
    def bid(self) -> float | None:
        """Best bid price, in quote currency; None if not sent."""
    @property
    def bid_decimal(self) -> Decimal | None:
        """`bid` as an exact Decimal; None if `bid` is None."""
    @property
    def bid_quantity(self) -> float | None:
        """Quantity at the best bid, in base currency; None if not sent."""
    @property
    def bid_quantity_decimal(self) -> Decimal | None:
        """`bid_quantity` as an exact Decimal; None if `bid_quantity` is None."""
    @property
    def ask(self) -> float | None:
        """Best ask price, in quote currency; None if not sent."""
    @property
    def ask_decimal(self) -> Decimal | None:
        """`ask` as an exact Decimal; None if `ask` is None."""
    @property
    def ask_quantity(self) -> float | None:
        """Quantity at the best ask, in base currency; None if not sent."""
    @property
    def ask_quantity_decimal(self) -> Decimal | None:
        """`ask_quantity` as an exact Decimal; None if `ask_quantity` is None."""
    @property
    def volume_24h(self) -> float | None:
        """Volume of the last 24 hours, in base currency; None if not sent."""
    @property
    def volume_24h_decimal(self) -> Decimal | None:
        """`volume_24h` as an exact Decimal; None if `volume_24h` is None."""

@final
class PriceLevel:
    """One price level of a book. Unpacks to two floats: `price, quantity = level`.

    Raises `ValueError` for a price or quantity that is not a decimal number.
    """

    def __new__(cls, price: Decimal | str | float, quantity: Decimal | str | float) -> Self: ...
    @property
    def price(self) -> float:
        """Price in quote currency."""
    @property
    def price_decimal(self) -> Decimal:
        """`price` as an exact Decimal."""
    @property
    def quantity(self) -> float:
        """Quantity at this price, in base currency."""
    @property
    def quantity_decimal(self) -> Decimal:
        """`quantity` as an exact Decimal."""
    def __iter__(self) -> Iterator[float]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class BookSnapshot(Event):
    """The top of an order book: the best `book_depth` levels of each side.

    Example:

        def on_book_snapshot(self, book: meltica.BookSnapshot) -> None:
            for price, quantity in book.bids:
                self.log.info("%s bid at %s", quantity, price)
    """

    @property
    def bids(self) -> tuple[PriceLevel, ...]:
        """Bid levels, highest price first."""
    @property
    def asks(self) -> tuple[PriceLevel, ...]:
        """Ask levels, lowest price first."""
    @property
    def best_bid(self) -> PriceLevel | None:
        """The highest bid; None if the side is empty."""
    @property
    def best_ask(self) -> PriceLevel | None:
        """The lowest ask; None if the side is empty."""
    @property
    def bid_count(self) -> int:
        """Number of bid levels in the whole book, before it is cut to `book_depth`."""
    @property
    def ask_count(self) -> int:
        """Number of ask levels in the whole book, before it is cut to `book_depth`."""
    @property
    def first_update_id(self) -> int | None:
        """The venue's id of the first update in the message behind this book; None if it has no ids."""
    @property
    def last_update_id(self) -> int | None:
        """The venue's id of the last update in this book; None if it has no ids."""
    @property
    def checksum(self) -> int | None:
        """The venue's checksum of the book; None if it does not send one."""

@final
class KlineSummary(Event):
    """A candle: prices and volume of one interval."""

    @property
    def open(self) -> float:
        """First price of the interval, in quote currency."""
    @property
    def open_decimal(self) -> Decimal:
        """`open` as an exact Decimal."""
    @property
    def close(self) -> float:
        """Last price of the interval, in quote currency."""
    @property
    def close_decimal(self) -> Decimal:
        """`close` as an exact Decimal."""
    @property
    def high(self) -> float:
        """Highest price of the interval, in quote currency."""
    @property
    def high_decimal(self) -> Decimal:
        """`high` as an exact Decimal."""
    @property
    def low(self) -> float:
        """Lowest price of the interval, in quote currency."""
    @property
    def low_decimal(self) -> Decimal:
        """`low` as an exact Decimal."""
    @property
    def volume(self) -> float:
        """Volume of the interval, in base currency."""
    @property
    def volume_decimal(self) -> Decimal:
        """`volume` as an exact Decimal."""
    @property
    def open_time(self) -> int:
        """Start of the interval by the venue's clock, in ns."""
    @property
    def close_time(self) -> int:
        """End of the interval by the venue's clock, in ns."""
    @property
    def interval(self) -> str | None:
        """The venue's name of the interval, such as `1m`; None if not sent."""
    @property
    def closed(self) -> bool | None:
        """Whether the candle is final; None if the venue does not say."""

@final
class ExecReport(Event):
    """A report on one of our orders: the order's state and, if one caused the report, a fill.

    `fee` belongs to the whole order so far. `execution_id`, `liquidity` and the fields that start with `last_` belong
    to the fill; they are None in a report without a fill.
    """

    @property
    def client_order_id(self) -> str:
        """Our id of the order."""
    @property
    def venue_order_id(self) -> str | None:
        """The venue's id of the order; None while it has not assigned one."""
    @property
    def state(self) -> str:
        """State of the order: `ACK`, `PARTIAL`, `FILLED`, `CANCELLED`, `REJECTED`, `EXPIRED` or `UNKNOWN`."""
    @property
    def side(self) -> Side:
        """Side of the order."""
    @property
    def order_type(self) -> str:
        """Type of the order: `Limit` or `Market`."""
    @property
    def time_in_force(self) -> str | None:
        """How long the order stays active: `GTC`, `IOC` or `FOK`; None if not sent."""
    @property
    def price(self) -> float | None:
        """Limit price, in quote currency; None for a market order."""
    @property
    def price_decimal(self) -> Decimal | None:
        """`price` as an exact Decimal; None if `price` is None."""
    @property
    def quantity(self) -> float:
        """Ordered quantity, in base currency."""
    @property
    def quantity_decimal(self) -> Decimal:
        """`quantity` as an exact Decimal."""
    @property
    def filled_quantity(self) -> float:
        """Quantity filled so far, in base currency."""
    @property
    def filled_quantity_decimal(self) -> Decimal:
        """`filled_quantity` as an exact Decimal."""
    @property
    def remaining_quantity(self) -> float | None:
        """Quantity still open, in base currency; None if not sent."""
    @property
    def remaining_quantity_decimal(self) -> Decimal | None:
        """`remaining_quantity` as an exact Decimal; None if `remaining_quantity` is None."""
    @property
    def average_price(self) -> float | None:
        """Average price of all fills so far, in quote currency; None without a fill."""
    @property
    def average_price_decimal(self) -> Decimal | None:
        """`average_price` as an exact Decimal; None if `average_price` is None."""
    @property
    def fee(self) -> float | None:
        """Fee of all fills so far, in `fee_currency`; None if not sent."""
    @property
    def fee_decimal(self) -> Decimal | None:
        """`fee` as an exact Decimal; None if `fee` is None."""
    @property
    def fee_currency(self) -> str | None:
        """Currency of `fee`; None if not sent."""
    @property
    def reason(self) -> str | None:
        """Why the order was rejected or ended; None if not sent."""
    @property
    def execution_id(self) -> str | None:
        """The venue's id of the fill; None without a fill."""
    @property
    def last_quantity(self) -> float | None:
        """Quantity of the fill, in base currency; None without a fill."""
    @property
    def last_quantity_decimal(self) -> Decimal | None:
        """`last_quantity` as an exact Decimal; None if `last_quantity` is None."""
    @property
    def last_price(self) -> float | None:
        """Price of the fill, in quote currency; None without a fill."""
    @property
    def last_price_decimal(self) -> Decimal | None:
        """`last_price` as an exact Decimal; None if `last_price` is None."""
    @property
    def liquidity(self) -> str | None:
        """Our role in the fill: `maker` or `taker`; None without a fill or if not sent."""
    @property
    def last_fee(self) -> float | None:
        """Fee of the fill, in `last_fee_currency`; None without a fill or if not sent."""
    @property
    def last_fee_decimal(self) -> Decimal | None:
        """`last_fee` as an exact Decimal; None if `last_fee` is None."""
    @property
    def last_fee_currency(self) -> str | None:
        """Currency of `last_fee`; None without a fill or if not sent."""

@final
class InstrumentUpdate(Event):
    """A new or changed instrument."""

    @property
    def instrument(self) -> dict[str, Any]:
        """The instrument with the keys of the REST API, such as `priceIncrement`. Absent fields have no key."""

@final
class BalanceUpdate(Event):
    """A balance of our account; `symbol` is the currency."""

    @property
    def total(self) -> float:
        """The whole balance, in the currency `symbol`."""
    @property
    def total_decimal(self) -> Decimal:
        """`total` as an exact Decimal."""
    @property
    def available(self) -> float:
        """The part of `total` that open orders do not hold, in the currency `symbol`."""
    @property
    def available_decimal(self) -> Decimal:
        """`available` as an exact Decimal."""

@final
class RiskControl(Event):
    """A risk check that tripped or cleared."""

    @property
    def strategy_id(self) -> str:
        """Id of the instance whose order was checked."""
    @property
    def status(self) -> str:
        """`TRIGGERED` or `CLEARED`."""
    @property
    def reason(self) -> str:
        """Explanation in one sentence."""
    @property
    def breach_type(self) -> str:
        """Code of the limit that was breached."""
    @property
    def metrics(self) -> dict[str, str]:
        """The values that were checked, by name; empty if there are none."""
    @property
    def kill_switch_engaged(self) -> bool:
        """Whether the kill switch blocks new orders."""
    @property
    def circuit_breaker_open(self) -> bool:
        """Whether the circuit breaker blocks new orders."""

@final
class Extension(Event):
    """Free-form data from an adapter or another lambda."""

    @property
    def name(self) -> str:
        """Name of the extension, as in `Lambda.emit(name, payload)`."""
    @property
    def payload(self) -> Any:
        """The data, parsed from JSON at each access."""

@final
class BookGap(Event):
    """A gap in a venue's sequence of book updates: the ids from `expected` up to `seen` are missing."""

    @property
    def expected(self) -> int:
        """The id that should have come next."""
    @property
    def seen(self) -> int:
        """The id that came instead."""

@final
class MarketStale(Event):
    """A symbol's book is not valid until its next `BookSnapshot`."""

    @property
    def reason(self) -> Literal["gap", "crossed", "checksum", "no_snapshot", "overflow", "disconnected"]:
        """Why the book is stale.

        - `gap`: updates were lost.
        - `crossed`: the best bid reached the best ask.
        - `checksum`: the venue's checksum differs from ours.
        - `no_snapshot`: no usable snapshot came while updates were waiting for one.
        - `overflow`: a number of the venue does not fit the book.
        - `disconnected`: the connection was lost.
        """
