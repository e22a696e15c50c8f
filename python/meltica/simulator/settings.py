"""Settings of the simulated market."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal, Self, cast

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PositiveFloat, model_validator

from meltica.model.symbols import canonical, currencies, is_spot
from meltica.simulator import catalogue
from meltica.validation.models import fault
from meltica.validation.section import AdapterSettings
from meltica.validation.units import Duration, format_duration

if TYPE_CHECKING:
    from meltica._core import SyntheticMarket

_NONE = timedelta(0)
_FASTEST = 1e8
"""Highest rate of a symbol, per second."""
_SLOWEST = 1e-6
"""Lowest rate of a symbol; the market's clock cannot count the time between two events of a far lower one."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2200, 1, 1, tzinfo=UTC)
"""The clock counts nanoseconds in 64 bits, until 2262."""

Fee = Annotated[Decimal, Field(gt=-1, lt=1, decimal_places=9)]
Positive = Annotated[Duration, Field(gt=_NONE)]
Interval = Annotated[Duration, Field(ge=_NONE)]
Delay = Annotated[Duration, Field(ge=_NONE, le=timedelta(hours=1))]
Chance = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[Decimal, Field(ge=0, le=Decimal("1e18"), decimal_places=8)]


def _spot(symbol: str) -> str:
    try:
        symbol = canonical(symbol)
    except ValueError as error:
        raise fault(str(error)) from None
    if not is_spot(symbol):
        raise fault(f"expected a spot symbol such as BTC-USDT, saw {symbol!r}")
    return symbol


class Listed(AdapterSettings):
    """One symbol of the market."""

    symbol: Annotated[str, AfterValidator(_spot)]
    """`BASE-QUOTE`."""
    price: Annotated[Decimal, Field(ge=Decimal("0.01"), le=90_000_000_000)] | None = None
    """Start price; the catalogue's by default."""
    rate: Annotated[float, Field(ge=_SLOWEST, le=_FASTEST)] | None = None
    """Background orders and cancellations per second; by default from `trade_interval` or `rate`."""


def _listed(value: object) -> object:
    return {"symbol": value} if isinstance(value, str) else value


class PriceModel(AdapterSettings):
    """Movement of the reference price, per second of the venue's time."""

    drift: Annotated[float, Field(ge=-0.01, le=0.01)] = 0.0
    """Mean return."""
    volatility: Annotated[float, Field(ge=0, le=0.1)] = 0.0001
    """Standard deviation of the return; 0.0001 is about 56 % per year."""
    shock_probability: Annotated[float, Field(ge=0, le=1)] = 0.0005
    """Probability of a price shock."""
    shock_magnitude: Annotated[float, Field(ge=0, le=0.5)] = 0.002
    """Size of a shock, as a fraction of the price, up or down."""


class TradeModel(AdapterSettings):
    """Quantities of background orders, in base; small ones are most frequent."""

    min_quantity: Annotated[Decimal, Field(gt=0)] = Decimal("0.01")
    max_quantity: Annotated[Decimal, Field(gt=0)] = Decimal("1.5")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_quantity < self.min_quantity:
            least, most = self.min_quantity, self.max_quantity
            raise fault(f"expected `max_quantity` of `min_quantity` or more, saw {most} and {least}")
        return self


