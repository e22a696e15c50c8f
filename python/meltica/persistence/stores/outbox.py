"""The outbox: events that are committed with what they report, and delivered to named consumers.

Each consumer receives each event, of the types it was added for, that is committed after it was added:

1. At least once, also when the consumer or the gateway is killed. The id of an event reveals repetitions.
2. In the order of the ids, except for events that are delivered again.
3. At most `MAX_ATTEMPTS` times. The claim counts an attempt, so an event that kills its consumer becomes a
   dead letter, too.

A claim lasts for a lease. Events of a consumer that died are claimed again after it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, LiteralString

import msgspec
import orjson
from psycopg.errors import LockNotAvailable
from psycopg.rows import kwargs_row

from meltica.errors import DatabaseUnavailable
from meltica.persistence.database import Database
from meltica.persistence.stores.trading.rows import FillRow, LedgerEntryRow, OrderRow, Row, clean
from meltica.telemetry.trace_context import current

TRACE = "traceparent"
MAX_ATTEMPTS = 20
LEASE = 60.0
ENTRY = "balance.entry"
"""The type of an event of an entry of what is of no instance, such as a deposit."""
RETENTION = 24 * 3600.0
"""How long an event is kept after its last consumer received it; times are seconds."""

INSERT_EVENTS = b"""
    insert into outbox (aggregate_type, aggregate_id, event_type, payload, headers)
    select aggregate_type, aggregate_id, event_type, payload, coalesce(headers, '{}')
    from json_populate_recordset(null::outbox, %s) returning id, event_type
"""
INSERT_DELIVERIES = b"""
    insert into outbox_deliveries (consumer, event)
    select name, id from outbox_consumers, new_outbox where events is null or event_type = any(events)
"""
"""Each consumer gets a delivery of each of its events that the same statement inserts as `new_outbox`."""

_CLAIM = """
    with due as (
        select consumer, event from outbox_deliveries
        where consumer = %(consumer)s and not dead and available_at <= clock_timestamp()
        order by event limit %(limit)s for update skip locked
    ), exhausted as (
        update outbox_deliveries d set dead = true, last_error = coalesce(last_error, 'not acknowledged')
        from due where (d.consumer, d.event) = (due.consumer, due.event) and attempts >= %(attempts)s
    ), claimed as (
        update outbox_deliveries d
        set attempts = attempts + 1, available_at = clock_timestamp() + make_interval(secs => %(lease)s)
        from due where (d.consumer, d.event) = (due.consumer, due.event) and attempts < %(attempts)s
        returning d.event, d.attempts
    )
    select id, aggregate_type, aggregate_id, event_type, payload, headers, created_at, attempts
    from claimed join outbox on outbox.id = claimed.event order by id
"""
# An attempt without an answer may have taken the whole lease; a longer wait replaces what is left of it.
_FAILED = """
    update outbox_deliveries set
        last_error = %(error)s,
        dead = attempts >= %(attempts)s,
        available_at = clock_timestamp()
            + make_interval(secs => least(2 ^ least(attempts, 20), 600) * (1 - random() / 5))
    where consumer = %(consumer)s and event = %(event)s
    returning dead
"""
_DELIVERED = """
    with delivered as (
        delete from outbox_deliveries where consumer = %(consumer)s and event = any(%(events)s)
        returning event
    )
    update outbox set delivered_at = clock_timestamp() from delivered where outbox.id = delivered.event
"""
_DEAD = """
    select id, aggregate_type, aggregate_id, event_type, payload, headers, created_at, attempts, last_error
    from outbox_deliveries join outbox on outbox.id = event
    where consumer = %s and dead order by event limit %s
"""
_BACKLOG = """
    select name, count(event) filter (where not dead), count(event) filter (where dead)
    from outbox_consumers left join outbox_deliveries on consumer = name group by name
"""
_TRIM = """
    delete from outbox_deliveries where (consumer, event) in (
        select consumer, event from outbox_deliveries where consumer = %s order by event desc offset %s
    )
"""
MARK_PRUNED: LiteralString = """
    update outbox_pruned set up_to = greatest(up_to, (select max(id) from pruned))
"""
"""Records the deletion of the events in `pruned`, of the same statement: no stream resumes before them."""
_PRUNE: LiteralString = (
    """
    with pruned as (
        delete from outbox where id in (
            select id from outbox
            where created_at < now() - make_interval(secs => %(seconds)s)
              and coalesce(delivered_at, created_at) < now() - make_interval(secs => %(seconds)s)
              and not exists (select from outbox_deliveries where event = outbox.id)
            order by created_at limit %(limit)s
        ) returning id
    ), marked as ("""
    + MARK_PRUNED
    + """)
    select count(*) from pruned
"""
)

Aggregate = Literal["order", "fill", "balance", "risk", "lifecycle"]


class EventRow(Row, frozen=True, kw_only=True):
    """A row of the table `outbox`."""

    aggregate_type: Aggregate
    aggregate_id: str
    """The id of the order for orders and fills; the provider, instance or scope for others."""
    event_type: str
    payload: msgspec.Raw
    headers: dict[str, str] = {}


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event for one consumer."""

    id: int
    aggregate_type: str
    aggregate_id: str
    event_type: str
    payload: Any
    headers: dict[str, str]
    created_at: datetime
    attempts: int
    last_error: str | None = None


class Backlog(msgspec.Struct, frozen=True):
    """What one consumer did not receive yet."""

    consumer: str
    waiting: int
    dead: int


