"""The JSON of instances."""

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from litestar.di import NamedDependency
from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, optional, without_nulls
from meltica.api.instances import (
    InstanceCounters,
    InstanceDetail,
    InstanceLinks,
    InstanceSummary,
    InstanceUsage,
    Latency,
    LeftOut,
    ScopeEntry,
    UsedStrategy,
)
from meltica.control.catalogues import StrategyCatalogue
from meltica.control.instance_trading import mode_of_absent, trading_of
from meltica.control.services import ControlServices
from meltica.lambdas.manager import ManagedInstance
from meltica.lambdas.modules.names import stored as stored_selector
from meltica.lambdas.spec import source_of
from meltica.lambdas.strategy import description
from meltica.model.enums import Mode
from meltica.providers.scopes import scope_faults
from meltica.runtime.lifecycle import Desired
from meltica.validation.models import masked

if TYPE_CHECKING:
    from meltica.persistence.stores.instances import InstanceRow

NAMED_SYMBOLS = 100
"""How many symbols without room a detail names for each kind."""


class InstanceView:
    """Makes the JSON of instances."""

    def __init__(self, services: ControlServices, strategies: StrategyCatalogue) -> None:
        self._services = services
        self._strategies = strategies

    def summary(self, instance: ManagedInstance) -> InstanceSummary:
        """Returns an instance as the list shows it."""
        stored = self._services.instances.stored(instance.id)
        name, version = self._strategy(instance, stored)
        return InstanceSummary(
            strategy_identifier=name,
            strategy_tag=optional(stored.tag),
            strategy_hash=optional(stored.revision),
            strategy_version=optional(version),
            strategy_selector=_selector(stored),
            **self._base(instance, stored),
        )

    def detail(self, instance: ManagedInstance) -> InstanceDetail:
        """Returns an instance with its strategy, scope and counters."""
        stored = self._services.instances.stored(instance.id)
        name, version = self._strategy(instance, stored)
        return InstanceDetail(
            strategy=UsedStrategy(
                identifier=name,
                config=self.config(instance),
                tag=optional(stored.tag),
                hash=optional(stored.revision),
                version=optional(version),
                selector=_selector(stored),
            ),
            scope={name: ScopeEntry(symbols=list(symbols)) for name, symbols in instance.spec.scope.items()},
            counters=_counters(instance),
            trading=trading_of(
                self._services,
                instance.id,
                stored.uid,
                Mode.PAPER if instance.spec.dry_run else Mode.LIVE,
                trades=instance.run is not None and instance.run.trading is not None,
            ),
            **_left_out(instance),
            **self._base(instance, stored),
        )

    def absent_summary(self, row: "InstanceRow") -> InstanceSummary:
        """Returns an instance that is stored but not configured, as the list shows it."""
        return InstanceSummary(
            strategy_identifier=row.strategy,
            strategy_tag=optional(row.tag),
            strategy_hash=optional(row.revision),
            strategy_selector=_selector(row),
            **self._absent(row),
        )

    def absent_detail(self, row: "InstanceRow") -> InstanceDetail:
        """Returns an instance that is stored but not configured."""
        base = self._absent(row)
        mode = Mode.PAPER if base["dry_run"] else Mode.LIVE
        return InstanceDetail(
            strategy=UsedStrategy(
                identifier=row.strategy,
                config=without_nulls(masked(row.config)),
                tag=optional(row.tag),
                hash=optional(row.revision),
                selector=_selector(row),
            ),
            scope={name: ScopeEntry(symbols=list(symbols)) for name, symbols in row.scope.items()},
            trading=trading_of(self._services, row.id, row.uid, mode, trades=False),
            **base,
        )

    def _absent(self, row: "InstanceRow") -> dict[str, Any]:
        return {
            "id": row.id,
            "providers": sorted(row.scope),
            "aggregated_symbols": sorted({symbol for symbols in row.scope.values() for symbol in symbols}),
            "running": False,
            "baseline": row.origin == "baseline",
            "dynamic": row.origin != "baseline",
            "status": row.actual.after_restart,
            "last_error": optional(row.last_error),
            "desired": row.desired,
            "enabled": False,
            "drift": row.desired is Desired.RUNNING,
            "host": row.host,
            "dry_run": row.dry_run and mode_of_absent(self._services, row.uid) is Mode.PAPER,
            "on_stop": row.on_stop,
            "source": source_of(row.selector),
            "absent": True,
            **self._references(row),
        }

    def config(self, instance: ManagedInstance) -> JsonObject:
        """Returns the configured values, with secrets masked."""
        shown = self._services.instance_configs.get(instance.id)
        return without_nulls(masked(instance.spec.config) if shown is None else shown)

    def names(self, instance: ManagedInstance, stored: "InstanceRow") -> set[str]:
        """Returns the names under which clients see the strategy of an instance."""
        return {self._strategy(instance, stored)[0], stored.strategy, stored.selector, instance.spec.strategy}

    def _strategy(self, instance: ManagedInstance, stored: "InstanceRow") -> tuple[str, str | None]:
        """Returns name and version of a strategy; of one that cannot be loaded, the configured name."""
        cls = self._strategies.of(instance)
        shown = None if cls is None else description(cls).strategy
        version = None if shown is None or shown.version is UNSET else shown.version
        if stored_selector(stored.selector) is not None:
            return stored.strategy, version
        if shown is None:
            path, _, name = instance.spec.strategy.rpartition(":")
            return (name if path else stored.strategy), None
        return shown.name, version

    def enabled(self, instance: ManagedInstance) -> bool:
        """Returns whether the config file enables an instance; without an entry, whether it should run."""
        baseline = self._services.instances.stored(instance.id).origin == "baseline"
        return instance.spec.enabled if baseline else instance.desired is Desired.RUNNING

    def _base(self, instance: ManagedInstance, stored: "InstanceRow") -> dict[str, Any]:
        spec, baseline = instance.spec, stored.origin == "baseline"
        running = instance.desired is Desired.RUNNING
        enabled = self.enabled(instance)
        return {
            "id": instance.id,
            "providers": sorted(spec.scope),
            "aggregated_symbols": sorted({symbol for symbols in spec.scope.values() for symbol in symbols}),
            "running": instance.running,
            "baseline": baseline,
            "dynamic": not baseline,
            "status": instance.actual,
            "last_error": optional(instance.last_error),
            "desired": instance.desired,
            "enabled": enabled,
            "drift": running != enabled,
            "recorded": UNSET if self._services.instances.recorded(instance.id) else False,
            "host": spec.host,
            "dry_run": spec.dry_run,
            "on_stop": spec.on_stop,
            "scope_faults": scope_faults(spec.scope, self._services.providers) or UNSET,
            "source": spec.source,
            **self._references(stored),
        }

    def _references(self, row: "InstanceRow") -> dict[str, Any]:
        """Returns where clients find an instance, and the use of its revision."""
        own, selector = f"/strategy/instances/{quote(row.id, safe='')}", _selector(row)
        if selector is UNSET or row.revision is None:
            return {"links": InstanceLinks(own=own)}
        ids = self._users[row.revision]
        found = self._services.instances
        usage = InstanceUsage(
            strategy=row.strategy,
            hash=row.revision,
            count=len(ids),
            running=any(id in found and found.get(id).running for id in ids),
        )
        path = f"/strategies/modules/{quote(selector, safe='')}/usage"
        return {"usage": usage, "links": InstanceLinks(own=own, usage=path)}

    @cached_property
    def _users(self) -> dict[str, list[str]]:
        """The ids of the instances that are pinned to each revision."""
        found, manager = defaultdict[str, list[str]](list), self._services.instances
        for row in (*(manager.stored(each.id) for each in manager.all()), *manager.absent()):
            if row.revision is not None:
                found[row.revision].append(row.id)
        return found


