"""`/config/runtime`: the settings of the gateway."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from meltica.api.configuration import RuntimeSnapshot
from meltica.api.envelope import Change, JsonObject
from meltica.control import configuration
from meltica.control.access import ADMIN, VIEWER
from meltica.control.bodies import QUERY
from meltica.control.changes import ChangeRunner
from meltica.control.configuration import WantedConfiguration
from meltica.control.preconditions import CHANGE_QUERY, Precondition, etag
from meltica.control.routes.openapi import CONFLICT, PRECONDITION
from meltica.control.services import ControlServices

PATH: Final = "/config/runtime"


class ConfigurationController(Controller):
    """The settings of the gateway, beside providers and instances."""

    path = PATH
    tags = ["configuration"]
    guards = [VIEWER]

    @get(summary="Get the settings", operation_id="getRuntimeConfig")
    async def get_config(self, services: NamedDependency[ControlServices]) -> Response[RuntimeSnapshot]:
        """Returns the settings of the next start."""
        return _response(services)

    @put(
        status_code=200,
        summary="Change settings",
        description="An absent key is kept; null lets the config file decide again, and removes a limit."
        " Limits, the level of the log and telemetry apply at once, the others at the next start.",
        operation_id="updateRuntimeConfig",
        guards=[ADMIN],
        responses=CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def update_config(
        self,
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[RuntimeSnapshot]:
        """Changes settings. Raises HttpError, Conflict and DatabaseError."""
        return await _change(
            precondition, services, changes, lambda: configuration.changed(services, data), "set"
        )

    @delete(
        status_code=200,
        summary="Revert all settings to the config file",
        operation_id="revertRuntimeConfig",
        guards=[ADMIN],
        responses=CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def revert_config(
        self,
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[RuntimeSnapshot]:
        """Removes all that was set over REST. Raises HttpError, Conflict and DatabaseError."""
        return await _change(
            precondition, services, changes, lambda: configuration.reverted(services), "revert"
        )


async def _change(
    precondition: Precondition,
    services: ControlServices,
    changes: ChangeRunner,
    declare: Callable[[], WantedConfiguration],
    action: str,
) -> Response[RuntimeSnapshot]:
    limits, settings = services.trading.limits, services.configuration

    async def work() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(settings.changing())
            await stack.enter_async_context(limits.changing())
            wanted = declare()
            waiting = wanted.restart_required
            beside = (
                {"restartRequired": Change(after=waiting)} if waiting and wanted.settings is not None else {}
            )
            precondition.check("update", wanted.before, wanted.after, beside)
            if wanted.settings is not None or wanted.limits is not None:
                await settings.change(wanted.settings, wanted.limits, limits.store, action)
                await limits.adopt()

    await changes.run(work(), "change of the configuration", lambda: False)
    return _response(services)


def _response(services: ControlServices) -> Response[RuntimeSnapshot]:
    version = etag(configuration.configured(services))
    return Response(configuration.snapshot(services), headers={"etag": version})
