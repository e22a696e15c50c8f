"""What risk is configured with: limits, instances, instruments, and the state of providers."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from meltica.model.enums import Mode
from meltica.model.instruments import Instrument
from meltica.model.symbols import ANY, currencies
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.exact import ZERO
from meltica.trading.order import Owner
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits, resolve
from meltica.trading.risk.market import conversion_pairs
from meltica.trading.risk.scopes import (
    GLOBAL,
    Funds,
    InstanceState,
    Lane,
    LaneScope,
    Listing,
    Scope,
    ScopeState,
)
from meltica.trading.risk.throttle import Bucket

_NO_LIMITS = RiskLimits()


class Registry:
    """Scopes, listings and lanes of one mode. Live and paper orders never share a limit."""

    def __init__(self, mode: Mode, limits: GlobalRiskLimits) -> None:
        self.mode = mode
        self.scopes: dict[Scope, ScopeState] = {GLOBAL: ScopeState(GLOBAL, limits)}
        self.listings: dict[tuple[str, str], Listing] = {}
        self.lanes: dict[tuple[Owner, str, str], Lane] = {}
        self.fee_pairs: set[tuple[str, str, str]] = set()
        """Provider, currency of a fee that was paid, and the quote currency in which it is valued."""
        self._funds: dict[tuple[str, str], Funds] = {}
        self._reconciled: set[str] = set()
        self._resolve(self.scopes[GLOBAL])

    def set_limits(self, scope: Scope, limits: RiskLimits) -> None:
        """Replaces the limits of a scope. Exposures, halts, losses and breaches stay as they are."""
        state = self.state(scope)
        state.limits = limits
        self._resolve(state)

    def set_instance(
        self, owner: Owner, symbols: Mapping[str, tuple[str, ...]], limits: InstanceRiskLimits
    ) -> None:
        """Registers an instance with its scope (provider -> symbols) and its limits."""
        if owner.mode is not self.mode:
            raise ValueError(f"instance {owner.instance}: expected mode {self.mode}, saw {owner.mode}")
        state = self._instance(owner)
        state.symbols = dict(symbols)
        state.limits = limits
        self._refresh_ready(state)
        self._resolve(state)

    def remove_instance(self, owner: Owner) -> None:
        """Forgets an instance that was deleted; its halt, losses and breaches stay for the next of its name.

        Raises ValueError if it has a position or open orders.
        """
        lanes = [lane for lane in self.lanes.values() if lane.owner == owner]
        state = self._instance(owner)
        if state.open_orders or any(lane.position for lane in lanes):
            raise ValueError(f"instance {owner.instance} not removed: it has a position or open orders")
        for lane in lanes:
            del self.lanes[owner, lane.listing.provider, lane.listing.symbol]
        state.symbols = {}
        self._refresh_ready(state)

    def set_instrument(self, provider: str, instrument: Instrument, fee_rate: Decimal = ZERO) -> None:
        """Takes the rules of an instrument, and the highest fee rate that an order there may cost."""
        listing = self.listing(provider, instrument.symbol)
        listing.instrument = instrument
        listing.spend_factor = 1 + max(ZERO, fee_rate)

    def set_reconciled(self, provider: str, *, reconciled: bool) -> None:
        """Takes whether a provider is reconciled. Instances trade while all of their providers are."""
        (self._reconciled.add if reconciled else self._reconciled.discard)(provider)
        for state in self.scopes.values():
            if isinstance(state, InstanceState):
                self._refresh_ready(state)

    def set_difference(self, provider: str, currency: str, amount: Decimal) -> None:
        """Takes the unexplained part of a venue's balance.

        While it is not 0, orders that add risk in the currency are refused.
        """
        self._fund(provider, currency).difference = amount

    def symbols(self, provider: str) -> set[str]:
        """Returns the symbols of a provider that are in the scope of an instance."""
        scoped: set[str] = set()
        for state in self.scopes.values():
            if isinstance(state, InstanceState):
                scoped.update(state.symbols.get(provider, ()))
        if ANY in scoped:
            scoped |= {symbol for name, symbol in self.listings if name == provider}
        return scoped - {ANY}

    def held(self, provider: str, currency: str) -> Decimal:
        """Returns what the open and unsent orders of all instances may spend of a currency."""
        found = self._funds.get((provider, currency))
        return ZERO if found is None else found.held

    def state(self, scope: Scope) -> ScopeState:
        """Returns a scope; a new one has no limits."""
        found = self.scopes.get(scope)
        if found is None:
            kind = InstanceState if scope.kind is HaltScope.INSTANCE else ScopeState
            found = self.scopes[scope] = kind(scope, _NO_LIMITS)
        return found

    def buckets(self, state: ScopeState) -> list[Bucket]:
        """Returns the throttles of a scope; a provider has one per symbol."""
        if state.scope.kind is not HaltScope.PROVIDER:
            return [] if state.bucket is None else [state.bucket]
        listings = [each for each in self.listings.values() if each.provider == state.scope.name]
        return [listing.bucket for listing in listings if listing.bucket is not None]

    def currency(self, scope: Scope) -> str:
        """Returns the `notionalCurrency` of a scope: its own, or that of the global scope."""
        return (
            self.state(scope).limits.notional_currency or self.scopes[GLOBAL].limits.notional_currency or ""
        )

    def conversion_routes(self) -> set[tuple[str, str]]:
        """Returns the (provider, symbol) whose prices convert what the instances may trade.

        Of a pair and its inverse, a venue lists at most one.
        """
        routes = {
            (provider, pair)
            for provider, currency, into in self.fee_pairs
            for pair in conversion_pairs(currency, into)
        }
        for state in list(self.scopes.values()):
            if not isinstance(state, InstanceState):
                continue
            for provider, symbols in state.symbols.items():
                listed = [symbol for name, symbol in self.listings if name == provider]
                into = {self.currency(scope) for scope in (GLOBAL, Scope.provider(provider), state.scope)}
                for symbol in listed if ANY in symbols else symbols:
                    for currency in into - {""}:
                        pairs = conversion_pairs(currencies(symbol)[1], currency)
                        routes.update((provider, pair) for pair in pairs)
        return routes

    def listing(self, provider: str, symbol: str) -> Listing:
        """Returns a symbol at a provider."""
        found = self.listings.get((provider, symbol))
        if found is None:
            base, quote = currencies(symbol)
            found = Listing(provider, symbol, self._fund(provider, base), self._fund(provider, quote))
            self.listings[provider, symbol] = found
            self._resolve_bucket(found)
        return found

    def may_trade(self, owner: Owner, provider: str, symbol: str) -> bool:
        """Returns whether an instance is registered and has the symbol in its scope."""
        state = self.scopes.get(Scope.instance(owner))
        return isinstance(state, InstanceState) and owner.mode is self.mode and state.allows(provider, symbol)

    def lane(self, owner: Owner, provider: str, symbol: str) -> Lane:
        """Returns the lane of an owner in a symbol at a provider."""
        key = (owner, provider, symbol)
        found = self.lanes.get(key)
        if found is None:
            instance = self._instance(owner)
            states = (self.state(GLOBAL), self.state(Scope.provider(provider)), instance)
            first, second, third = (state.exposure(symbol) for state in states)
            found = Lane(
                owner=owner,
                listing=self.listing(provider, symbol),
                instance=instance,
                exposures=(first, second, third),
                states=states,
                scopes=(),
                limits=resolve([state.limits for state in states]),
                buckets=(),
                losses=(),
            )
            self.lanes[key] = found
            self._resolve_lane(found)
        return found

    def _instance(self, owner: Owner) -> InstanceState:
        state = self.state(Scope.instance(owner))
        assert isinstance(state, InstanceState)
        return state

    def _fund(self, provider: str, currency: str) -> Funds:
        return self._funds.setdefault((provider, currency), Funds(provider, currency))

    def _refresh_ready(self, state: InstanceState) -> None:
        state.ready = bool(state.symbols) and self._reconciled.issuperset(state.symbols)

    def _resolve(self, changed: ScopeState) -> None:
        """Applies the limits of a scope to its throttles and lanes."""
        kind = changed.scope.kind
        if kind is not HaltScope.PROVIDER:
            changed.bucket = self._bucket(changed.bucket, [changed.limits])
        if kind is not HaltScope.INSTANCE:
            for listing in self.listings.values():
                self._resolve_bucket(listing)
        for lane in self.lanes.values():
            if any(state is changed for state in lane.states):
                self._resolve_lane(lane)

    def _resolve_bucket(self, listing: Listing) -> None:
        provider = self.state(Scope.provider(listing.provider)).limits
        listing.bucket = self._bucket(listing.bucket, [provider, self.scopes[GLOBAL].limits])

    def _bucket(self, now: Bucket | None, limits: Iterable[RiskLimits]) -> Bucket | None:
        wanted = next((each for each in limits if each.order_throttle is not None), None)
        if wanted is None or wanted.order_throttle is None:
            return None
        burst = wanted.order_burst or self.scopes[GLOBAL].limits.order_burst or 1
        return Bucket(wanted.order_throttle, burst, now.full_at if now is not None else 0)

    def _resolve_lane(self, lane: Lane) -> None:
        common = self.scopes[GLOBAL].limits.notional_currency or ""
        lane.limits = resolve([state.limits for state in lane.states])
        scopes = [_lane_scope(state, lane.listing.symbol, common) for state in lane.states]
        lane.scopes = tuple(scope for scope in scopes if any(scope[2:4]) or any(scope[5:]))
        named = [
            ("global", lane.states[0].bucket),
            (f"{lane.listing.provider} {lane.listing.symbol}", lane.listing.bucket),
            (str(lane.states[2].scope), lane.states[2].bucket),
        ]
        lane.buckets = tuple((name, each) for name, each in named if each is not None)
        lane.reserve = self._bucket(lane.reserve, [state.limits for state in reversed(lane.states)])
        lane.losses = tuple(
            (state, state.loss, state.limits.max_drawdown_percent is not None)
            for state in lane.states
            if state.limits.max_daily_loss is not None or state.limits.max_drawdown_percent is not None
        )


def _lane_scope(state: ScopeState, symbol: str, currency: str) -> LaneScope:
    limits = state.limits
    return LaneScope(
        state=state,
        exposure=state.exposure(symbol),
        max_position=limits.max_position_size,
        max_notional=limits.max_notional_value,
        currency=limits.notional_currency or currency,
        max_concurrent=limits.max_concurrent_orders or 0,
        max_open=limits.max_open_orders or 0,
    )
