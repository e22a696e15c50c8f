"""`/config/backup`: the backups of `/context/backup`, in another form that existing clients read."""

from typing import Any, Final

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency

from meltica.api.backup import ConfigBackup, ConfigRestored
from meltica.control.access import ADMIN
from meltica.control.bodies import QUERY
from meltica.control.changes import ChangeRunner
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.backup import NO_SPACE, backup, restored
from meltica.control.routes.openapi import CONFLICT, PRECONDITION, response
from meltica.control.services import ControlServices
from meltica.http.request_gate import TAKES_BODY

PATH: Final = "/config/backup"
LATE = response(202, ConfigRestored, "Still under way")


class ConfigBackupController(Controller):
    """Another form of the backup."""

    path = PATH
    tags = ["backup"]
    guards = [ADMIN]

    @get(
        summary="Make a backup in sections",
        description="The backup of `/context/backup`, with `providers.runtime` and `lambdas.instances`.",
        operation_id="getConfigBackup",
        responses=CONFLICT,
    )
    async def get_backup(
        self, request: Request[Any, Any, Any], services: NamedDependency[ControlServices]
    ) -> Response[ConfigBackup]:
        """Returns a backup. Raises HttpError and DatabaseError."""
        return await backup(request, services, sections=True)

    @post(
        status_code=200,
        summary="Restore a backup of either form",
        description="The same as for `/context/backup`; `providers` and `lambdas` count those of the backup.",
        operation_id="restoreConfigBackup",
        responses=LATE | CONFLICT | PRECONDITION | NO_SPACE,
        opt={QUERY: (*CHANGE_QUERY, "start", "accounts"), TAKES_BODY: True},
        request_max_body_size=None,
    )
    async def restore_backup(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[ConfigRestored]:
        """Restores a backup. Raises HttpError, Conflict and DatabaseError."""
        result, plan, headers = await restored(request, services, changes, precondition)
        counts = (0, 0) if plan is None else (len(plan.providers), len(plan.instances))
        body = ConfigRestored(**msgspec.structs.asdict(result), providers=counts[0], lambdas=counts[1])
        return Response(body, status_code=200 if headers else 202, headers=headers)
