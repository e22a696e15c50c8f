"""`/strategy/instances`: instances of strategies, their states and their counters."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType, field

from meltica.api.envelope import JsonObject, Schema
from meltica.api.positions import Position
from meltica.model.enums import Mode
from meltica.runtime.lifecycle import Desired, InstanceState
from meltica.validation.section import Name, Section


class InstanceUsage(Schema, frozen=True, kw_only=True):
    """The use of the revision that an instance is pinned to."""

    strategy: str
    """The name of its module."""
    hash: str
    """The revision."""
    count: int
    """How many instances are pinned to the revision, this one included."""
    running: bool
    """Whether any of them runs."""


class InstanceLinks(Schema, frozen=True, kw_only=True):
    """Paths of an instance."""

    own: str = field(name="self")
    """The path of its detail."""
    usage: str | UnsetType = UNSET
    """The path of the use of its revision; absent for a strategy that is not an uploaded module."""


class InstanceBase(Schema, frozen=True, kw_only=True):
    """The keys of both the summary and the detail of an instance."""

    id: str
    """The id of the instance."""
    providers: list[str]
    """The providers of its scope."""
    aggregated_symbols: list[str]
    """The symbols of its scope; `*` is all symbols."""
    running: bool
    """True if `status` is `running` or `stuck`."""
    baseline: bool
    """Whether it is in the config file."""
    dynamic: bool
    """Whether it was created at run time."""
    status: InstanceState
    """The actual state."""
    last_error: str | UnsetType = UNSET
    """Why it failed or is stuck; absent otherwise."""
    desired: Desired
    """The last request, which a restart of the gateway restores."""
    enabled: bool
    """The value in the configuration file."""
    drift: bool
    """Whether `desired` differs from `enabled`."""
    recorded: bool | UnsetType = UNSET
    """False while a stop is not in the database yet; absent otherwise."""
    host: Literal["thread", "shared"]
    """Whether it has a thread of its own, or shares one."""
    dry_run: bool
    """Whether its orders go to paper accounts."""
    on_stop: Literal["cancel", "keep"]
    """Whether its open orders are cancelled or kept when it stops."""
    scope_faults: dict[str, str] | UnsetType = UNSET
    """Symbols of the scope from which no event comes, as `provider symbol`, each with the reason."""
    source: str
    """The strategy as configured: the name of a shipped one, a file and its class, or a selector."""
    usage: InstanceUsage | UnsetType = UNSET
    """Absent for a strategy that is not an uploaded module."""
    links: InstanceLinks
    """Paths of the instance."""
    absent: bool | UnsetType = UNSET
    """True for an instance that is stored but not configured: it left the config file while it has orders or
    positions, or its declaration is no longer valid. It cannot be started. Absent otherwise.
    """


class InstanceSummary(InstanceBase, frozen=True, kw_only=True):
    """An instance in the list."""

    strategy_identifier: str
    """The name of its strategy."""
    strategy_tag: str | UnsetType = UNSET
    """The tag that selected its revision; absent without one."""
    strategy_hash: str | UnsetType = UNSET
    """The revision of its strategy."""
    strategy_version: str | UnsetType = UNSET
    """The `version` of its class; absent without one."""
    strategy_selector: str | UnsetType = UNSET
    """How a stored module was selected, `name:tag` or `name@hash`; absent for another strategy."""


class Instances(Schema, frozen=True, kw_only=True):
    """All instances, by id."""

    instances: list[InstanceSummary]
    """The instances of this page."""
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""


class UsedStrategy(Schema, frozen=True, kw_only=True):
    """The strategy of an instance."""

    identifier: str
    """The name of the strategy."""
    config: JsonObject
    """The configured values; the strategy has defaults for the others."""
    tag: str | UnsetType = UNSET
    """The tag that selected the revision; absent without one."""
    hash: str | UnsetType = UNSET
    """The revision."""
    version: str | UnsetType = UNSET
    """The `version` of the class; absent without one."""
    selector: str | UnsetType = UNSET
    """How a stored module was selected, `name:tag` or `name@hash`; absent for another strategy."""


class ScopeEntry(Schema, frozen=True, kw_only=True):
    """The scope of an instance in one provider."""

    symbols: list[str]
    """`*` stands for all symbols."""


class Latency(Schema, frozen=True, kw_only=True):
    """Nanoseconds; the quantiles have an error of at most 12.5 %."""

    count: int
    """How many were measured."""
    mean: int
    """Their mean."""
    p50: int
    """Half of them were at most as long."""
    p99: int
    """99 % of them were at most as long."""
    max: int
    """The longest one."""


class InstanceCounters(Schema, frozen=True, kw_only=True):
    """The counters of the current or last run."""

    delivered: dict[str, int]
    """Events delivered, by kind."""
    conflated: dict[str, int]
    """Events that a later event of the same symbol replaced before delivery, by kind."""
    dropped: dict[str, int]
    """Events that a full queue evicted, by kind."""
    errors: int
    """Callbacks that raised."""
    slow_callbacks: int
    """Callbacks that took longer than `slowCallback`."""
    emitted: int
    """Extension events that it sent."""
    in_callback_ns: int
    """How long the current callback has been running; 0 between callbacks."""
    extension_bytes: int
    """Size of the extension events that wait in its queue."""
    reserved_events: int
    """Slots of the event pool that its queue has reserved; 0 while it does not run."""
    reserved_books: int
    """Slots of the book pools that its queue has reserved."""
    reserved_bytes: int
    """Memory of these slots, and of the extension events that may wait."""
    last_event_at: int | UnsetType = UNSET
    """When the latest event was delivered; absent before the first."""
    latency_ns: Latency
    """From dispatch to delivery."""
    callback_ns: Latency
    """Duration of the callbacks."""


class InstancePnl(Schema, frozen=True, kw_only=True):
    """Profit and loss since the instance was created, over all of its symbols."""

    currency: str | UnsetType = UNSET
    """`notionalCurrency`; absent if none is configured, and then everything is unvalued."""
    realised: str
    """Of what was sold, fees in the base currency included."""
    unrealised: str
    """Of open positions, at the price now."""
    fees: str
    """Fees that are not in `realised`; negative for rebates."""
    net: str
    """`realised` + `unrealised` - `fees`."""
    unvalued: list[str]
    """Symbols, and currencies of fees, without a price in `currency` now: they are in none of the amounts."""


class InstanceTrading(Schema, frozen=True, kw_only=True):
    """The orders and positions of an instance, as trading has them in memory."""

    mode: Mode
    open_orders: int
    """Orders that have not ended, also those of unknown state."""
    unknown_orders: int
    """Orders whose outcome the venue has not reported."""
    positions: list[Position]
    """Positions that are not flat."""
    pnl: InstancePnl
    """Profit and loss since it was created."""


class LeftOut(Schema, frozen=True, kw_only=True):
    """The symbols of one kind that an instance does not receive."""

    count: int
    """How many symbols."""
    symbols: dict[str, list[str]]
    """The first of them, by provider."""


class InstanceDetail(InstanceBase, frozen=True, kw_only=True):
    """One instance."""

    strategy: UsedStrategy
    """Its strategy and the config."""
    scope: dict[str, ScopeEntry]
    """Symbols by provider."""
    counters: InstanceCounters | UnsetType = UNSET
    """Absent before the first run."""
    trading: InstanceTrading | UnsetType = UNSET
    """Absent for an instance that does not trade and has neither orders nor positions."""
    left_out: dict[str, LeftOut] | UnsetType = UNSET
    """Symbols for which the queue has no room, by kind; absent without any."""
    left_out_reason: str | UnsetType = UNSET
    """Why the queue could not get more room."""


class InstanceLogLine(Schema, frozen=True, kw_only=True):
    """One log line of an instance."""

    number: int
    """Ascending by time; a gap means that older lines were dropped, or that the level left some out."""
    time: int
    """When, in milliseconds."""
    level: str
    """`debug`, `info`, `warning` or `error`."""
    message: str
    """At most 1,000 characters."""
    traceback: list[str] | UnsetType = UNSET
    """The frames in the file of the strategy, and the exception; for operators and admins only."""


class InstanceLogLines(Schema, frozen=True, kw_only=True):
    """The last log lines of an instance, the oldest first."""

    lines: list[InstanceLogLine]
    """The lines, the oldest first."""
    count: int
    """How many lines this response has."""


class StrategyRequest(Section):
    """The strategy of an instance. `selector` decides, else `hash`, else `tag`, else `identifier` alone."""

    identifier: str = ""
    """The name of a shipped strategy or of a module."""
    config: dict[str, Any] | None = None
    """Values of its settings; the strategy has defaults for the others."""
    selector: str | None = None
    """`name`, `name:tag` or `name@hash`; decides before all others."""
    tag: str | None = None
    """A tag of `identifier`."""
    hash: str | None = None
    """A revision, as `sha256:` and 64 hex digits."""
    version: str | None = None
    """Ignored; a tag selects."""


class InstanceScope(Section):
    """The symbols of a provider."""

    symbols: list[str] = []
    """In any case; `*` is all symbols."""


class InstanceRequest(Section):
    """The body that creates or changes an instance."""

    id: Name
    """Its id; immutable."""
    strategy: StrategyRequest | None = None
    """The strategy, which is immutable, and its config."""
    scope: dict[str, InstanceScope] | None = None
    """Symbols by provider; immutable."""
    host: Literal["thread", "shared"] | None = None
    """`thread` by default; immutable."""
    dry_run: bool | None = None
    """False sends its orders to the venues of its scope, which trade real money unless they are simulated."""
    on_stop: Literal["cancel", "keep"] | None = None
    """Whether its open orders are cancelled or kept when it stops: `cancel` by default; immutable."""


class BulkRequest(Section):
    """The instances that are started or stopped."""

    instances: list[str]
    """Their ids; `["*"]` stands for all."""


class BulkOutcome(Schema, frozen=True, kw_only=True):
    """What became of one instance."""

    id: str
    outcome: Literal["changed", "unchanged", "pending", "failed"]
    """`unchanged`: it was in this state before. `pending`: the change continues in the background."""
    status: InstanceState
    """The actual state."""
    running: bool
    """True if `status` is `running` or `stuck`."""
    error: str | UnsetType = UNSET
    """Why the change failed."""
    code: str | UnsetType = UNSET
    """The code of the error, as if the instance had been changed alone."""


class BulkOutcomes(Schema, frozen=True, kw_only=True):
    """What became of each instance."""

    instances: list[BulkOutcome]
    """Those that were selected."""
    count: int
    """How many they are."""