def event(
    aggregate_type: Aggregate,
    aggregate_id: str,
    event_type: str,
    payload: object,
    headers: dict[str, str] | None = None,
) -> EventRow:
    """Returns an event. Decimals, enums and UUIDs of the payload become strings."""
    return EventRow(
        aggregate_type=aggregate_type,
        aggregate_id=aggregate_id,
        event_type=event_type,
        payload=msgspec.Raw(orjson.dumps(payload, default=_plain)),
        headers=headers or {},
    )


def order_event(row: OrderRow, headers: dict[str, str] | None = None) -> EventRow:
    """Returns the event of an order's state, such as `order.filled`."""
    return event("order", str(row.id), f"order.{row.state.lower()}", clean(row), headers)


def fill_event(row: FillRow, headers: dict[str, str] | None = None) -> EventRow:
    """Returns the event of a fill."""
    return event("fill", str(row.order_id), "fill", row, headers)


def entry_event(row: LedgerEntryRow) -> EventRow:
    """Returns the event of an entry of what is of no instance, such as a deposit or an inventory."""
    trace = current.get()
    return event("balance", row.provider, ENTRY, row, trace_headers(None if trace is None else trace.header))


def trace_headers(traceparent: str | None) -> dict[str, str]:
    """Returns the headers of an event that a request caused, so that its consumers continue the trace."""
    return {} if traceparent is None else {TRACE: traceparent}


class Outbox:
    """The consumers' side of the outbox. Several consumers of one name, in any process, share its events."""

    def __init__(self, database: Database, *, lease: float = LEASE, max_attempts: int = MAX_ATTEMPTS) -> None:
        self._database = database
        self._lease = lease
        self._max_attempts = max_attempts

    async def add_consumer(self, name: str, events: Sequence[str] | None = None) -> None:
        """Adds a consumer, which receives the events of these types, or all, from now on.

        A consumer that exists keeps what waits for it, and receives these types from now on.

        Raises DatabaseUnavailable if a transaction that writes events does not end.
        """
        async with self._database.connection() as connection:
            types = None if events is None else sorted(events)
            found = await connection.execute(
                "update outbox_consumers set events = %s where name = %s", [types, name]
            )
            if found.rowcount:
                return
            try:
                async with connection.transaction():
                    # Events that are being written do not see the consumer, and would be committed after it.
                    # Orders wait for this lock, so it is not waited for any longer.
                    await connection.execute("set local lock_timeout = '1s'")
                    await connection.execute("lock table outbox in share row exclusive mode")
                    await connection.execute(
                        "insert into outbox_consumers (name, events) values (%s, %s) on conflict do nothing",
                        [name, types],
                    )
            except LockNotAvailable:
                text = "a transaction that writes events does not end; retry later"
                raise DatabaseUnavailable(f"consumer `{name}` not added: {text}") from None

    async def remove_consumer(self, name: str) -> None:
        """Removes a consumer with what it did not receive yet."""
        async with self._database.connection() as connection:
            await connection.execute("delete from outbox_consumers where name = %s", [name])

    async def claim(self, consumer: str, limit: int = 100) -> list[Delivery]:
        """Claims the next events of a consumer for a lease, oldest first."""
        values = {
            "consumer": consumer,
            "limit": limit,
            "lease": self._lease,
            "attempts": self._max_attempts,
        }
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=kwargs_row(Delivery))
            return await (await cursor.execute(_CLAIM, values)).fetchall()

    async def delivered(self, consumer: str, events: list[int]) -> None:
        """Records that a consumer received events."""
        async with self._database.connection() as connection:
            await connection.execute(_DELIVERED, {"consumer": consumer, "events": events})

    async def failed(self, consumer: str, event: int, error: str) -> bool:
        """Postpones an event; returns whether it became a dead letter.

        By 2 s at first, twice as much each time, at most by 10 min; up to a fifth less, at random.
        """
        values = {
            "consumer": consumer,
            "event": event,
            "error": error.replace("\0", "")[:1000],
            "attempts": self._max_attempts,
        }
        async with self._database.connection() as connection:
            row = await (await connection.execute(_FAILED, values)).fetchone()
        return row is not None and bool(row[0])

    async def trim(self, consumer: str, keep: int) -> int:
        """Lets a consumer never receive its oldest events but the last `keep`; returns how many."""
        async with self._database.connection() as connection:
            return (await connection.execute(_TRIM, [consumer, keep])).rowcount

    async def dead_letters(self, consumer: str, limit: int = 100) -> list[Delivery]:
        """Returns the events that a consumer gave up on, oldest first."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=kwargs_row(Delivery))
            return await (await cursor.execute(_DEAD, [consumer, limit])).fetchall()

    async def retry(self, consumer: str, events: list[int]) -> None:
        """Makes dead letters due again, with all their attempts."""
        async with self._database.connection() as connection:
            await connection.execute(
                "update outbox_deliveries set dead = false, attempts = 0, available_at = clock_timestamp()"
                " where consumer = %s and event = any(%s) and dead",
                [consumer, events],
            )

    async def backlog(self) -> list[Backlog]:
        """Returns what each consumer did not receive yet, by name."""
        async with self._database.connection() as connection:
            rows = await (await connection.execute(_BACKLOG)).fetchall()
        return sorted((Backlog(*row) for row in rows), key=lambda each: each.consumer)

    async def prune(self, retention: float = RETENTION, limit: int = 10_000) -> int:
        """Deletes events that every consumer received before `retention` seconds; returns how many."""
        async with self._database.connection() as connection:
            cursor = await connection.execute(_PRUNE, {"seconds": retention, "limit": limit})
            row = await cursor.fetchone()
        return 0 if row is None else int(row[0])


def _plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    return str(value)
