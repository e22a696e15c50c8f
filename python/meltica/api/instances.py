"""`/strategy/instances`: instances of strategies, their states and their counters."""

from typing import Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, Schema


class InstanceBase(Schema, frozen=True, kw_only=True):
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


class Instances(Schema, frozen=True, kw_only=True):
    """All instances, by id."""

    instances: list[InstanceSummary]


class UsedStrategy(Schema, frozen=True, kw_only=True):
    """The strategy of an instance."""

    identifier: str
    config: JsonObject
    """As it was given; what was not given has the strategy's default."""
    tag: str | UnsetType = UNSET
    hash: str | UnsetType = UNSET
    version: str | UnsetType = UNSET


class ScopeEntry(Schema, frozen=True, kw_only=True):
    """What an instance sees of one provider."""

    symbols: list[str]
    """`*` is all of them."""


class Latency(Schema, frozen=True, kw_only=True):
    """Nanoseconds; quantiles are right within 12.5 %."""

    count: int
    mean: int
    p50: int
    p99: int
    max: int


class InstanceCounters(Schema, frozen=True, kw_only=True):
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
