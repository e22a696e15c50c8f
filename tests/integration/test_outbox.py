"""The outbox: each event reaches each consumer at least once, also when processes are killed."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import psycopg
import pytest

from meltica.errors import DatabaseUnavailable, LockNotHeld
from meltica.model.enums import OrderState
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.outbox import (
    INSERT_DELIVERIES,
    INSERT_EVENTS,
    Backlog,
    Outbox,
    event,
    fill_event,
    order_event,
)
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support.trading_process import CONSUMER, lines, running
from tests.support.trading_rows import fill, order

KILLS = 6


class World(NamedTuple):
    """The writer of a gateway, and an outbox with two consumers."""

    url: str
    writer: GroupCommitWriter
    outbox: Outbox

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a statement in a session of its own."""
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(name="world")
async def _world(database_url: str) -> AsyncGenerator[World]:
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    async with await Database.open(database_url) as database:
        outbox = Outbox(database, max_attempts=3)
        await outbox.add_consumer("hook")
        await outbox.add_consumer("stream")
        yield World(database_url, GroupCommitWriter(database, lock), outbox)
    await lock.release()


async def test_each_consumer_receives_each_event_once_and_in_order(world: World) -> None:
    new = order(tag="quote", state=OrderState.ACK)
    filled = fill(new, fee=Decimal("-0.00010"))
    await world.writer.commit([new, order_event(new, {"trace": "t-1"})])
    await world.writer.commit([filled, fill_event(filled), event("balance", "main", "balance", {})])
    for consumer in ("hook", "stream"):
        first = await world.outbox.claim(consumer, 1)
        second = await world.outbox.claim(consumer)
        assert [each.event_type for each in (*first, *second)] == ["order.ack", "fill", "balance"]
        assert await world.outbox.claim(consumer) == []
        assert first[0].headers == {"trace": "t-1"}
        assert first[0].payload["client_order_id"] == new.client_order_id
        assert first[0].payload["quantity"] == "0.0100"
        assert second[0].payload["fee"] == "-0.00010"
        await world.outbox.delivered(consumer, [each.id for each in (*first, *second)])
    assert await world.outbox.backlog() == [Backlog("hook", 0, 0), Backlog("stream", 0, 0)]


async def test_no_event_is_committed_after_a_consumer_and_not_delivered_to_it(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.url, options="-c search_path=meltica") as writing:
        rows = '[{"aggregate_type": "balance", "aggregate_id": "a", "event_type": "balance", "payload": {}}]'
        statement = b"with new_outbox as (" + INSERT_EVENTS + b")" + INSERT_DELIVERIES
        await writing.execute(statement, [rows])
        adding = asyncio.create_task(world.outbox.add_consumer("late"))
        waiting = "select 1 from pg_locks where relation = 'meltica.outbox'::regclass and not granted"
        while not adding.done() and not world.query(waiting):
            await asyncio.sleep(0.01)
        assert not adding.done()
        await writing.commit()
        await adding
    await world.writer.commit([event("balance", "main", "balance", {})])
    assert len(await world.outbox.claim("hook")) == 2
    assert len(await world.outbox.claim("late")) == 1


async def test_a_consumer_is_not_added_while_a_transaction_does_not_end(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.url) as writing:
        await writing.execute("lock table meltica.outbox in row exclusive mode")
        with pytest.raises(DatabaseUnavailable, match="consumer `late` not added"):
            await world.outbox.add_consumer("late")
        await world.outbox.add_consumer("hook")  # it exists, and needs no lock
    await world.outbox.add_consumer("late")


async def test_an_event_exists_only_with_what_it_reports(world: World) -> None:
    new = order()
    world.query("update meltica.gateway set epoch = epoch + 1")
    with pytest.raises(LockNotHeld):
        await world.writer.commit([new, order_event(new)])
    assert world.query(
        "select (select count(*) from meltica.orders), (select count(*) from meltica.outbox)"
    ) == [(0, 0)]


