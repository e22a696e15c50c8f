"""`/strategy/instances/{id}/logs`: the last log lines of an instance."""

import logging
from typing import Annotated, Any, Literal

from litestar import Controller, Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from msgspec import UNSET

from meltica.api.instances import InstanceLogLine, InstanceLogLines
from meltica.control.access import VIEWER, Principal
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND
from meltica.control.services import ControlServices
from meltica.lambdas.log_ring import LINES, LogLine
from meltica.model.access import TokenScope

Level = Literal["debug", "info", "warning", "error", "critical"]
Limit = Annotated[int, QueryParameter(ge=1, description="The last lines; all are kept lines, at most 500.")]
After = Annotated[int, QueryParameter(ge=0, description="Only lines with a higher number.")]


class InstanceLogsController(Controller):
    """The log of one instance."""

    path = "/strategy/instances/{id:str}/logs"
    tags = ["instances"]
    guards = [VIEWER]

    @get(
        summary="List the last log lines of an instance",
        description="Those that the level of the log includes.",
        operation_id="listInstanceLogs",
        responses=NOT_FOUND | CONFLICT,
    )
    async def list_logs(
        self,
        id: FromPath[str],
        request: Request[Any, Any, Any],
        services: NamedDependency[ControlServices],
        limit: Limit = LINES,
        after: After = 0,
        level: FromQuery[Level] = "debug",
    ) -> InstanceLogLines:
        """Returns the last lines, the oldest first. Raises NotFound."""
        manager = services.instances
        least = logging.getLevelNamesMapping()
        found = [
            line
            for line in manager.logs.lines(manager.get(id).id)
            if line.number > after and least.get(line.level.upper(), 0) >= least[level.upper()]
        ][-limit:]
        principal: Principal = request.scope["user"]
        traced = principal.scope is not None and principal.scope.includes(TokenScope.OPERATOR)
        return InstanceLogLines(lines=[_line(each, traced=traced) for each in found], count=len(found))


def _line(line: LogLine, *, traced: bool) -> InstanceLogLine:
    return InstanceLogLine(
        number=line.number,
        time=line.time // 10**6,
        level=line.level,
        message=line.message,
        traceback=list(line.traceback) if traced and line.traceback else UNSET,
    )
