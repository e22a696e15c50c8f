"""Settings of risk: the limits of one scope, and the tightest of several scopes.

A limit exists at three scopes: global, provider, instance. A scope without a value does not limit.
`Resolved` holds what applies to one order whatever the scope: for each of these, the tightest value wins. The
limits that are compared with the exposure of a scope (position, notional, open orders) stay with their scope.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, TypeVar, cast

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from meltica.model.enums import OrderType
from meltica.model.symbols import currency
from meltica.validation.models import fault
from meltica.validation.section import Amount, Positive, Section, words


def _currency(value: str) -> str:
    try:
        return currency(value)
    except ValueError as error:
        raise fault(str(error)) from None


Currency = Annotated[str, AfterValidator(_currency)]
"""A currency, in the form of the parts of symbols."""

_Number = TypeVar("_Number", int, Decimal)
_NS = 1_000_000_000
_PERCENT = Decimal("0.01")


def _order_types(value: object) -> object:
    names = {kind.value.lower(): kind.value for kind in OrderType}
    listed = words(value)
    if not isinstance(listed, list):
        return listed
    items = cast(list[object], listed)
    return [names.get(item.strip().lower(), item) if isinstance(item, str) else item for item in items]


OrderTypes = Annotated[
    tuple[Literal["Limit", "Market"], ...],
    BeforeValidator(_order_types),
    AfterValidator(lambda value: tuple(dict.fromkeys(value))),
]
"""Names of order types in any case, each once."""


class CircuitBreakerLimits(Section):
    """Pauses the orders of an instance after several breaches."""

    enabled: bool = True
    threshold: int = Field(default=4, ge=1)
    """Breaches within 10 minutes that open the breaker."""
    cooldown: Positive = timedelta(seconds=90)
    """Length of the pause. The count of breaches restarts with it."""


class RiskLimits(Section):
    """The limits of one scope. An absent limit does not limit this scope."""

    max_position_size: Amount | None = Field(default=None, gt=0)
    """Largest position in a symbol, open buy orders included, in its base currency."""
    max_notional_value: Amount | None = Field(default=None, gt=0)
    """Largest value of the position in a symbol, open buy orders included, in `notionalCurrency`."""
    notional_currency: Currency | None = None
    """Currency of `maxNotionalValue` and `maxDailyLoss`; by default, that of the next wider scope."""
    order_throttle: Amount | None = Field(default=None, gt=0, le=1_000_000)
    """Orders per second."""
    order_burst: int | None = Field(default=None, ge=1, le=1_000_000)
    """Orders that may leave at once."""
    max_concurrent_orders: int | None = Field(default=None, ge=0)
    """Open orders in a symbol; 0 disables the limit at this scope."""
    max_open_orders: int | None = Field(default=None, ge=1)
    """Open orders in all symbols together."""
    max_order_size: Amount | None = Field(default=None, gt=0)
    """Largest quantity of an order, in the base currency."""
    price_band_percent: Amount | None = Field(default=None, ge=0, lt=100)
    """Largest distance of a price from the market; 0 disables the limit at this scope."""
    allowed_order_types: OrderTypes | None = None
    """An empty list allows all types."""
    max_daily_loss: Amount | None = Field(default=None, gt=0)
    """Largest loss in a UTC day, in `notionalCurrency`."""
    stale_market_seconds: Amount | None = Field(default=None, gt=0, le=86_400)
    """Seconds after which a price counts as stale."""
    max_feed_lag: Positive | None = None
    """Largest delay of market data above its usual delay."""
    kill_switch_enabled: bool | None = None
    """Whether `maxRiskBreaches` halts an instance, and whether orders that the venue rejects are breaches."""
    max_risk_breaches: int | None = Field(default=None, ge=0)
    """Breaches within 10 minutes that halt the instance; 0 disables the limit at this scope."""
    circuit_breaker: CircuitBreakerLimits | None = None
    max_drawdown_percent: Amount | None = Field(default=None, gt=0, le=100)
    """Largest fall of the profit from its peak, in percent of the equity."""


class GlobalRiskLimits(RiskLimits):
    """The limits of the gateway as a whole."""

    max_position_size: Amount | None = Field(default=Decimal(250), gt=0)
    max_notional_value: Amount | None = Field(default=Decimal(50_000), gt=0)
    notional_currency: Currency | None = "USDT"
    order_throttle: Amount | None = Field(default=Decimal(5), gt=0, le=1_000_000)
    order_burst: int | None = Field(default=3, ge=1, le=1_000_000)
    max_concurrent_orders: int | None = Field(default=6, ge=0)
    price_band_percent: Amount | None = Field(default=Decimal("1.0"), ge=0, lt=100)
    allowed_order_types: OrderTypes | None = ("Limit", "Market")
    kill_switch_enabled: bool | None = True
    max_risk_breaches: int | None = Field(default=3, ge=0)
    circuit_breaker: CircuitBreakerLimits | None = CircuitBreakerLimits()


class InstanceRiskLimits(RiskLimits):
    """The limits of one lambda."""

    capital: Amount | None = Field(default=None, gt=0)
    """Capital of the lambda, in `notionalCurrency`: `maxDrawdownPercent` is measured against it."""

    @field_validator("capital")
    @classmethod
    def _required(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        if value is None and info.data.get("max_drawdown_percent") is not None:
            raise fault("expected an amount: `maxDrawdownPercent` is measured against it")
        return value


LIVE_LIMITS = (
    "max_position_size",
    "max_notional_value",
    "price_band_percent",
    "max_daily_loss",
    "stale_market_seconds",
)
"""The limits that a provider for real money states itself."""


def missing_for_live(limits: RiskLimits) -> list[str]:
    """Returns the keys that a provider needs before it may trade real money."""
    aliases = {name: field.alias or name for name, field in RiskLimits.model_fields.items()}
    return [aliases[name] for name in LIVE_LIMITS if not getattr(limits, name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The tightest values of all scopes of an order."""

    allowed_types: frozenset[str]
    max_order_size: Decimal | None
    band_percent: Decimal | None
    lower_factor: Decimal | None
    """The lower edge of the price band is the reference times this."""
    upper_factor: Decimal | None
    stale_ns: int | None
    max_lag_ns: int | None
    kill_switch: bool
    max_breaches: int | None
    breaker_threshold: int | None
    breaker_cooldown_ns: int


