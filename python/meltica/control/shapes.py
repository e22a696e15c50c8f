"""The JSON of the control plane, as `docs/rest.md` tells it. What is UNSET is absent; nothing is null."""

from typing import Any, Literal, cast

from msgspec import UNSET, Struct, UnsetType

Json = dict[str, Any]
"""Keys and values that somebody else defines: an adapter, a strategy."""


class Shape(Struct, rename="camel", frozen=True, kw_only=True):
    """An object with camelCase keys."""


class Failure(Shape, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """What every answer but 2xx holds."""

    error: str
    """For people."""
    code: str
    """For programs; does not change."""
    faults: dict[str, str] | UnsetType = UNSET
    """With `not_ready`: what is wrong, by part."""


class Live(Shape, frozen=True, kw_only=True, tag_field="status", tag="live"):
    """The process answers."""


class Ready(Shape, frozen=True, kw_only=True, tag_field="status", tag="ready"):
    """Everything that should run does."""


class Version(Shape, frozen=True, kw_only=True):
    """What runs here."""

    version: str
    build: str
    """How the core was built: `dev`, `release`, `dist` or `custom`."""
    target: str
    """What it was built for."""
    python: str
    environment: str
    service_name: str
    started_at: int
    """Milliseconds."""


class Setting(Shape, frozen=True, kw_only=True):
    """One setting of an adapter."""

    name: str
    type: Literal["string", "int", "float", "bool", "decimal", "duration", "list", "object"]
    default: Any | UnsetType = UNSET
    required: bool


class StrategySetting(Setting, frozen=True, kw_only=True):
    """One setting of a strategy."""

    description: str


class Strategy(Shape, frozen=True, kw_only=True):
    """A strategy that this gateway knows."""

    name: str
    display_name: str
    description: str
    version: str | UnsetType = UNSET
    config: list[StrategySetting]
    events: list[str]
    """Kinds that it subscribes to."""


class Strategies(Shape, frozen=True, kw_only=True):
    """All strategies, by name."""

    strategies: list[Strategy]


class Adapter(Shape, frozen=True, kw_only=True):
    """What speaks one venue's protocol."""

    identifier: str
    display_name: str
    venue: str
    description: str | UnsetType = UNSET
    capabilities: list[str]
    settings_schema: list[Setting]


class Adapters(Shape, frozen=True, kw_only=True):
    """All adapters, by identifier."""

    adapters: list[Adapter]


class ProviderBase(Shape, frozen=True, kw_only=True):
    """What a provider's summary and detail have in common."""

    name: str
    identifier: str
    """Of its adapter."""
    instrument_count: int
    settings: Json
    running: bool
    status: Literal["pending", "starting", "running", "stopped", "failed"]
    startup_error: str | UnsetType = UNSET
    """Why its last start, or its last run, ended; absent once it runs."""
    connection_error: str | UnsetType = UNSET
    """Why nothing comes of it at present, though it runs; it connects again by itself."""
    route_error: str | UnsetType = UNSET
    """Why what lambdas want could not be subscribed; it is tried again."""
    desired: Literal["running", "stopped"]
    """What was asked for last; what a restart of the gateway brings back."""
    enabled: bool
    """What the configuration file says."""
    drift: bool
    """Whether the two differ."""
    baseline: bool
    """Whether it is from the configuration file."""
    restarts: int
    dependent_instances: list[str] | UnsetType = UNSET
    dependent_instance_count: int | UnsetType = UNSET


class ProviderSummary(ProviderBase, frozen=True, kw_only=True):
    """A provider in the list."""

    adapter: str
    """Identifier of its adapter."""


class Providers(Shape, frozen=True, kw_only=True):
    """All providers, by name."""

    providers: list[ProviderSummary]


class ProviderCounters(Shape, frozen=True, kw_only=True):
    """What came from a provider since the gateway started."""

    frames: int
    bytes: int
    events: dict[str, int]
    """Dispatched, by kind."""
    unwanted: int
    duplicates: int
    unknown_enums: int
    """Values of enumerations that the codec does not know."""
    gaps: int
    unsynced_books: int
    stale: dict[str, int]
    """Books that went stale, by reason."""
    errors: dict[str, int]
    """Bad frames, by what was wrong."""


class ProviderDetail(ProviderBase, frozen=True, kw_only=True):
    """One provider."""

    adapter: Adapter
    instruments: list[Json]
    counters: ProviderCounters | UnsetType = UNSET
    """Absent before the first start."""


class InstanceBase(Shape, frozen=True, kw_only=True):
    """What an instance's summary and detail have in common."""

    id: str
    providers: list[str]
    aggregated_symbols: list[str]
    running: bool
    baseline: bool
    dynamic: bool
    status: Literal["pending", "starting", "running", "stopping", "stopped", "failed", "stuck"]
    last_error: str | UnsetType = UNSET
    desired: Literal["running", "stopped"]
    """What was asked for last; what a restart of the gateway brings back."""
    enabled: bool
    """What the configuration file says."""
    drift: bool
    """Whether the two differ."""
    host: Literal["thread", "shared"]
    source: str
    """What the configuration names: a shipped strategy, or a file with its class."""


class InstanceSummary(InstanceBase, frozen=True, kw_only=True):
    """An instance in the list."""

    strategy_identifier: str
    strategy_tag: str | UnsetType = UNSET
    strategy_hash: str | UnsetType = UNSET
    strategy_version: str | UnsetType = UNSET


class Instances(Shape, frozen=True, kw_only=True):
    """All instances, by id."""

    instances: list[InstanceSummary]


class UsedStrategy(Shape, frozen=True, kw_only=True):
    """The strategy of an instance."""

    identifier: str
    config: Json
    """As it was given; what was not given has the strategy's default."""
    tag: str | UnsetType = UNSET
    hash: str | UnsetType = UNSET
    version: str | UnsetType = UNSET


class ScopeEntry(Shape, frozen=True, kw_only=True):
    """What an instance sees of one provider."""

    symbols: list[str]
    """`*` is all of them."""


class Latency(Shape, frozen=True, kw_only=True):
    """Nanoseconds; quantiles are right within 12.5 %."""

    count: int
    mean: int
    p50: int
    p99: int
    max: int


class InstanceCounters(Shape, frozen=True, kw_only=True):
    """What an instance did in its present or last run."""

    delivered: dict[str, int]
    """Events, by kind."""
    conflated: dict[str, int]
    """Events that a later one of the same symbol replaced before they were read."""
    dropped: dict[str, int]
    """Events that a full queue lost."""
    errors: int
    """Callbacks that raised."""
    slow_callbacks: int
    emitted: int
    in_callback_ns: int
    """How long the present callback has been running."""
    latency_ns: Latency
    """From dispatch to delivery."""
    callback_ns: Latency
    """What callbacks took."""


class InstanceDetail(InstanceBase, frozen=True, kw_only=True):
    """One instance."""

    strategy: UsedStrategy
    scope: dict[str, ScopeEntry]
    counters: InstanceCounters | UnsetType = UNSET
    """Absent before the first run."""


def optional(value: str | None) -> str | UnsetType:
    """Returns a text, or UNSET for none."""
    return UNSET if value is None or value == "" else value


def without_nulls(value: object) -> Any:
    """Returns JSON whose objects have no null in them."""
    if isinstance(value, dict):
        keyed = cast(dict[str, object], value)
        return {key: without_nulls(inner) for key, inner in keyed.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in cast(list[object], value)]
    return value
