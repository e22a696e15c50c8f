"""How much of each limit of a scope is used, for operators. Nothing here decides on an order."""

from collections.abc import Iterator
from decimal import ROUND_CEILING, Context, Decimal, localcontext
from typing import NamedTuple

from meltica.trading.exact import EXACT, ZERO, divide
from meltica.trading.risk.limits import resolve
from meltica.trading.risk.market import Market, rate
from meltica.trading.risk.registry import Registry
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import GLOBAL, InstanceState, Lane, Scope, ScopeState

_HUNDRED = Decimal(100)
_PLACES = Decimal("0.0001")
_ROUNDED = Context(prec=400, rounding=ROUND_CEILING)


class Usage(NamedTuple):
    """One limit of a scope. A scope with several symbols has one for each where the limit is per symbol."""

    rule: str
    limit: Decimal
    used: Decimal | None
    """None while it cannot be valued, for example without a fresh price."""
    symbol: str | None = None
    currency: str | None = None


def usage(registry: Registry, scope: Scope, market: Market, now: int) -> list[Usage]:
    """Returns the limits of a scope with what is used of them."""
    state = registry.state(scope)
    with localcontext(EXACT):
        found = [
            *_exposures(registry, state, market, now),
            *_losses(registry, state),
            *_throttles(registry, state, now),
        ]
        if state.limits.max_open_orders:
            found.append(
                Usage(Rule.OPEN_ORDERS, Decimal(state.limits.max_open_orders), Decimal(state.open_orders))
            )
        if isinstance(state, InstanceState):
            found += _breaches(registry, state, now)
    return found


def _exposures(registry: Registry, state: ScopeState, market: Market, now: int) -> Iterator[Usage]:
    limits = state.limits
    for symbol, exposure in sorted(state.exposures.items()):
        if limits.max_position_size is not None:
            yield Usage(Rule.POSITION, limits.max_position_size, exposure.size, symbol)
        if limits.max_notional_value is not None:
            currency = registry.currency(state.scope)
            lanes = [
                each
                for each in registry.lanes.values()
                if state in each.states and each.listing.symbol == symbol
            ]
            values = [_value(each, exposure.held, exposure.cost, currency, market, now) for each in lanes]
            known = [value for value in values if value is not None]
            used = max(known, default=ZERO) if len(known) == len(values) else None
            yield Usage(Rule.NOTIONAL, limits.max_notional_value, used, symbol, currency)
        if limits.max_concurrent_orders:
            limit = Decimal(limits.max_concurrent_orders)
            yield Usage(Rule.CONCURRENT_ORDERS, limit, Decimal(exposure.orders), symbol)


def _value(
    lane: Lane, held: Decimal, cost: Decimal, currency: str, market: Market, now: int
) -> Decimal | None:
    """Returns the value of an exposure at the prices of a lane; None without a fresh one."""
    base, quote = lane.listing.base.currency, lane.listing.quote.currency
    provider, stale = lane.listing.provider, lane.limits.stale_ns
    value = cost
    if held:
        price = rate(market, provider, base, quote, now, stale)
        if price is None:
            return None
        value += held * price
    if value and quote != currency:
        factor = rate(market, provider, quote, currency, now, stale)
        if factor is None:
            return None
        value *= factor
    return value


def _losses(registry: Registry, state: ScopeState) -> Iterator[Usage]:
    limits, loss = state.limits, state.loss
    if limits.max_daily_loss is not None:
        used = None if loss.profit is None else loss.daily_loss
        yield Usage(Rule.DAILY_LOSS, limits.max_daily_loss, used, currency=registry.currency(state.scope))
    if limits.max_drawdown_percent is not None:
        used = None
        if loss.peak is not None and loss.profit is not None and loss.base:
            percent = divide((loss.peak - loss.profit) * _HUNDRED, loss.base)
            used = _ROUNDED.quantize(percent, _PLACES)
        yield Usage(Rule.DRAWDOWN, limits.max_drawdown_percent, used)


def _throttles(registry: Registry, state: ScopeState, now: int) -> Iterator[Usage]:
    listings = [each for each in registry.listings.values() if Scope.provider(each.provider) == state.scope]
    buckets = [(each.symbol, each.bucket) for each in listings] if listings else [(None, state.bucket)]
    for symbol, bucket in buckets:
        if bucket is not None:
            used = bucket.burst - bucket.available(now)
            yield Usage(Rule.THROTTLE, Decimal(bucket.burst), Decimal(used), symbol)


def _breaches(registry: Registry, state: InstanceState, now: int) -> Iterator[Usage]:
    scopes = [GLOBAL, *map(Scope.provider, state.symbols), state.scope]
    limits = resolve([registry.state(scope).limits for scope in scopes])
    used = Decimal(state.breaches.current(now))
    if limits.kill_switch and limits.max_breaches is not None:
        yield Usage("max_risk_breaches", Decimal(limits.max_breaches), used)
    if limits.breaker_threshold is not None:
        yield Usage("circuit_breaker", Decimal(limits.breaker_threshold), used)
