"""`EventLog`: reads the outbox by number, for streams that resume where they ended.

The group commits of one gateway write the outbox, one after the other, so events become visible in the order
of their numbers.
"""

from datetime import datetime
from typing import Any, LiteralString

import msgspec
from psycopg.rows import class_row

from meltica.model.enums import Mode, Side
from meltica.persistence.database import Database

_POSITION: LiteralString = (
    "select coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')), 0)"
)
# An event that is younger than the retention was never pruned, and neither were those after it.
_RESUMABLE: LiteralString = """
    select created_at >= now() - make_interval(secs => %s) from outbox where id <= %s order by id desc limit 1
"""
_AFTER: LiteralString = """
    select e.id, e.aggregate_type, e.aggregate_id, e.event_type, e.payload, e.created_at,
        o.mode, o.symbol, o.side
    from outbox e left join orders o
        on o.id = case when e.aggregate_type = 'fill' then e.aggregate_id::uuid end
    where e.id > %s order by e.id limit %s
"""


class LoggedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the outbox; of a fill, also what its order has."""

    id: int
    aggregate_type: str
    aggregate_id: str
    event_type: str
    payload: dict[str, Any]
    created_at: datetime
    mode: Mode | None
    symbol: str | None
    side: Side | None


class EventLog:
    """The events that are not pruned."""

    def __init__(self, database: Database, retention: float) -> None:
        """`retention`: for how many seconds an event is kept at least."""
        self._database = database
        self._retention = retention

    async def position(self) -> int:
        """Returns a number that no event after this call is below."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(_POSITION)).fetchone()
        return 0 if row is None else int(row[0])

    async def is_complete_after(self, id: int, position: int) -> bool:
        """Returns whether no event between a number and a position has been pruned."""
        if id >= position:
            return id == position
        async with self._database.connection() as connection:
            row = await (await connection.execute(_RESUMABLE, (self._retention, id))).fetchone()
        return row is not None and bool(row[0])

    async def after(self, id: int, limit: int) -> list[LoggedEvent]:
        """Returns the next events, in the order of their numbers."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(LoggedEvent))
            return await (await cursor.execute(_AFTER, (id, limit))).fetchall()
