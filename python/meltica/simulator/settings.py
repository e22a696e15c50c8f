"""Settings of the simulated market. Zero means zero."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self, cast

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PositiveFloat, model_validator

from meltica.model.symbols import canonical, currencies
from meltica.simulator import catalogue
from meltica.validation.models import fault
from meltica.validation.section import AdapterSettings
from meltica.validation.units import Duration, format_duration

_NONE = timedelta(0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Fee = Annotated[Decimal, Field(ge=0, lt=1, decimal_places=9)]
Positive = Annotated[Duration, Field(gt=_NONE)]
Interval = Annotated[Duration, Field(ge=_NONE)]
Delay = Annotated[Duration, Field(ge=_NONE, le=timedelta(hours=1))]
Chance = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[Decimal, Field(ge=0)]


def _spot(symbol: str) -> str:
    symbol = canonical(symbol)
    if symbol.count("-") != 1:
        raise fault(f"expected a spot symbol such as BTC-USDT, saw {symbol!r}")
    return symbol


class Listed(AdapterSettings):
    """A symbol that is traded."""

    symbol: Annotated[str, AfterValidator(_spot)]
    """`BASE-QUOTE`."""
    price: Annotated[Decimal, Field(gt=0)] | None = None
    """Where its price starts; the catalogue's by default."""
    rate: Annotated[float, Field(gt=0, le=1e8)] | None = None
    """Background orders and cancellations a second; by default as `trade_interval` or `rate` says."""


def _listed(value: object) -> object:
    return {"symbol": value} if isinstance(value, str) else value


class PriceModel(AdapterSettings):
    """How the price moves that the market is pulled to, a second of the venue's time."""

    drift: Annotated[float, Field(ge=-0.01, le=0.01)] = 0.0
    """Fraction it grows by."""
    volatility: Annotated[float, Field(ge=0, le=0.1)] = 0.0001
    """Standard deviation of its change, a fraction of it; 0.0001 is about 56 % a year."""
    shock_probability: Annotated[float, Field(ge=0, le=1)] = 0.0005
    """Probability of a shock."""
    shock_magnitude: Annotated[float, Field(ge=0, le=0.5)] = 0.002
    """Fraction that a shock moves it by, up or down."""


class TradeModel(AdapterSettings):
    """How much background orders are for, in base; small ones are most frequent."""

    min_quantity: Annotated[Decimal, Field(gt=0)] = Decimal("0.01")
    max_quantity: Annotated[Decimal, Field(gt=0)] = Decimal("1.5")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_quantity < self.min_quantity:
            least, most = self.min_quantity, self.max_quantity
            raise fault(f"expected `max_quantity` of `min_quantity` or more, saw {most} and {least}")
        return self


