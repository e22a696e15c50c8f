"""`/strategy/instances`: instances are created, changed, deleted, started and stopped."""

from dataclasses import replace

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody

from meltica.api.envelope import Change, JsonObject, Removed
from meltica.api.instances import InstanceDetail, Instances
from meltica.control.access import ADMIN, OPERATOR, VIEWER
from meltica.control.bodies import QUERY
from meltica.control.catalogues import StrategyCatalogue
from meltica.control.changes import ChangeRunner
from meltica.control.instance_changes import Declared, InstanceChanges, configured
from meltica.control.instance_view import InstanceView, instance_view
from meltica.control.paging import AnyLimit, Cursor, key_of, next_cursor, page_of
from meltica.control.preconditions import CHANGE_QUERY, Precondition, etag
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, PLANNED, PRECONDITION, response
from meltica.control.services import ControlServices
from meltica.errors import AlreadyExists, Conflict
from meltica.lambdas.manager import ManagedInstance
from meltica.persistence.stores.instances import InstanceRow, declaration
from meltica.runtime.lifecycle import Desired, InstanceState

LATE = response(202, InstanceDetail, "The change takes longer and continues in the background")
LATE_DELETION = response(202, Removed, "It still stops, and is deleted then")


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
        limit: AnyLimit = None,
        cursor: Cursor = None,
    ) -> Instances:
        """Returns the instances, by id, also those that are stored but not configured."""
        await strategies.load()
        manager = services.instances
        page = page_of([*manager.all(), *manager.absent()], _by_id, key_of(cursor, tuple[str]), limit)
        shown = [
            view.absent_summary(each) if isinstance(each, InstanceRow) else view.summary(each)
            for each in page.rows
        ]
        return Instances(instances=shown, cursor=next_cursor(page, _by_id))

    @get("/{id:str}", summary="Get an instance", operation_id="getInstance", responses=NOT_FOUND)
    async def get_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        strategies: NamedDependency[StrategyCatalogue],
        view: NamedDependency[InstanceView],
    ) -> Response[InstanceDetail]:
        """Returns an instance. Raises NotFound."""
        await strategies.load()
        absent = next((row for row in services.instances.absent() if row.id == id), None)
        if absent is not None:
            return _versioned(view.absent_detail(absent), services)
        return _versioned(view.detail(services.instances.get(id)), services)

    @post(
        status_code=201,
        summary="Create an instance",
        description="It is stopped. `?plan=1` only answers what would change, and with `dryRun: false` the"
        " `accounts` that it would trade on.",
        operation_id="createInstance",
        guards=[OPERATOR],
        responses=PLANNED | NOT_FOUND | CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def create_instance(
        self,
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        strategies: NamedDependency[StrategyCatalogue],
        view: NamedDependency[InstanceView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[InstanceDetail]:
        """Creates an instance. Raises HttpError, NotFound, AlreadyExists and DatabaseUnavailable."""
        manager, reader = services.instances, InstanceChanges(services)
        spec, record = await reader.created(data)
        if record.id in {each.id for each in manager.all()}:
            raise AlreadyExists(f"instance `{record.id}` exists already")
        accounts = {} if record.dry_run else {"accounts": Change(after=sorted(record.scope))}
        precondition.check("create", None, configured(record), accounts)
        created = reader.create(spec, record)
        await changes.run(created, f"creation of instance {record.id}", lambda: False)
        await strategies.load()
        return _versioned(view.detail(manager.get(record.id)), services, status=201)

    @put(
        "/{id:str}",
        status_code=200,
        summary="Change the config of an instance",
        description="One that runs is restarted. Scope, strategy, host, `dryRun` and `onStop` are immutable.",
        operation_id="updateInstance",
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def update_instance(
        self,
        id: FromPath[str],
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        strategies: NamedDependency[StrategyCatalogue],
        view: NamedDependency[InstanceView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[InstanceDetail]:
        """Changes a config. Raises HttpError, NotFound, Conflict, StartError and DatabaseUnavailable."""
        manager, reader = services.instances, InstanceChanges(services)
        instance = manager.get(id)
        await strategies.load()
        stored = manager.stored(id)
        body = await reader.changed(id, data, strategies.of(instance), stored)
        # It is ignored as what GET answers; another value would look like a stop that succeeded.
        if data.get("enabled") is not None and data["enabled"] is not view.enabled(instance):
            verb = "stop" if view.enabled(instance) else "start"
            text = f"`enabled` is not changed here; POST /strategy/instances/{id}/{verb}"
            raise Conflict(f"instance `{id}` not changed: {text}")
        wanted = reader.config(body, stored, view.config(instance))
        same = await reader.is_same_config(strategies.of(instance), wanted, stored.config)

        def declare(row: InstanceRow) -> Declared | None:
            reader.refuse_immutable(body, row, view.names(instance, row))
            config = reader.config(body, row, view.config(instance))
            if same and row.config == stored.config:
                config = row.config
            record = declaration(row, config=config)
            precondition.check("update", configured(row), configured(row) | {"config": record.config})
            if record.config == row.config:
                return None
            if row.origin == "baseline":
                raise Conflict(f"instance `{id}` not changed: it is in the config file; change it there")
            spec = services.declarations.spec(record)
            return replace(spec, module=instance.spec.module), record

        if not same and stored.origin != "baseline":
            await reader.check(declaration(stored, config=wanted))
        in_time = await changes.run(
            manager.change(id, declare), f"change of instance {id}", lambda: manager.stored(id) != stored
        )
        return _versioned(view.detail(instance), services, status=200 if in_time else 202)

    @delete(
        "/{id:str}",
        status_code=200,
        summary="Delete an instance",
        description="One with open orders or a position is not deleted. One that runs is stopped first.",
        operation_id="deleteInstance",
        guards=[ADMIN],
        responses=LATE_DELETION | NOT_FOUND | CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def delete_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[Removed]:
        """Deletes an instance. Raises NotFound, Conflict, HttpError and DatabaseUnavailable."""

        async def check(row: InstanceRow) -> None:
            precondition.check("delete", configured(row), None)
            if row.origin == "baseline":
                raise Conflict(
                    f"instance `{id}` not deleted: it is in use by the config file; remove it there"
                )
            held = await services.holder_faults(row)
            if held is not None:
                raise Conflict(f"instance `{id}` not deleted: it is in use: it has {held}")

        manager = services.instances
        instance = manager.get(id)
        in_time = await changes.run(
            manager.remove(id, check),
            f"deletion of instance {id}",
            lambda: id not in manager or instance.actual is InstanceState.STOPPING,
        )
        if in_time:
            return Response(Removed(id=id))
        return Response(Removed(id=id, status="removing"), status_code=202)

    @post(
        "/{id:str}/start",
        status_code=200,
        summary="Start an instance",
        operation_id="startInstance",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def start_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[InstanceView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[InstanceDetail]:
        """Starts an instance. Raises NotFound, Conflict, StartError and DatabaseUnavailable."""
        manager = services.instances
        instance = manager.get(id)
        precondition.check_run("start", configured(manager.stored(id)), instance.actual, "running")
        in_time = await changes.run(
            manager.start(id), f"start of instance {id}", lambda: not manager.starting(id)
        )
        return Response(view.detail(instance), status_code=200 if in_time else 202)

    @post(
        "/{id:str}/stop",
        status_code=200,
        summary="Stop an instance",
        operation_id="stopInstance",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def stop_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[InstanceView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[InstanceDetail]:
        """Stops an instance. Raises NotFound, Conflict and DatabaseUnavailable."""
        manager = services.instances
        instance = manager.get(id)
        precondition.check_run("stop", configured(manager.stored(id)), instance.actual, "stopped")
        in_time = await changes.run(
            manager.stop(id), f"stop of instance {id}", lambda: instance.desired is Desired.STOPPED
        )
        complete = in_time and manager.recorded(id)
        return Response(view.detail(instance), status_code=200 if complete else 202)


def _by_id(instance: ManagedInstance | InstanceRow) -> tuple[str]:
    return (instance.id,)


def _versioned(
    detail: InstanceDetail, services: ControlServices, *, status: int = 200
) -> Response[InstanceDetail]:
    """Returns an instance with the version of what is configured."""
    version = etag(configured(services.instances.stored(detail.id)))
    return Response(detail, status_code=status, headers={"etag": version})
