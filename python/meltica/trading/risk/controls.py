"""`RiskControls`: notifies instances when risk begins or ceases to block their orders.

Halts, breakers and the lag of feeds begin and end by events, by time or by market data. So each tick of
trading compares what blocks an instance with what blocked it before. The caller holds the lock of trading.
"""

from collections.abc import Callable, Iterator, Mapping

from meltica.model.enums import Mode
from meltica.model.symbols import ANY
from meltica.model.trader import RiskNotice
from meltica.trading.order import Owner
from meltica.trading.risk import rules
from meltica.trading.risk.market import Market
from meltica.trading.risk.registry import Registry
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import GLOBAL, InstanceState, Lane, Scope

Notify = Callable[[RiskNotice], object]
"""Receives a notice; must not wait."""

_Active = dict[object, RiskNotice]
"""What blocks an instance now, each with the notice of its begin."""


class RiskControls:
    """The instances that are notified, and what blocks each of them."""

    def __init__(self, risks: Mapping[Mode, Risk], market: Market) -> None:
        self._risks = risks
        self._market = market
        self._watched: dict[Owner, tuple[Mapping[str, tuple[str, ...]], Notify]] = {}
        self._active: dict[Owner, _Active] = {}

    def watch(self, owner: Owner, scope: Mapping[str, tuple[str, ...]], notify: Notify) -> None:
        """Notifies an owner from now on, first of what blocks its orders already."""
        self._watched[owner] = (scope, notify)
        self._active[owner] = {}
        registry = self._risks[owner.mode].registry
        for provider, symbols in scope.items():
            for symbol in symbols:
                if symbol != ANY:
                    registry.lane(owner, provider, symbol)

    def forget(self, owner: Owner) -> None:
        """Notifies an owner no more."""
        self._watched.pop(owner, None)
        self._active.pop(owner, None)

    def check(self, now: int) -> None:
        """Notifies the owners of what has begun and of what has ended."""
        lagging = {mode: self._lagging(mode, now) for mode in self._risks}
        for owner, (scope, notify) in self._watched.items():
            before = self._active[owner]
            after = dict(_blocks(self._risks[owner.mode].registry, owner, scope, now))
            after |= lagging[owner.mode].get(owner, {})
            if before.keys() == after.keys():
                continue
            self._active[owner] = after
            halted = any(each.halted for each in after.values())
            is_open = any(each.breaker_open for each in after.values())
            for key in before.keys() - after.keys():
                notice = before[key]._replace(status="CLEARED", time=now)
                notify(notice._replace(halted=halted, breaker_open=is_open))
            for key in after.keys() - before.keys():
                notify(after[key]._replace(halted=halted, breaker_open=is_open))

    def _lagging(self, mode: Mode, now: int) -> dict[Owner, _Active]:
        """Returns the lagging feeds by owner. A symbol without a price is as it was."""
        found: dict[Owner, _Active] = {}
        for lane in self._risks[mode].registry.lanes.values():
            active = self._active.get(lane.owner)
            if active is None or lane.limits.max_lag_ns is None:
                continue
            key = (Rule.FEED_LAG, lane.listing.provider, lane.listing.symbol)
            quote = self._market.quote(lane.listing.provider, lane.listing.symbol)
            if key in active if quote is None else rules.lags(lane, quote):
                lag = None if quote is None else quote.lag
                notice = active[key] if key in active else _lag_notice(lane, lag, now)
                found.setdefault(lane.owner, {})[key] = notice
        return found


def _blocks(
    registry: Registry, owner: Owner, scope: Mapping[str, tuple[str, ...]], now: int
) -> Iterator[tuple[object, RiskNotice]]:
    """Yields the halts of an owner's scopes, and its breaker."""
    first = next(iter(scope), "")
    for name in (GLOBAL, *map(Scope.provider, scope), Scope.instance(owner)):
        state = registry.scopes.get(name)
        if state is None:
            continue
        provider = name.name if name.name in scope else first
        symbol = next(iter(scope.get(provider, ())), "")
        if (halt := state.halt) is not None:
            notice = RiskNotice(provider, symbol, "TRIGGERED", halt.rule, halt.reason, True, False, {}, now)
            yield (name, halt), notice
        if isinstance(state, InstanceState) and state.breaches.is_open(now):
            seconds = -(-(state.breaches.closed_at - now) // 1_000_000_000)
            text = f"the circuit breaker pauses orders for {seconds} s"
            rule = Rule.BREAKER_OPEN.value
            yield rule, RiskNotice(provider, symbol, "TRIGGERED", rule, text, False, True, {}, now)


def _lag_notice(lane: Lane, lag: int | None, now: int) -> RiskNotice:
    listing, limit = lane.listing, lane.limits.max_lag_ns or 0
    shown = "unknown" if lag is None else str(lag // 1_000_000)
    return RiskNotice(
        listing.provider,
        listing.symbol,
        "TRIGGERED",
        Rule.FEED_LAG.value,
        f"the feed of {listing.symbol} lags: orders that would rest are refused until it has passed",
        False,
        False,
        {"lag_ms": shown, "limit_ms": str(limit // 1_000_000)},
        now,
    )
