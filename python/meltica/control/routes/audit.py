"""`/audit`: who changed what and when."""

import re
from datetime import UTC, datetime
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import UNSET

from meltica.api.audit import AuditEntries, AuditEntry
from meltica.control.access import ADMIN
from meltica.control.routes.orders import Limit
from meltica.control.services import ControlServices
from meltica.http.errors import HttpError
from meltica.persistence.stores.audit import AuditFilter, AuditRow

MAX_LIMIT = 500
MAX_ID = 2**63 - 1
Time = Annotated[int | None, QueryParameter(ge=0, le=253402300799999, description="Milliseconds since 1970.")]
Action = Annotated[
    str | None, QueryParameter(description="An action, or all actions of a kind, such as `provider.`.")
]
# The name of the parameter is that of a dependency.
Actor = Annotated[str | None, QueryParameter(name="actor", description="Who changed it.")]
Cursor = Annotated[str | None, QueryParameter(description="That of the response before.")]


class AuditController(Controller):
    """The audit."""

    path = "/audit"
    tags = ["audit"]
    guards = [ADMIN]

    @get(summary="List who changed what", operation_id="listAudit")
    async def list_audit(
        self,
        services: NamedDependency[ControlServices],
        limit: Limit = 50,
        cursor: Cursor = None,
        by: Actor = None,
        action: Action = None,
        subject: FromQuery[str | None] = None,
        since: Time = None,
        until: Time = None,
    ) -> AuditEntries:
        """Returns changes, the latest first. Raises DatabaseUnavailable."""
        if any("\0" in text for text in (by, action, subject) if text is not None):
            raise HttpError(400, "invalid_parameter", "expected texts without NUL")
        only = AuditFilter(by, action, subject, _time(since), _time(until))
        wanted = min(limit, MAX_LIMIT)
        rows = await services.audit.latest(wanted + 1, _before(cursor), only)
        more, rows = len(rows) > wanted, rows[:wanted]
        entries = [_entry(row) for row in rows]
        return AuditEntries(entries=entries, count=len(entries), cursor=str(rows[-1].id) if more else UNSET)


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not re.fullmatch("[0-9]{1,19}", cursor) or int(cursor) > MAX_ID:
        raise HttpError(
            400, "invalid_parameter", f"`cursor`: expected that of a response, saw {cursor[:80]!r}"
        )
    return int(cursor)


def _time(value: int | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value / 1000, UTC)


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        acted_at=int(row.acted_at.timestamp() * 1000),
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        before=UNSET if row.before is None else row.before,
        after=UNSET if row.after is None else row.after,
        hash=row.hash.hex(),
    )