async def test_a_consumer_receives_the_events_since_it_was_added(world: World) -> None:
    await world.writer.commit([event("lifecycle", "maker", "instance.started", {})])
    await world.outbox.add_consumer("late")
    await world.outbox.add_consumer("hook")
    await world.writer.commit([event("lifecycle", "maker", "instance.stopped", {})])
    assert [each.event_type for each in await world.outbox.claim("late")] == ["instance.stopped"]
    assert len(await world.outbox.claim("hook")) == 2
    await world.outbox.remove_consumer("late")
    assert [each.consumer for each in await world.outbox.backlog()] == ["hook", "stream"]


async def test_a_consumer_receives_only_the_types_that_it_was_added_for(world: World) -> None:
    provider = "insert into meltica.providers (name, origin, adapter) values ('a', 'dynamic', 'fake')"

    async def write() -> list[str]:
        await world.writer.commit([event("risk", "global", kind, {}) for kind in ("risk.halted", "balance")])
        world.query(provider)
        world.query("delete from meltica.providers")
        received = await world.outbox.claim("some")
        await world.outbox.delivered("some", [each.id for each in received])
        return [each.event_type for each in received]

    await world.outbox.add_consumer("some", ["risk.halted", "provider.deleted"])
    assert await write() == ["risk.halted", "provider.deleted"]
    await world.outbox.add_consumer("some", ["provider.created"])
    assert await write() == ["provider.created"]
    await world.outbox.add_consumer("some", [])
    assert await write() == []
    await world.outbox.add_consumer("some")
    assert await write() == ["risk.halted", "balance", "provider.created", "provider.deleted"]
    assert len(await world.outbox.claim("hook")) == 16


async def test_the_oldest_events_of_a_consumer_are_trimmed(world: World) -> None:
    await world.writer.commit([event("risk", "global", "risk.halted", {"n": n}) for n in range(5)])
    assert await world.outbox.trim("hook", 5) == 0
    assert await world.outbox.trim("hook", 2) == 3
    assert [each.payload["n"] for each in await world.outbox.claim("hook")] == [3, 4]
    assert len(await world.outbox.claim("stream")) == 5


@pytest.mark.parametrize(("kind", "key"), [("provider", "name"), ("instance", "id")])
async def test_changes_of_states_are_events_of_their_transaction(world: World, kind: str, key: str) -> None:
    columns = "adapter" if kind == "provider" else "strategy, selector, scope, host"
    values = "'fake'" if kind == "provider" else "'s', 's', '{}', 'thread'"
    table = f"{kind}s"
    world.query(f"insert into {table} ({key}, origin, {columns}) values ('a', 'dynamic', {values})")
    for change in (
        "desired = 'running'",
        "actual = 'starting'",
        "actual = 'failed', last_error = 'no licence'",
        "updated_at = now()",
        "actual = 'stopped', desired = 'stopped', last_error = null",
        "desired = 'running'",
        "desired = 'stopped'",
    ):
        world.query(f"update {table} set {change}")
    with psycopg.connect(world.url) as connection:
        connection.execute(f"update {table} set actual = 'running'".encode())
        connection.rollback()
    world.query(f"delete from {table}")
    received = await world.outbox.claim("hook", 100)
    assert [each.event_type for each in received] == [
        f"{kind}.{change}"
        for change in (
            "created",
            "start_requested",
            "starting",
            "failed",
            "stopped",
            "start_requested",
            "stop_requested",
            "deleted",
        )
    ]
    assert {(each.aggregate_type, each.aggregate_id) for each in received} == {("lifecycle", f"{kind}:a")}
    failed = {"kind": kind, "name": "a", "desired": "running", "actual": "failed", "error": "no licence"}
    assert received[3].payload == failed
    assert len(await world.outbox.claim("stream", 100)) == len(received)