def resolve(scopes: Sequence[RiskLimits]) -> Resolved:
    """Returns the tightest values of the limits of several scopes."""
    band = _least([limits.price_band_percent or None for limits in scopes])
    types = set(OrderType)
    for limits in scopes:
        if limits.allowed_order_types:
            types &= {OrderType(kind) for kind in limits.allowed_order_types}
    breakers = [limits.circuit_breaker for limits in scopes if limits.circuit_breaker is not None]
    breakers = [breaker for breaker in breakers if breaker.enabled]
    stale = _least([limits.stale_market_seconds for limits in scopes])
    return Resolved(
        allowed_types=frozenset(types),
        max_order_size=_least([limits.max_order_size for limits in scopes]),
        band_percent=band,
        lower_factor=None if band is None else 1 - band * _PERCENT,
        upper_factor=None if band is None else 1 + band * _PERCENT,
        stale_ns=None if stale is None else int(stale * _NS),
        max_lag_ns=_least([nanoseconds(limits.max_feed_lag) for limits in scopes]),
        kill_switch=any(limits.kill_switch_enabled for limits in scopes),
        max_breaches=_least([limits.max_risk_breaches or None for limits in scopes]),
        breaker_threshold=min((breaker.threshold for breaker in breakers), default=None),
        breaker_cooldown_ns=max((nanoseconds(breaker.cooldown) or 0 for breaker in breakers), default=0),
    )


def nanoseconds(duration: timedelta | None) -> int | None:
    """Converts a duration to whole nanoseconds, exactly."""
    return None if duration is None else duration // timedelta(microseconds=1) * 1000


def _least(values: Sequence[_Number | None]) -> _Number | None:
    return min((value for value in values if value is not None), default=None)