class BookModel(AdapterSettings):
    """Depth of the order books."""

    levels: Annotated[int, Field(ge=1, le=5000)] = 50
    """Approximate number of price levels per side."""
    max_mutation_width: Annotated[int, Field(ge=1)] | None = None
    """Maximum levels that one background order takes; half of `levels` by default."""

    @property
    def width(self) -> int:
        """Maximum levels that one background order takes."""
        return max(1, self.levels // 2) if self.max_mutation_width is None else self.max_mutation_width

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.width > self.levels:
            raise fault(
                f"expected `max_mutation_width` of at most `levels`, saw {self.width} and {self.levels}"
            )
        return self


class VenueBehavior(AdapterSettings):
    """Faults on the way to and from the venue. Durations are the venue's time."""

    latency_min: Delay = _NONE
    """Minimum delay of requests and updates."""
    latency_max: Delay = _NONE
    """Maximum delay of requests and updates."""
    transient_error: Chance = 0.0
    """Probability that a request fails, before or after it was executed."""
    disconnect_chance: Chance = 0.0
    """Probability per second that all connections are closed."""
    disconnect_for: Annotated[Delay, Field(gt=_NONE)] = timedelta(seconds=5)
    """Duration of a disconnect."""
    reject: Chance = 0.0
    """Probability that a new order is rejected without a reason."""
    report_late: Chance = 0.0
    """Probability that an order report or a balance is late."""
    report_late_for: Annotated[Delay, Field(gt=_NONE)] = timedelta(seconds=1)
    """Delay of a late report; a reordered one waits for the next at most as long."""
    report_duplicate: Chance = 0.0
    """Probability that an order report or a balance is sent twice."""
    report_reorder: Chance = 0.0
    """Probability that an order report or a balance is sent after the next one."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.latency_max < self.latency_min:
            least, most = format_duration(self.latency_min), format_duration(self.latency_max)
            raise fault(f"expected `latency_max` of `latency_min` or more, saw {most} and {least}")
        return self

    def options(self) -> dict[str, int | float]:
        """Returns the options for the core; durations are in ns."""
        return {
            name: nanos(value) if isinstance(value, timedelta) else value
            for name, value in cast("dict[str, timedelta | float]", dict(self)).items()
        }


TRADED = ("quote", "base", "received")
"""The fee currencies that depend on the traded symbol."""


class MarketSettings(AdapterSettings):
    """Settings of the market."""

    seed: Annotated[int, Field(ge=0, lt=1 << 64)] = 1
    """Seed of all randomness; the same seed gives the same market."""
    symbols: list[Annotated[Listed, BeforeValidator(_listed)]] = Field(
        default=[Listed(symbol=symbol) for symbol in catalogue.SYMBOLS], min_length=1
    )
    """Symbols, or objects with `symbol`, `price` and `rate`."""
    rate: PositiveFloat | Literal["max"] | None = None
    """Background orders and cancellations per second, for all symbols; replaces `trade_interval`. `max` runs
    the venue's clock as fast as possible."""
    speed: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Seconds of the venue's clock per second of wall time."""
    start: Annotated[AwareDatetime, Field(ge=_EPOCH, lt=_END)] | None = None
    """Start time of the venue's clock; now by default."""
    duration: Positive | None = None
    """Run time of the venue's clock; unlimited by default."""
    trade_interval: Annotated[Positive, Field(le=timedelta(days=1))] = timedelta(milliseconds=500)
    """Mean time between two background takers of a symbol."""
    ticker_interval: Interval = timedelta(seconds=1)
    """Minimum time between two tickers of a symbol; 0 sends every change."""
    book_snapshot_interval: Interval = timedelta(milliseconds=100)
    """Minimum time between two books of a symbol; 0 sends every change."""
    kline_interval: Annotated[Duration, Field(ge=timedelta(milliseconds=1))] = timedelta(minutes=1)
    """Length of a candle."""
    balance_update_interval: Interval = timedelta(seconds=3)
    """Time after which all balances are sent again; 0 sends changes only."""
    instrument_refresh_interval: Interval = timedelta(minutes=30)
    """Time after which all instruments are sent again; 0 sends them once."""
    price_model: PriceModel = PriceModel()
    trade_model: TradeModel = TradeModel()
    order_book: BookModel = BookModel()
    maker_fee: Fee = Decimal("0.001")
    """Fee rate; a negative one is a rebate."""
    taker_fee: Fee = Decimal("0.002")
    """Fee rate; a negative one is a rebate."""
    fee_currency: str = "quote"
    """`quote`, `base`, `received` (what each side receives), or a currency of the symbols."""
    fee_price: Annotated[Decimal, Field(gt=0)] | None = None
    """Price of the fee currency in quote; for a currency of the symbols only."""
    self_trade: Literal["allow", "expire_taker", "expire_maker", "expire_both"] = "expire_taker"
    """Policy for trades between orders of one account."""
    balances: dict[str, Amount] | None = None
    """Initial balances of the account; by default 1,000 of each base and 1,000,000 of each quote."""
    venue_behavior: VenueBehavior = VenueBehavior()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [listed.symbol for listed in self.symbols]
        for name in names:
            if names.count(name) > 1:
                raise fault(f"`symbols`: expected each symbol once, saw {name} twice")
        least, most = _SLOWEST * len(self.symbols), _FASTEST * len(self.symbols)
        if isinstance(self.rate, float) and not least <= self.rate <= most:
            each = f"{_SLOWEST:g} to {_FASTEST:g} for each of {len(self.symbols)} symbols"
            raise fault(f"`rate`: expected {least:g} to {most:g}, {each}, saw {self.rate:g}")
        for currency in self.unknown_currencies(self.balances):
            raise fault(f"`balances`: expected currencies of the symbols, saw {currency}")
        if self.fee_currency not in TRADED:
            if self.unknown_currencies({self.fee_currency: Decimal(0)}):
                named = ", ".join(TRADED)
                raise fault(
                    f"`fee_currency`: expected {named} or a currency of the symbols, saw {self.fee_currency}"
                )
            if self.fee_price is None:
                raise fault(f"`fee_price`: expected the price of {self.fee_currency} in quote, saw none")
        elif self.fee_price is not None:
            raise fault(f"`fee_price`: expected none for fees in {self.fee_currency}, saw {self.fee_price}")
        return self

    def unknown_currencies(self, balances: Mapping[str, Decimal] | None) -> list[str]:
        """Returns the currencies of `balances` that do not belong to a symbol."""
        currencies_traded = {currency for listed in self.symbols for currency in currencies(listed.symbol)}
        return [currency for currency in balances or {} if currency not in currencies_traded]

    def options(self) -> dict[str, object]:
        """Returns the options of the core's market."""
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

    def set_fees(self, market: "SyntheticMarket") -> None:
        """Sets the fee currency of a market; its options have the rates in quote."""
        if self.fee_currency != "quote":
            market.operator.set_fees(self.maker_fee, self.taker_fee, self.fee_currency, self.fee_price)

    def listings(self, takers: float) -> list[dict[str, object]]:
        """Returns the symbols for the core; `takers` is the fraction of background actions that take."""
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
        """Returns the initial balances of an account: its own `balances`, else the market's."""
        given = self.balances if balances is None else balances
        if given is not None:
            return given
        pairs = [currencies(listed.symbol) for listed in self.symbols]
        bases = dict.fromkeys((base for base, _ in pairs), Decimal(1000))
        return bases | dict.fromkeys((quote for _, quote in pairs), Decimal(1_000_000))


def nanos(duration: timedelta) -> int:
    """Returns a duration in nanoseconds."""
    return duration // timedelta(microseconds=1) * 1000
