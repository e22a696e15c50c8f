"""`/strategy/instances`: how they are; start and stop."""

from typing import TYPE_CHECKING, Any, cast

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from meltica.api.envelope import Failure, JsonObject, optional, without_nulls
from meltica.api.instances import (
    InstanceCounters,
    InstanceDetail,
    Instances,
    InstanceSummary,
    Latency,
    ScopeEntry,
    UsedStrategy,
)
from meltica.control.actions import Actions
from meltica.control.openapi import CONFLICT, NOT_FOUND, UNAVAILABLE
from meltica.errors import Conflict
from meltica.lambdas.strategy import name_of, version_of
from meltica.runtime.lifecycle import Desired

if TYPE_CHECKING:
    from meltica.control.strategies import Catalogue
    from meltica.gateway.gateway import Gateway
    from meltica.lambdas.manager import ManagedInstance
    from meltica.persistence.stores.instances import Instance as Row

LATE = {
    202: ResponseSpec(InstanceDetail, generate_examples=False, description="It takes longer, and goes on")
}
REFUSED = {
    400: ResponseSpec(Failure, generate_examples=False, description="It could not start; the text says why")
}


def routes(gateway: "Gateway", catalogue: "Catalogue", actions: Actions) -> list[HTTPRouteHandler]:
    """Returns the handlers over one gateway."""
    manager = gateway.instances
    show = _Show(gateway, catalogue)

    @get("/strategy/instances", summary="All instances", operation_id="listInstances", tags=["instances"])
    async def list_instances() -> Instances:
        await catalogue.load()
        return Instances(instances=[show.summary(instance) for instance in manager.all()])

    @get(
        "/strategy/instances/{id:str}",
        summary="One instance",
        operation_id="getInstance",
        tags=["instances"],
        responses=NOT_FOUND,
    )
    async def get_instance(id: FromPath[str]) -> InstanceDetail:
        await catalogue.load()
        return show.detail(manager.get(id))

    @post(
        "/strategy/instances/{id:str}/start",
        status_code=200,
        summary="Start an instance",
        operation_id="startInstance",
        tags=["instances"],
        responses=LATE | REFUSED | NOT_FOUND | CONFLICT | UNAVAILABLE,
    )
    async def start_instance(id: FromPath[str]) -> Response[InstanceDetail]:
        instance = _idle(manager.get(id))
        done = await actions.run(
            manager.start(id), f"start of instance {id}", lambda: instance.desired is Desired.RUNNING
        )
        return Response(show.detail(instance), status_code=200 if done else 202)

    @post(
        "/strategy/instances/{id:str}/stop",
        status_code=200,
        summary="Stop an instance",
        operation_id="stopInstance",
        tags=["instances"],
        responses=LATE | NOT_FOUND | CONFLICT | UNAVAILABLE,
    )
    async def stop_instance(id: FromPath[str]) -> Response[InstanceDetail]:
        instance = _idle(manager.get(id))
        done = await actions.run(
            manager.stop(id), f"stop of instance {id}", lambda: instance.desired is Desired.STOPPED
        )
        return Response(show.detail(instance), status_code=200 if done else 202)

    return [list_instances, get_instance, start_instance, stop_instance]


def _idle(instance: "ManagedInstance") -> "ManagedInstance":
    """Returns an instance that nothing is being done to. Raises Conflict."""
    if instance.lock.locked():
        raise Conflict(
            f"instance `{instance.id}` is {instance.actual} and being changed; wait until that is done"
        )
    return instance


class _Show:
    """Makes JSON of instances."""

    def __init__(self, gateway: "Gateway", catalogue: "Catalogue") -> None:
        self._gateway = gateway
        self._catalogue = catalogue
        # What comes from variables is hidden here too, not only what is a secret by type or name.
        self._configured = cast(dict[str, JsonObject], gateway.loaded.shown()["lambdas"])

    def summary(self, instance: "ManagedInstance") -> InstanceSummary:
        stored = self._gateway.instances.stored(instance.id)
        name, version = self._strategy(instance, stored)
        return InstanceSummary(
            strategy_identifier=name,
            strategy_tag=optional(stored.tag),
            strategy_hash=optional(stored.revision),
            strategy_version=optional(version),
            **_base(instance, stored),
        )

    def detail(self, instance: "ManagedInstance") -> InstanceDetail:
        stored = self._gateway.instances.stored(instance.id)
        name, version = self._strategy(instance, stored)
        return InstanceDetail(
            strategy=UsedStrategy(
                identifier=name,
                config=without_nulls(self._configured[instance.id]["config"]),
                tag=optional(stored.tag),
                hash=optional(stored.revision),
                version=optional(version),
            ),
            scope={name: ScopeEntry(symbols=list(symbols)) for name, symbols in instance.spec.scope.items()},
            counters=_counters(instance),
            **_base(instance, stored),
        )

    def _strategy(self, instance: "ManagedInstance", stored: "Row") -> tuple[str, str | None]:
        """Returns name and version of a strategy; of one that cannot be loaded, what it is called."""
        cls = self._catalogue.of(instance)
        if cls is None:
            path, _, name = instance.spec.strategy.rpartition(":")
            return (name if path else stored.strategy), None
        return name_of(cls), version_of(cls)


def _base(instance: "ManagedInstance", stored: "Row") -> dict[str, Any]:
    spec, baseline = instance.spec, stored.origin == "baseline"
    return {
        "id": instance.id,
        "providers": sorted(spec.scope),
        "aggregated_symbols": sorted({symbol for symbols in spec.scope.values() for symbol in symbols}),
        "running": instance.running,
        "baseline": baseline,
        "dynamic": not baseline,
        "status": instance.actual.value,
        "last_error": optional(instance.last_error),
        "desired": instance.desired.value,
        "enabled": spec.enabled,
        "drift": (instance.desired is Desired.RUNNING) != spec.enabled,
        "host": spec.host,
        "source": spec.strategy,
    }


def _counters(instance: "ManagedInstance") -> InstanceCounters | UnsetType:
    stats = instance.stats()
    if stats is None:
        return UNSET
    known: dict[str, Any] = {
        **stats,
        **{name: Latency(**stats[name]) for name in ("latency_ns", "callback_ns")},
    }
    return InstanceCounters(**{name: known[name] for name in InstanceCounters.__struct_fields__})
