"""`/audit`: who changed what and when."""

from datetime import UTC, datetime
from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import UNSET

from meltica.api.audit import AuditEntries, AuditEntry
from meltica.control.access import ADMIN
from meltica.control.paging import MAX_LIMIT, Cursor, Limit, key_of, next_cursor
from meltica.control.services import ControlServices
from meltica.http.errors import HttpError
from meltica.persistence.stores.audit import AuditFilter, AuditRow
from meltica.persistence.stores.trading.queries import IdKey, Page

Time = Annotated[int | None, QueryParameter(ge=0, le=253402300799999, description="Milliseconds since 1970.")]
Action = Annotated[
    str | None, QueryParameter(description="An action, or all actions of a kind, such as `provider.`.")
]
# The name of the parameter is that of a dependency.
Actor = Annotated[str | None, QueryParameter(name="actor", description="Who changed it.")]


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
        before = key_of(cursor, IdKey)
        rows = await services.audit.latest(wanted + 1, None if before is None else before[0], only)
        found = Page(rows[:wanted], len(rows) > wanted)
        return AuditEntries(
            entries=[_entry(row) for row in found.rows],
            count=len(found.rows),
            cursor=next_cursor(found, lambda row: (row.id,)),
        )


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
