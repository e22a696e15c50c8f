"""`/strategy/start`, `/strategy/stop` and the restart of an instance."""

from typing import Any

from litestar import Controller, Response, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody

from meltica.api.envelope import JsonObject
from meltica.api.instances import BulkOutcomes, BulkRequest, InstanceDetail
from meltica.control.access import OPERATOR
from meltica.control.bodies import QUERY, read_body
from meltica.control.bulk import BulkChange
from meltica.control.changes import ChangeRunner
from meltica.control.instance_changes import configured
from meltica.control.instance_view import InstanceView, instance_view
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, response
from meltica.control.services import ControlServices
from meltica.persistence.stores.audit import rehearse
from meltica.runtime.lifecycle import Desired

LATE = response(202, InstanceDetail, "The restart takes longer and continues in the background")
SOME_LATE = response(202, BulkOutcomes, "Some changes take longer and continue in the background")


class InstanceRunsController(Controller):
    """Runs of instances: restarts, and starts and stops of several ones."""

    path = "/strategy"
    tags = ["instances"]
    guards = [OPERATOR]
    dependencies = {"view": Provide(instance_view, sync_to_thread=False)}

    @post(
        "/instances/{id:str}/restart",
        status_code=200,
        summary="Restart an instance",
        description="One that does not run is started.",
        operation_id="restartInstance",
        opt={QUERY: CHANGE_QUERY},
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def restart_instance(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[InstanceView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[InstanceDetail]:
        """Restarts an instance. Raises NotFound, Conflict, StartError and DatabaseUnavailable."""
        manager = services.instances
        instance = manager.get(id)
        precondition.check_run("restart", configured(manager.stored(id)), f"{instance.actual}", "restarted")
        in_time = await changes.run(
            manager.restart(id), f"restart of instance {id}", lambda: not manager.starting(id)
        )
        return Response(view.detail(instance), status_code=200 if in_time else 202)

    @post(
        "/start",
        status_code=200,
        summary="Start several instances",
        description="One that fails does not affect the others; each has its outcome.",
        operation_id="startInstances",
        opt={QUERY: CHANGE_QUERY},
        responses=SOME_LATE | NOT_FOUND | CONFLICT,
    )
    async def start_instances(
        self,
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[BulkOutcomes]:
        """Starts instances. Raises HttpError, and NotFound, after which nothing changed."""
        return await _change(data, services, changes, precondition, Desired.RUNNING)

    @post(
        "/stop",
        status_code=200,
        summary="Stop several instances",
        description="One that fails does not affect the others; each has its outcome.",
        operation_id="stopInstances",
        opt={QUERY: CHANGE_QUERY},
        responses=SOME_LATE | NOT_FOUND | CONFLICT,
    )
    async def stop_instances(
        self,
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[BulkOutcomes]:
        """Stops instances. Raises HttpError, and NotFound, after which nothing changed."""
        return await _change(data, services, changes, precondition, Desired.STOPPED)


async def _change(
    body: dict[str, Any],
    services: ControlServices,
    changes: ChangeRunner,
    precondition: Precondition,
    desired: Desired,
) -> Response[BulkOutcomes]:
    change = BulkChange(services.instances, changes, desired)
    selected = change.selected(read_body(BulkRequest, body, BulkOutcomes))
    with precondition.rehearsal():
        rehearse(
            "start" if desired is Desired.RUNNING else "stop",
            {each.id: each.actual for each in selected},
            {each.id: desired.value for each in selected},
        )
        outcomes = await change.run(selected)
    is_late = any(each.outcome == "pending" for each in outcomes.instances)
    return Response(outcomes, status_code=202 if is_late else 200)
