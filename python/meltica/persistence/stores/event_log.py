"""`EventLog`: reads the outbox by number, for streams that resume where they ended.

Several transactions write the outbox at once, and the one with the lower number may commit last. So a number
that is absent may still appear: what follows it is returned once every transaction that was writing the
outbox when the gap was seen has ended. Each holds a lock of the table from its first number to its end.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row

from meltica.errors import DatabaseUnavailable
from meltica.model.enums import Mode, Side
from meltica.persistence.database import Database

SETTLE_SECONDS: Final = 2.0
"""How long a read waits for the transactions behind a gap; then it returns what is before the gap."""
SETTLE_POLL: Final = 0.01

_POSITION: LiteralString = (
    "select coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')), 0)"
)
_AFTER: LiteralString = """
    select e.id, e.aggregate_type, e.aggregate_id, e.event_type, e.payload, e.headers, e.created_at,
        o.mode, o.symbol, o.side, (select up_to from outbox_pruned) as pruned
    from outbox e left join orders o
        on o.id = case when e.aggregate_type = 'fill' then e.aggregate_id::uuid end
    where e.id > %s order by e.id limit %s
"""
_WRITERS: LiteralString = """
    select virtualtransaction from pg_locks
    where locktype = 'relation' and relation = 'outbox'::regclass and mode = 'RowExclusiveLock' and granted
        and database = (select oid from pg_database where datname = current_database())
"""


class LoggedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the outbox; of a fill, also what its order has."""

    id: int
    aggregate_type: str
    aggregate_id: str
    event_type: str
    payload: dict[str, Any]
    headers: dict[str, str]
    created_at: datetime
    mode: Mode | None
    symbol: str | None
    side: Side | None
    pruned: int
    """The highest number of an event that was deleted before the read."""


class EventLog:
    """The events that are not pruned."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def position(self) -> int:
        """Returns a number that no event after this call is below; every event up to it can be read.

        Raises DatabaseUnavailable if a transaction that may add one does not end.
        """
        async with self._database.reading() as connection:
            row = await (await connection.execute(_POSITION)).fetchone()
            if not await _settled(connection):
                raise DatabaseUnavailable("events not read: a transaction that writes events does not end")
        return 0 if row is None else int(row[0])

    async def is_complete_after(self, id: int, position: int) -> bool:
        """Returns whether no event between a number and a position was deleted."""
        if id >= position:
            return id == position
        async with self._database.connection() as connection:
            row = await (await connection.execute("select up_to from outbox_pruned")).fetchone()
        return row is not None and id >= int(row[0])

    async def after(self, id: int, limit: int) -> list[LoggedEvent]:
        """Returns the next events, in the order of their numbers: none that a later one may precede."""
        async with self._database.reading() as connection:
            found = await _read(connection, id, limit)
            safe = _until_gap(found, id)
            if safe == len(found):
                return found
            if not await _settled(connection):
                return found[:safe]
            # Beyond the last one, numbers were given out since.
            return [each for each in await _read(connection, id, limit) if each.id <= found[-1].id]


async def _read(connection: AsyncConnection, id: int, limit: int) -> list[LoggedEvent]:
    cursor = connection.cursor(row_factory=class_row(LoggedEvent))
    return await (await cursor.execute(_AFTER, (id, limit))).fetchall()


def _until_gap(events: Sequence[LoggedEvent], id: int) -> int:
    """Returns how many events follow a number without a gap."""
    return next((n for n, each in enumerate(events) if each.id != id + n + 1), len(events))


async def _settled(connection: AsyncConnection) -> bool:
    """Waits until the transactions that write the outbox now have ended; returns whether they did in time."""
    deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
    writers: set[str] | None = None
    while True:
        rows = await (await connection.execute(_WRITERS)).fetchall()
        current = {str(row[0]) for row in rows}
        writers = current if writers is None else writers & current
        if not writers:
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(SETTLE_POLL)
