"""The operators' side of the outbox: what waits for which consumer, and what to do about dead letters."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString

import msgspec
from psycopg.rows import class_row
from psycopg.sql import SQL

from meltica.errors import Conflict, NotFound, suggestion
from meltica.persistence.database import Database
from meltica.persistence.stores.audit import AuditEntry, append
from meltica.persistence.stores.outbox import MARK_PRUNED

_EVENTS = """
    select id, aggregate_type, aggregate_id, event_type, payload, headers, created_at, delivered_at
    from outbox
"""
_DELIVERIES = """
    select consumer, event, attempts, available_at, last_error, dead
    from outbox_deliveries where event = any(%s) order by consumer
"""
_CONSUMERS = """
    select name, c.created_at,
        count(event) filter (where not dead) as waiting,
        count(event) filter (where dead) as dead,
        min(o.created_at) as oldest_at,
        (array_agg(last_error order by event desc) filter (where last_error is not null))[1] as last_error
    from outbox_consumers c left join outbox_deliveries on consumer = name left join outbox o on o.id = event
    group by name order by name
"""
_RETRY = """
    update outbox_deliveries set dead = false, attempts = 0, available_at = clock_timestamp()
    where consumer = %(consumer)s and dead and (%(events)s::bigint[] is null or event = any(%(events)s))
    returning event
"""
_DROP = """
    delete from outbox_deliveries
    where consumer = %(consumer)s and dead and (%(events)s::bigint[] is null or event = any(%(events)s))
    returning event
"""
_DELETE: LiteralString = (
    """
    with pruned as (
        delete from outbox where id = %s returning id, aggregate_type, aggregate_id, event_type
    ), marked as ("""
    + MARK_PRUNED
    + """)
    select aggregate_type, aggregate_id, event_type from pruned
"""
)


class StoredDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a consumer did not receive yet."""

    consumer: str
    event: int
    attempts: int
    available_at: datetime
    last_error: str | None
    dead: bool


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event, and the consumers that did not receive it yet."""

    id: int
    aggregate_type: str
    aggregate_id: str
    event_type: str
    payload: dict[str, Any]
    headers: dict[str, str]
    created_at: datetime
    delivered_at: datetime | None
    deliveries: list[StoredDelivery] = []


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer, and what it did not receive yet."""

    name: str
    created_at: datetime
    waiting: int
    dead: int
    oldest_at: datetime | None
    """When the oldest event that it did not receive was written, dead letters included."""
    last_error: str | None


class OutboxAdmin:
    """Lists events and consumers, and changes deliveries. Changes are audited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def events(
        self,
        *,
        delivered: bool = False,
        dead: bool | None = None,
        consumer: str | None = None,
        aggregate_type: str | None = None,
        aggregate_id: str | None = None,
        after: int = 0,
        limit: int,
    ) -> list[StoredEvent]:
        """Returns events that all consumers have received, or that some have not, the oldest first.

        - `dead`: only dead letters, or only others.
        - `consumer`: the state of the delivery is that to this consumer.

        """
        waits: list[tuple[LiteralString, object]] = [("consumer = %s", consumer), ("dead = %s", dead)]
        rows: list[tuple[LiteralString, object]] = [
            ("id > %s", after),
            ("aggregate_type = %s", aggregate_type),
            ("aggregate_id = %s", aggregate_id),
        ]
        delivery = SQL(" and ").join(
            [SQL("event = outbox.id"), *(SQL(text) for text, value in waits if value is not None)]
        )
        exists = SQL("{} (select from outbox_deliveries where {})").format(
            SQL("not exists" if delivered else "exists"), delivery
        )
        conditions = [exists, *(SQL(text) for text, value in rows if value is not None)]
        values = [value for _, value in (*waits, *rows) if value is not None]
        where = SQL(" where ") + SQL(" and ").join(conditions) + SQL(" order by id limit %s")
        async with self._database.reading() as connection:
            cursor = connection.cursor(row_factory=class_row(StoredEvent))
            found = await (await cursor.execute(SQL(_EVENTS) + where, [*values, limit])).fetchall()
            deliveries = connection.cursor(row_factory=class_row(StoredDelivery))
            await deliveries.execute(_DELIVERIES, [[each.id for each in found]])
            waiting: dict[int, list[StoredDelivery]] = defaultdict(list)
            for each in await deliveries.fetchall():
                waiting[each.event].append(each)
        return [msgspec.structs.replace(each, deliveries=waiting[each.id]) for each in found]

    async def consumers(self) -> list[Consumer]:
        """Returns all consumers, by name."""
        async with self._database.reading() as connection:
            cursor = connection.cursor(row_factory=class_row(Consumer))
            return await (await cursor.execute(_CONSUMERS)).fetchall()

    async def consumer(self, name: str) -> Consumer:
        """Returns a consumer. Raises NotFound with the nearest name."""
        found = {each.name: each for each in await self.consumers()}
        if name not in found:
            raise NotFound(f"consumer `{name}` does not exist{suggestion(name, found)}")
        return found[name]

    async def retry(self, name: str, events: Sequence[int] | None, actor: str, reason: str) -> list[int]:
        """Makes dead letters of a consumer due again with all their attempts: these events, or all.

        Returns their ids. Raises NotFound, and Conflict for one of `events` that is not a dead letter of it.
        """
        return await self._settle(_RETRY, "retry", name, events, actor, reason)

    async def drop(self, name: str, events: Sequence[int] | None, actor: str, reason: str) -> list[int]:
        """Lets a consumer never receive dead letters of it: these events, or all. Others still receive them.

        Returns their ids. Raises NotFound, and Conflict for one of `events` that is not a dead letter of it.
        """
        return await self._settle(_DROP, "drop", name, events, actor, reason)

    async def _settle(
        self,
        query: LiteralString,
        action: str,
        name: str,
        events: Sequence[int] | None,
        actor: str,
        reason: str,
    ) -> list[int]:
        await self.consumer(name)
        async with self._database.transaction() as connection:
            values = {"consumer": name, "events": None if events is None else list(events)}
            rows = await (await connection.execute(query, values)).fetchall()
            settled = sorted(id for (id,) in rows)
            if missing := set(events or ()) - set(settled):
                raise Conflict(f"nothing changed: event {min(missing)} is not a dead letter of {name}")
            if settled:
                after = {"events": settled, "reason": reason}
                entry = AuditEntry(actor=actor, action=f"outbox.{action}", subject=name, after=after)
                await append(connection, entry)
        return settled

    async def delete(self, id: int, actor: str) -> None:
        """Deletes an event, which no consumer receives any more. Raises NotFound."""
        async with self._database.transaction() as connection:
            row = await (await connection.execute(_DELETE, [id])).fetchone()
            if row is None:
                raise NotFound(f"event {id} does not exist")
            before = {"aggregateType": row[0], "aggregateId": row[1], "eventType": row[2]}
            await append(
                connection, AuditEntry(actor=actor, action="outbox.delete", subject=str(id), before=before)
            )