async def test_a_failed_event_waits_and_becomes_a_dead_letter(world: World) -> None:
    await world.writer.commit([event("risk", "global", "halt", {"rule": "maxDailyLoss"})])
    waits: list[float] = []
    for attempt in (1, 2, 3):
        (delivery,) = await world.outbox.claim("hook")
        assert delivery.attempts == attempt
        assert await world.outbox.failed("hook", delivery.id, "HTTP 500\0") == (attempt == 3)
        assert await world.outbox.claim("hook") == []
        waits += world.query(
            "select extract(epoch from available_at - now())::float from meltica.outbox_deliveries"
            " where consumer = 'hook'"
        )[0]
        world.query("update meltica.outbox_deliveries set available_at = now() where consumer = 'hook'")
    assert all(later > earlier for earlier, later in pairwise(waits))
    (dead,) = await world.outbox.dead_letters("hook")
    assert (dead.last_error, dead.payload) == ("HTTP 500", {"rule": "maxDailyLoss"})
    assert await world.outbox.backlog() == [Backlog("hook", 0, 1), Backlog("stream", 1, 0)]
    await world.outbox.retry("hook", [dead.id])
    assert [each.attempts for each in await world.outbox.claim("hook")] == [1]


async def test_an_event_that_kills_its_consumer_becomes_a_dead_letter(world: World) -> None:
    """Each claim counts, also one that was never answered."""
    await world.writer.commit([event("risk", "global", "halt", {})])
    for _ in range(3):
        assert len(await world.outbox.claim("hook")) == 1
        assert await world.outbox.claim("hook") == [], "the lease"
        world.query("update meltica.outbox_deliveries set available_at = now()")
    assert await world.outbox.claim("hook") == []
    assert [each.last_error for each in await world.outbox.dead_letters("hook")] == ["not acknowledged"]


async def test_events_are_kept_for_a_while_after_their_last_consumer(world: World) -> None:
    await world.writer.commit([event("balance", "main", "balance", {"n": number}) for number in range(4)])
    first, second, third, _ = [each.id for each in await world.outbox.claim("hook")]
    await world.outbox.delivered("hook", [first, second, third])
    world.query("update meltica.outbox set created_at = now() - interval '3 days'")
    await world.outbox.delivered("stream", [first, second])
    world.query(
        "update meltica.outbox set delivered_at = now() - interval '25 hours' where id = " + str(first)
    )
    assert await world.outbox.prune() == 1
    # Kept: one that was delivered a moment ago, one that waits for a consumer, one that waits for both.
    assert len(world.query("select id from meltica.outbox")) == 3
    await world.outbox.remove_consumer("hook")
    await world.outbox.remove_consumer("stream")
    assert await world.outbox.prune() == 1
    assert world.query("select id from meltica.outbox order by id") == [(second,), (third,)]


async def test_nothing_is_lost_when_consumer_and_gateway_are_killed(database_url: str) -> None:
    """Each committed order is delivered at least once, and nothing that was not committed."""
    chance = random.Random(4)
    async with await Database.open(database_url) as database:
        await Outbox(database).add_consumer(CONSUMER)
    delivered: list[str] = []
    for _ in range(KILLS):
        with running("writer", database_url) as writer:
            lines(writer, chance.randint(1, 40))
            with running("consumer", database_url) as consumer:
                delivered += lines(consumer, chance.randint(1, 60))
                writer.kill()
                consumer.kill()
                delivered += lines(consumer)
    with running("consumer", database_url) as consumer:
        delivered += lines(consumer)
        assert consumer.wait() == 0
    with psycopg.connect(database_url) as connection:
        orders = {str(id) for (id,) in connection.execute("select id from meltica.orders")}
    times = Counter(line.split()[1] for line in delivered)
    assert set(times) == orders
    assert len(orders) > 10 * KILLS
    # A kill repeats at most the one delivery that was not recorded.
    assert sum(times.values()) - len(orders) <= KILLS
