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
    providers: list[str]
    aggregated_symbols: list[str]
    running: bool
    baseline: bool
    dynamic: bool
    status: InstanceState
    last_error: str | UnsetType = UNSET
    desired: Desired
    """The last request, which a restart of the gateway restores."""
    enabled: bool
    """The value in the configuration file."""
    drift: bool
    """Whether `desired` differs from `enabled`."""
    recorded: bool | UnsetType = UNSET
    """False while a stop is not in the database yet; absent otherwise."""
    host: Literal["thread", "shared"]
    dry_run: bool
    """Whether its orders go to paper accounts."""
    on_stop: Literal["cancel", "keep"]
    scope_faults: dict[str, str] | UnsetType = UNSET
    """Symbols of the scope from which no event comes, as `provider symbol`, each with the reason."""
    source: str
    """The strategy as configured: the name of a shipped one, a file and its class, or a selector."""
    usage: InstanceUsage | UnsetType = UNSET
    """Absent for a strategy that is not an uploaded module."""
    links: InstanceLinks
    absent: bool | UnsetType = UNSET
    """True for an instance that is stored but not configured: it left the config file while it has orders or
    positions, or its declaration is no longer valid. It cannot be started. Absent otherwise.
    """


class InstanceSummary(InstanceBase, frozen=True, kw_only=True):
    """An instance in the list."""

    strategy_identifier: str
    strategy_tag: str | UnsetType = UNSET
    strategy_hash: str | UnsetType = UNSET
    strategy_version: str | UnsetType = UNSET
    strategy_selector: str | UnsetType = UNSET
    """How a stored module was selected, `name:tag` or `name@hash`; absent for another strategy."""


class Instances(Schema, frozen=True, kw_only=True):
    """All instances, by id."""

    instances: list[InstanceSummary]
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""


class UsedStrategy(Schema, frozen=True, kw_only=True):
    """The strategy of an instance."""

    identifier: str
    config: JsonObject
    """The configured values; the strategy has defaults for the others."""
    tag: str | UnsetType = UNSET
    hash: str | UnsetType = UNSET
    version: str | UnsetType = UNSET
    selector: str | UnsetType = UNSET
    """How a stored module was selected, `name:tag` or `name@hash`; absent for another strategy."""


class ScopeEntry(Schema, frozen=True, kw_only=True):
    """The scope of an instance in one provider."""

    symbols: list[str]
    """`*` stands for all symbols."""


class Latency(Schema, frozen=True, kw_only=True):
    """Nanoseconds; the quantiles have an error of at most 12.5 %."""

    count: int
    mean: int
    p50: int
    p99: int
    max: int


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
    emitted: int
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
    unrealised: str
    fees: str
    """Fees that are not in `realised`; negative for rebates."""
    net: str
    unvalued: list[str]
    """Symbols, and currencies of fees, without a price in `currency` now: they are in none of the amounts."""


class InstanceTrading(Schema, frozen=True, kw_only=True):
    """The orders and positions of an instance, as trading has them in memory."""

    mode: Mode
    open_orders: int
    """Orders that have not ended, also those of unknown state."""
    unknown_orders: int
    positions: list[Position]
    """Positions that are not flat."""
    pnl: InstancePnl


class LeftOut(Schema, frozen=True, kw_only=True):
    """The symbols of one kind that an instance does not receive."""

    count: int
    symbols: dict[str, list[str]]
    """The first of them, by provider."""


class InstanceDetail(InstanceBase, frozen=True, kw_only=True):
    """One instance."""

    strategy: UsedStrategy
    scope: dict[str, ScopeEntry]
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
    level: str
    message: str
    traceback: list[str] | UnsetType = UNSET
    """The frames in the file of the strategy, and the exception; for operators and admins only."""


class InstanceLogLines(Schema, frozen=True, kw_only=True):
    """The last log lines of an instance, the oldest first."""

    lines: list[InstanceLogLine]
    count: int


class StrategyRequest(Section):
    """The strategy of an instance. `selector` decides, else `hash`, else `tag`, else `identifier` alone."""

    identifier: str = ""
    config: dict[str, Any] | None = None
    selector: str | None = None
    tag: str | None = None
    hash: str | None = None
    version: str | None = None


class InstanceScope(Section):
    """The symbols of a provider."""

    symbols: list[str] = []


class InstanceRequest(Section):
    """The body that creates or changes an instance."""

    id: Name
    strategy: StrategyRequest | None = None
    scope: dict[str, InstanceScope] | None = None
    host: Literal["thread", "shared"] | None = None
    dry_run: bool | None = None
    """False sends its orders to the venues of its scope, which trade real money unless they are simulated."""
    on_stop: Literal["cancel", "keep"] | None = None


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
    running: bool
    error: str | UnsetType = UNSET
    """Why the change failed."""
    code: str | UnsetType = UNSET
    """The code of the error, as if the instance had been changed alone."""


class BulkOutcomes(Schema, frozen=True, kw_only=True):
    """What became of each instance."""

    instances: list[BulkOutcome]
    count: int
