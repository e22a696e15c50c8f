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
    threshold: int
    cooldown: str
    """A duration such as `1m30s`."""


class RiskLimits(Schema, frozen=True, kw_only=True):
    """The limits of one scope; an absent one does not limit it."""

    max_position_size: Text = UNSET
    max_notional_value: Text = UNSET
    notional_currency: Text = UNSET
    order_throttle: Number = UNSET
    order_burst: Count = UNSET
    max_concurrent_orders: Count = UNSET
    max_open_orders: Count = UNSET
    max_order_size: Text = UNSET
    price_band_percent: Number = UNSET
    allowed_order_types: list[OrderType] | UnsetType = UNSET
    max_daily_loss: Text = UNSET
    max_drawdown_percent: Number = UNSET
    capital: Text = UNSET
    stale_market_seconds: Number = UNSET
    max_feed_lag: Text = UNSET
    """A duration such as `500ms`."""
    kill_switch_enabled: bool | UnsetType = UNSET
    max_risk_breaches: Count = UNSET
    circuit_breaker: CircuitBreaker | UnsetType = UNSET


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
    halted_by: str
    halted_at: int
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
    used: Text = UNSET
    """Open buy orders included; absent while it cannot be valued. A profit of the day is a negative loss."""
    distance: Text = UNSET
    """What is left; negative beyond the limit."""


class ScopeStatus(Schema, frozen=True, kw_only=True):
    """The state of one scope in one mode."""

    mode: Mode
    scope: str
    halted: bool
    open_orders: int
    breaches: int
    """The breaches of an instance within the last 10 minutes."""
    breaker_open_until: Count = UNSET
    """When the cooldown of the circuit breaker ends; absent while the breaker is closed."""
    profit: Text = UNSET
    """The latest valuation, in `notionalCurrency`; absent without one."""
    daily_loss: Text = UNSET
    peak: Text = UNSET
    limits: list[LimitUsage]
    """Limits whose use can be measured; `/risk/limits` has all."""


class TradingFault(Schema, frozen=True, kw_only=True):
    """What an operator has to look at."""

    kind: str
    detail: str
    provider: Text = UNSET
    mode: Mode | UnsetType = UNSET
    subject: Text = UNSET
    """The instance, the currency or the client order id that the fault is about."""


class RiskStatus(Schema, frozen=True, kw_only=True):
    """What is halted or wrong."""

    trading: bool
    """Whether trading was started: it is when an instance trades, or orders or positions are left."""
    halts: list[ActiveHalt]
    scopes: list[ScopeStatus]
    faults: list[TradingFault]