class BookModel(AdapterSettings):
    """How deep books are."""

    levels: Annotated[int, Field(ge=1, le=5000)] = 50
    """About how many prices a side has orders at."""
    max_mutation_width: Annotated[int, Field(ge=1)] | None = None
    """Most levels that one background order takes; half of `levels` by default."""

    @property
    def width(self) -> int:
        """Most levels that one background order takes."""
        return max(1, self.levels // 2) if self.max_mutation_width is None else self.max_mutation_width

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.width > self.levels:
            raise fault(
                f"expected `max_mutation_width` of at most `levels`, saw {self.width} and {self.levels}"
            )
        return self


class VenueBehavior(AdapterSettings):
    """What goes wrong on the way to and from the venue. Durations are the venue's time."""

    latency_min: Delay = _NONE
    """Least time that a request, and what is told, is on its way."""
    latency_max: Delay = _NONE
    """Most time that it is."""
    transient_error: Chance = 0.0
    """Probability of a request to fail: as likely before it was done as after."""
    disconnect_chance: Chance = 0.0
    """Probability, a second, that all connections are cut."""
    disconnect_for: Annotated[Delay, Field(gt=_NONE)] = timedelta(seconds=5)
    """How long the venue is away then."""
    reject: Chance = 0.0
    """Probability of a new order to be rejected for nothing."""
    report_late: Chance = 0.0
    """Probability of an order report or a balance to be late."""
    report_late_for: Annotated[Delay, Field(gt=_NONE)] = timedelta(seconds=1)
    """By how much; a reordered one waits for the next no longer."""
    report_duplicate: Chance = 0.0
    """Probability of an order report or a balance to be told twice."""
    report_reorder: Chance = 0.0
    """Probability of an order report or a balance to be told after the next one."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.latency_max < self.latency_min:
            least, most = format_duration(self.latency_min), format_duration(self.latency_max)
            raise fault(f"expected `latency_max` of `latency_min` or more, saw {most} and {least}")
        return self

    def options(self) -> dict[str, int | float]:
        """Returns it as the core takes it: durations in ns."""
        return {
            name: nanos(value) if isinstance(value, timedelta) else value
            for name, value in cast("dict[str, timedelta | float]", dict(self)).items()
        }


class MarketSettings(AdapterSettings):
    """What the market is like."""

    seed: Annotated[int, Field(ge=0, lt=1 << 64)] = 1
    """The same seed gives the same market."""
    symbols: list[Annotated[Listed, BeforeValidator(_listed)]] = Field(
        default=[Listed(symbol=symbol) for symbol in catalogue.SYMBOLS], min_length=1
    )
    """What is traded: symbols, or objects with `symbol`, `price` and `rate`."""
    rate: PositiveFloat | Literal["max"] | None = None
    """Background orders and cancellations a second of all symbols together, in place of `trade_interval`;
    `max` runs the venue's clock as fast as the computer can."""
    speed: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """How fast the venue's clock runs beside the wall's."""
    start: AwareDatetime | None = None
    """Where the venue's clock starts; at the present by default."""
    duration: Positive | None = None
    """Ends after so much of the venue's time; never by default."""
    trade_interval: Positive = timedelta(milliseconds=500)
    """Mean time between two background takers of a symbol."""
    ticker_interval: Interval = timedelta(seconds=1)
    """Least time between two tickers of a symbol; 0 is one with every change."""
    book_snapshot_interval: Interval = timedelta(milliseconds=100)
    """Least time between two books of a symbol; 0 is one with every change."""
    kline_interval: Annotated[Duration, Field(ge=timedelta(milliseconds=1))] = timedelta(minutes=1)
    """Length of a candle."""
    balance_update_interval: Interval = timedelta(seconds=3)
    """Time after which all balances are sent again; 0 sends what changes alone."""
    instrument_refresh_interval: Interval = timedelta(minutes=30)
    """Time after which all instruments are sent again; 0 sends them at the start alone."""
    price_model: PriceModel = PriceModel()
    trade_model: TradeModel = TradeModel()
    order_book: BookModel = BookModel()
    maker_fee: Fee = Decimal("0.001")
    """Part of what changes hands, in quote."""
    taker_fee: Fee = Decimal("0.002")
    """Part of what changes hands, in quote."""
    self_trade: Literal["allow", "expire_taker", "expire_maker", "expire_both"] = "expire_taker"
    """What happens when the account's orders meet each other."""
    balances: dict[str, Amount] | None = None
    """What the account starts with, by currency; else 1,000 of each base, 1,000,000 of each quote."""
    venue_behavior: VenueBehavior = VenueBehavior()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [listed.symbol for listed in self.symbols]
        for name in names:
            if names.count(name) > 1:
                raise fault(f"`symbols`: expected each symbol once, saw {name} twice")
        for currency in self.unknown_currencies(self.balances):
            raise fault(f"`balances`: expected currencies of the symbols, saw {currency}")
        return self

    def unknown_currencies(self, balances: Mapping[str, Decimal] | None) -> list[str]:
        """Returns the currencies among balances that no symbol has."""
        known = {currency for listed in self.symbols for currency in currencies(listed.symbol)}
        return [currency for currency in balances or {} if currency not in known]

    def options(self) -> dict[str, object]:
        """Returns what the core's market is made of."""
        return {
            "seed": self.seed,
            "start": None if self.start is None else nanos(self.start - _EPOCH),
            **self.price_model.model_dump(),
            **self.trade_model.model_dump(),
            "levels": self.order_book.levels,
            "max_mutation_width": self.order_book.width,
            "ticker_interval": nanos(self.ticker_interval),
            "book_snapshot_interval": nanos(self.book_snapshot_interval),
            "balance_update_interval": nanos(self.balance_update_interval),
            "kline_interval": nanos(self.kline_interval),
            "kline_name": format_duration(self.kline_interval),
            "maker_fee": self.maker_fee,
            "taker_fee": self.taker_fee,
            "self_trade": self.self_trade,
            "instrument_refresh_interval": nanos(self.instrument_refresh_interval),
            "behavior": self.venue_behavior.options(),
        }

    def listings(self, takers: float) -> list[dict[str, object]]:
        """Returns the symbols for the core; `takers` is the part of background actions that take."""
        each = 1 / (takers * self.trade_interval.total_seconds())
        if isinstance(self.rate, float):
            each = self.rate / len(self.symbols)
        return [
            {
                "instrument": catalogue.instrument(listed.symbol),
                "price": listed.price or catalogue.price(listed.symbol),
                "rate": listed.rate or each,
            }
            for listed in self.symbols
        ]

    def funds(self, balances: Mapping[str, Decimal] | None = None) -> Mapping[str, Decimal]:
        """Returns what an account starts with: its own `balances`, else those that all have."""
        given = self.balances if balances is None else balances
        if given is not None:
            return given
        pairs = [currencies(listed.symbol) for listed in self.symbols]
        bases = dict.fromkeys((base for base, _ in pairs), Decimal(1000))
        return bases | dict.fromkeys((quote for _, quote in pairs), Decimal(1_000_000))


def nanos(duration: timedelta) -> int:
    """Returns a duration in nanoseconds."""
    return duration // timedelta(microseconds=1) * 1000