def instance_view(
    services: NamedDependency[ControlServices], strategies: NamedDependency[StrategyCatalogue]
) -> InstanceView:
    """Returns the view that handlers of instances get."""
    return InstanceView(services, strategies)


def _selector(row: "InstanceRow") -> str | UnsetType:
    """Returns the selector of a stored module; absent for another strategy."""
    return UNSET if stored_selector(row.selector) is None else row.selector


def _counters(instance: ManagedInstance) -> InstanceCounters | UnsetType:
    stats = instance.stats()
    if stats is None:
        return UNSET
    values: dict[str, Any] = {
        **stats,
        **{name: Latency(**stats[name]) for name in ("latency_ns", "callback_ns")},
        "last_event_at": UNSET,
    }
    if instance.run is not None and instance.run.core.delivered_at:
        values["last_event_at"] = instance.run.core.delivered_at // 10**6
    return InstanceCounters(**{name: values[name] for name in InstanceCounters.__struct_fields__})


def _left_out(instance: ManagedInstance) -> dict[str, Any]:
    """Returns the keys of a detail about symbols without room."""
    left_out = {} if instance.run is None else instance.run.core.left_out
    if instance.run is None or not left_out:
        return {}
    kinds: dict[str, LeftOut] = {}
    for kind, names in left_out.items():
        symbols: dict[str, list[str]] = {}
        for provider, symbol in names[:NAMED_SYMBOLS]:
            symbols.setdefault(provider, []).append(symbol)
        kinds[kind] = LeftOut(count=len(names), symbols=symbols)
    return {"left_out": kinds, "left_out_reason": optional(instance.run.core.refused_room)}
