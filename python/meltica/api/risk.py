"""`/risk`: the limits, and what is halted or wrong. Times are milliseconds; amounts are exact, as text."""

from typing import Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.model.enums import Mode, OrderType

Text = str | UnsetType
Number = float | UnsetType
Count = int | UnsetType


class CircuitBreaker(Schema, frozen=True, kw_only=True):
    """The circuit breaker of a scope."""

    enabled: bool
    """Whether it pauses the orders of an instance after several breaches."""
    threshold: int
    """Breaches within 10 minutes that open it."""
    cooldown: str
    """A duration such as `1m30s`."""


class RiskLimits(Schema, frozen=True, kw_only=True):
    """The limits of one scope; an absent one does not limit it."""

    max_position_size: Text = UNSET
    """Largest position in a symbol, open buy orders included, in its base currency."""
    max_notional_value: Text = UNSET
    """Largest value of the position in a symbol, open buy orders included, in `notionalCurrency`."""
    notional_currency: Text = UNSET
    """Currency of values and losses; if absent, that of the next wider scope."""
    order_throttle: Number = UNSET
    """Orders per second."""
    order_burst: Count = UNSET
    """Orders that may leave at once."""
    max_concurrent_orders: Count = UNSET
    """Open orders in a symbol; 0 does not limit."""
    max_open_orders: Count = UNSET
    """Open orders in all symbols together."""
    max_order_size: Text = UNSET
    """Largest quantity of an order, in the base currency."""
    price_band_percent: Number = UNSET
    """Largest distance of a price from the market, in percent; 0 does not limit."""
    allowed_order_types: list[OrderType] | UnsetType = UNSET
    """An empty list allows all types."""
    max_daily_loss: Text = UNSET
    """Largest loss in a UTC day, in `notionalCurrency`."""
    max_drawdown_percent: Number = UNSET
    """Largest fall of the profit from its peak, in percent of the equity."""
    capital: Text = UNSET
    """Of an instance: what `maxDrawdownPercent` is measured against, in `notionalCurrency`."""
    stale_market_seconds: Number = UNSET
    """Seconds after which a price counts as stale."""
    max_feed_lag: Text = UNSET
    """A duration such as `500ms`."""
    kill_switch_enabled: bool | UnsetType = UNSET
    """Whether `maxRiskBreaches` halts an instance, and whether rejections by the venue count."""
    max_risk_breaches: Count = UNSET
    """Breaches within 10 minutes that halt an instance; 0 does not limit."""
    circuit_breaker: CircuitBreaker | UnsetType = UNSET
    """Pauses the orders of an instance after several breaches."""


class RiskLimitsOfScopes(Schema, frozen=True, kw_only=True):
    """The limits of all scopes. They apply to live and to paper orders, each with its own exposure."""

    limits: RiskLimits
    """The global scope."""
    providers: dict[str, RiskLimits]
    """The providers that have limits of their own."""
    instances: dict[str, RiskLimits]
    """The instances that have limits of their own."""
    status: Literal["updated"] | UnsetType = UNSET
    """In the answer to a change."""


class ActiveHalt(Schema, frozen=True, kw_only=True):
    """Why a scope is halted: only orders that reduce and cancels pass."""

    scope: str
    """`global`, `provider:NAME` or `instance:ID`."""
    rule: str
    """The rule that halted it, or `operator`."""
    reason: str
    """Why, as the operator or the rule says it."""
    halted_by: str
    """The client, or the rule, that halted it."""
    halted_at: int
    """When, in milliseconds."""
    mode: Mode | UnsetType = UNSET
    """The mode that it stops; absent if it stops both."""


class LimitUsage(Schema, frozen=True, kw_only=True):
    """A limit of a scope, and how much of it is used: `used` + `distance` = `limit`."""

    rule: str
    """The rule that refuses orders at the limit, such as `max_position_size`; `throttle` counts orders."""
    symbol: Text = UNSET
    """Of a limit for each symbol."""
    currency: Text = UNSET
    """Of a value or a loss."""
    limit: str
    """The limit, in the unit of `used`."""
    used: Text = UNSET
    """Open buy orders included; absent while it cannot be valued. A profit of the day is a negative loss."""
    distance: Text = UNSET
    """What is left; negative beyond the limit."""


class ScopeStatus(Schema, frozen=True, kw_only=True):
    """The state of one scope in one mode."""

    mode: Mode
    scope: str
    halted: bool
    """Whether only orders that reduce and cancels pass."""
    open_orders: int
    """Orders that have not ended."""
    breaches: int
    """The breaches of an instance within the last 10 minutes."""
    breaker_open_until: Count = UNSET
    """When the cooldown of the circuit breaker ends; absent while the breaker is closed."""
    profit: Text = UNSET
    """The latest valuation, in `notionalCurrency`; absent without one."""
    daily_loss: Text = UNSET
    """Loss of the UTC day, in `notionalCurrency`; negative for a profit."""
    peak: Text = UNSET
    """The highest profit, in `notionalCurrency`."""
    limits: list[LimitUsage]
    """Limits whose use can be measured; `/risk/limits` has all."""


class TradingFault(Schema, frozen=True, kw_only=True):
    """What an operator has to look at."""

    kind: str
    """What is wrong; never reworded."""
    detail: str
    """Text for people."""
    provider: Text = UNSET
    mode: Mode | UnsetType = UNSET
    subject: Text = UNSET
    """The instance, the currency or the client order id that the fault is about."""


class RiskStatus(Schema, frozen=True, kw_only=True):
    """What is halted or wrong."""

    trading: bool
    """Whether trading was started: it is when an instance trades, or orders or positions are left."""
    halts: list[ActiveHalt]
    """Scopes that are halted."""
    scopes: list[ScopeStatus]
    """The state of each scope in each mode."""
    faults: list[TradingFault]
    """What an operator has to look at."""
