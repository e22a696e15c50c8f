"""The order of events that several transactions write at once: no reader passes one that may still appear."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import psycopg
import pytest

from meltica.control.streams.events import EventFilter
from meltica.control.streams.hub import EventHub
from meltica.control.streams.subscriber import Subscriber
from meltica.errors import DatabaseUnavailable
from meltica.persistence.database import Database
from meltica.persistence.stores import event_log
from meltica.persistence.stores.event_log import EventLog, LoggedEvent

INSERT = """
    insert into outbox (aggregate_type, aggregate_id, event_type, payload)
    values ('risk', 'global', 'risk.resumed', '{}') returning id
"""


@pytest.fixture(name="log")
async def _log(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[EventLog]:
    """Yields a log that does not wait for transactions."""
    monkeypatch.setattr(event_log, "SETTLE_SECONDS", 0.0, raising=False)
    async with await Database.open(database_url) as database:
        yield EventLog(database)


def insert(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(INSERT).fetchone()
    assert row is not None
    return int(row[0])


async def read(log: EventLog, id: int = 0) -> list[int]:
    return [each.id for each in await log.after(id, 100)]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_an_event_waits_for_those_with_a_lower_number(
    log: EventLog, database_url: str, end: str
) -> None:
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        before = insert(second)
        second.commit()
        lower = insert(first)
        higher = insert(second)
        second.commit()
        assert await read(log) == [before]
        assert await read(log, before) == []
        with pytest.raises(DatabaseUnavailable, match="does not end"):
            await log.position()
        getattr(first, end)()
        assert await read(log, before) == ([lower] if end == "commit" else []) + [higher]
        assert await log.position() == higher


async def test_a_stream_that_joins_misses_nothing_that_another_one_read(database_url: str) -> None:
    """A read that was answered late is older than what another stream has read meanwhile."""
    async with await Database.open(database_url) as database:
        answered, asked = asyncio.Event(), asyncio.Event()

        class Slow(EventLog):
            slow = True

            async def after(self, id: int, limit: int) -> list[LoggedEvent]:
                found, Slow.slow, slow = await super().after(id, limit), False, Slow.slow
                if slow:
                    asked.set()
                    await answered.wait()
                return found

        hub = EventHub(Slow(database), lambda: (), lambda: False)
        late, other = Subscriber(EventFilter(), 0), Subscriber(EventFilter(), 0)
        hub.enter()
        hub.enter()
        catching_up = asyncio.ensure_future(hub.catch_up(late))
        await asked.wait()
        with psycopg.connect(database_url) as connection:
            id = insert(connection)
        assert [each.id for each in await hub.catch_up(other)] == [id]
        assert await hub.catch_up(other) == []
        answered.set()
        assert [each.id for each in await catching_up] == [id]
        for each in (late, other):
            hub.leave(each)
