"""`/strategy/instances`: the state of instances; start and stop."""

from typing import TYPE_CHECKING, Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from meltica.api.envelope import Failure, optional, without_nulls
from meltica.api.instances import (
    InstanceCounters,
    InstanceDetail,
    Instances,
    InstanceSummary,
    Latency,
    LeftOut,
    ScopeEntry,
    UsedStrategy,
)
from meltica.control.access import OPERATOR, VIEWER
from meltica.control.catalogues import StrategyCatalogue
from meltica.control.changes import ChangeRunner
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, UNAVAILABLE
from meltica.control.services import ControlServices
from meltica.lambdas.manager import ManagedInstance
from meltica.lambdas.strategy import name_of, version_of
from meltica.runtime.lifecycle import Desired

if TYPE_CHECKING:
    from meltica.persistence.stores.instances import InstanceRow

LATE = {
    202: ResponseSpec(
        InstanceDetail,
        generate_examples=False,
        description="The change takes longer and continues in the background",
    )
}
REFUSED = {400: ResponseSpec(Failure, generate_examples=False, description="The instance could not start")}


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
            **_base(instance, stored, recorded=self._services.instances.recorded(instance.id)),
        )

    def detail(self, instance: ManagedInstance) -> InstanceDetail:
        """Returns an instance with its strategy, scope and counters."""
        stored = self._services.instances.stored(instance.id)
        name, version = self._strategy(instance, stored)
        return InstanceDetail(
            strategy=UsedStrategy(
                identifier=name,
                config=without_nulls(self._services.instance_configs[instance.id]),
                tag=optional(stored.tag),
                hash=optional(stored.revision),
                version=optional(version),
            ),
            scope={name: ScopeEntry(symbols=list(symbols)) for name, symbols in instance.spec.scope.items()},
            counters=_counters(instance),
            **_left_out(instance),
            **_base(instance, stored, recorded=self._services.instances.recorded(instance.id)),
        )

    def _strategy(self, instance: ManagedInstance, stored: "InstanceRow") -> tuple[str, str | None]:
        """Returns name and version of a strategy; of one that cannot be loaded, the configured name."""
        cls = self._strategies.of(instance)
        if cls is None:
            path, _, name = instance.spec.strategy.rpartition(":")
            return (name if path else stored.strategy), None
        return name_of(cls), version_of(cls)


def instance_view(
    services: NamedDependency[ControlServices], strategies: NamedDependency[StrategyCatalogue]
) -> InstanceView:
    """Returns the view that handlers of instances get."""
    return InstanceView(services, strategies)


class InstancesController(Controller):
    """All instances."""

    path = "/strategy/instances"
    tags = ["instances"]
    guards = [VIEWER]
    dependencies = {"view": Provide(instance_view, sync_to_thread=False)}

    @get(summary="List the instances", operation_id="listInstances")
    async def list_instances(
        self,
        services: NamedDependency[ControlServices],
        strategies: NamedDependency[StrategyCatalogue],
        view: NamedDependency[InstanceView],
    ) -> Instances:
        """Returns all instances, by id."""
        await strategies.load()
        return Instances(instances=[view.summary(instance) for instance in services.instances.all()])

    @get("/{id:str}", summary="Get an instance", operation_id="getInstance", responses=NOT_FOUND)
    async def get_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        strategies: NamedDependency[StrategyCatalogue],
        view: NamedDependency[InstanceView],
    ) -> InstanceDetail:
        """Returns an instance. Raises NotFound."""
        await strategies.load()
        return view.detail(services.instances.get(id))

    @post(
        "/{id:str}/start",
        status_code=200,
        summary="Start an instance",
        operation_id="startInstance",
        guards=[OPERATOR],
        responses=LATE | REFUSED | NOT_FOUND | CONFLICT | UNAVAILABLE,
    )
    async def start_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[InstanceView],
        changes: NamedDependency[ChangeRunner],
    ) -> Response[InstanceDetail]:
        """Starts an instance. Raises NotFound, Conflict, StartError and DatabaseUnavailable."""
        manager = services.instances
        instance = manager.get(id)
        in_time = await changes.run(
            manager.start(id), f"start of instance {id}", lambda: not manager.starting(id)
        )
        return Response(view.detail(instance), status_code=200 if in_time else 202)

    @post(
        "/{id:str}/stop",
        status_code=200,
        summary="Stop an instance",
        operation_id="stopInstance",
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT | UNAVAILABLE,
    )
    async def stop_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[InstanceView],
        changes: NamedDependency[ChangeRunner],
    ) -> Response[InstanceDetail]:
        """Stops an instance. Raises NotFound, Conflict and DatabaseUnavailable."""
        manager = services.instances
        instance = manager.get(id)
        in_time = await changes.run(
            manager.stop(id), f"stop of instance {id}", lambda: instance.desired is Desired.STOPPED
        )
        complete = in_time and manager.recorded(id)
        return Response(view.detail(instance), status_code=200 if complete else 202)


def _base(instance: ManagedInstance, stored: "InstanceRow", *, recorded: bool) -> dict[str, Any]:
    spec, baseline = instance.spec, stored.origin == "baseline"
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
        "enabled": spec.enabled,
        "drift": (instance.desired is Desired.RUNNING) != spec.enabled,
        "recorded": UNSET if recorded else False,
        "host": spec.host,
        "source": spec.strategy,
    }


def _counters(instance: ManagedInstance) -> InstanceCounters | UnsetType:
    stats = instance.stats()
    if stats is None:
        return UNSET
    values: dict[str, Any] = {
        **stats,
        **{name: Latency(**stats[name]) for name in ("latency_ns", "callback_ns")},
    }
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
