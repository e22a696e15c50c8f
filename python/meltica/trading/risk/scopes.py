"""What risk keeps per scope, per listing and per lane.

A lane is one owner trading one symbol at one provider. It holds direct references to everything that its
orders are checked against, so an approval makes one look-up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from meltica.model.enums import Mode
from meltica.model.instruments import Instrument
from meltica.model.symbols import ANY
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.exact import ZERO
from meltica.trading.order import Owner
from meltica.trading.risk.breaker import Breaches
from meltica.trading.risk.limits import Resolved, RiskLimits
from meltica.trading.risk.loss import Loss
from meltica.trading.risk.throttle import Bucket


class Scope(NamedTuple):
    """What limits and halts apply to. `str()` is its name in rows and messages, such as `instance:maker`."""

    kind: HaltScope
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}" if self.name else self.kind.value

    @classmethod
    def provider(cls, name: str) -> "Scope":
        """Returns the scope of a provider."""
        return cls(HaltScope.PROVIDER, name)

    @classmethod
    def instance(cls, owner: Owner) -> "Scope":
        """Returns the scope of an instance; a shadow has one of its own."""
        name = owner.instance if owner.revision is None else f"{owner.instance}@{owner.revision}"
        return cls(HaltScope.INSTANCE, name)


GLOBAL = Scope(HaltScope.GLOBAL)


class Halt(NamedTuple):
    """Why the orders of a scope are halted, since when and by whom."""

    rule: str
    reason: str
    by: str
    """An operator, or `meltica`."""
    since: int
    mode: Mode | None = None
    """The mode that it stops; None for both."""


@dataclass(slots=True, eq=False)
class Exposure:
    """The exposure of one scope in one symbol, over all providers and instances of the scope."""

    held: Decimal = ZERO
    """Sum of the positions above zero."""
    size: Decimal = ZERO
    """`held` and the quantity of all open buy orders."""
    cost: Decimal = ZERO
    """Quantity x worst price of all open buy orders, in the quote currency."""
    orders: int = 0
    """Open orders, sells included."""


@dataclass(slots=True, eq=False)
class ScopeState:
    """One scope: its limits, exposures and halt."""

    scope: Scope
    limits: RiskLimits
    halt: Halt | None = None
    open_orders: int = 0
    exposures: dict[str, Exposure] = field(default_factory=dict[str, Exposure])
    """Symbol -> exposure."""
    loss: Loss = field(default_factory=Loss)
    bucket: Bucket | None = None

    def exposure(self, symbol: str) -> Exposure:
        """Returns the exposure in a symbol."""
        return self.exposures.setdefault(symbol, Exposure())


@dataclass(slots=True, eq=False)
class InstanceState(ScopeState):
    """The scope of an instance."""

    symbols: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Provider -> the symbols that the instance may trade there."""
    ready: bool = False
    """Whether every provider of the instance is reconciled."""
    breaches: Breaches = field(default_factory=Breaches)

    def allows(self, provider: str, symbol: str) -> bool:
        """Returns whether the instance may trade a symbol at a provider."""
        symbols = self.symbols.get(provider, ())
        return symbol in symbols or ANY in symbols


@dataclass(slots=True, eq=False)
class Funds:
    """One currency at one provider."""

    provider: str
    currency: str
    held: Decimal = ZERO
    """What the open and unsent orders of all instances may spend."""
    difference: Decimal = ZERO
    """The unexplained part of the venue's balance."""


@dataclass(slots=True, eq=False)
class Listing:
    """One symbol at one provider, for all instances."""

    provider: str
    symbol: str
    base: Funds
    quote: Funds
    instrument: Instrument | None = None
    spend_factor: Decimal = Decimal(1)
    """1 + the highest fee rate: what a buy order spends is its cost times this."""
    bucket: Bucket | None = None
    unknown: set[UUID] = field(default_factory=set[UUID])
    """Orders whose state at the venue is unknown."""


class LaneScope(NamedTuple):
    """A scope as a lane is checked against it."""

    state: ScopeState
    exposure: Exposure
    max_position: Decimal | None
    max_notional: Decimal | None
    currency: str
    """Of `max_notional`."""
    max_concurrent: int
    """0: no limit."""
    max_open: int
    """0: no limit."""


@dataclass(slots=True, eq=False)
class Lane:
    """One owner trading one symbol at one provider."""

    owner: Owner
    listing: Listing
    instance: InstanceState
    exposures: tuple[Exposure, Exposure, Exposure]
    states: tuple[ScopeState, ScopeState, ScopeState]
    """Global, provider, instance."""
    scopes: tuple[LaneScope, ...]
    limits: Resolved
    buckets: tuple[tuple[str, Bucket], ...]
    """Name and bucket of the throttles, which other lanes share. Orders that only reduce count in them."""
    losses: tuple[tuple[ScopeState, Loss, bool], ...]
    """The scopes that limit the daily loss or the drawdown, and whether it is the drawdown."""
    reserve: Bucket | None = None
    """The throttle of orders that only reduce: orders of others never keep a lane from reducing."""
    position: Decimal = ZERO
    sells: Decimal = ZERO
    """Quantity of the open sell orders."""

    def take_tokens(self, now: int, *, reduce_only: bool) -> None:
        """Counts an order in the throttles."""
        for _, bucket in self.buckets:
            bucket.take(now)
        if reduce_only and self.reserve is not None:
            self.reserve.take(now)

    def set_position(self, quantity: Decimal) -> None:
        """Takes the position as it is after a fill."""
        change = max(quantity, ZERO) - max(self.position, ZERO)
        self.position = quantity
        if change:
            for exposure in self.exposures:
                exposure.held += change
                exposure.size += change
