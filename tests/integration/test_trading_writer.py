"""The group-commit writer: one transaction per batch, and a row that fails, fails alone."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from meltica.errors import ChangeInDoubt, DatabaseError, LockNotHeld
from meltica.model.enums import Mode, OrderState
from meltica.persistence.database import Database, PoolOptions
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.outbox import entry_event, order_event
from meltica.persistence.stores.trading.durability import check_durability
from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.rows import (
    BalanceRow,
    CheckpointRow,
    HaltRow,
    HaltScope,
    OrderRow,
    RefusalRow,
    WatermarkRow,
)
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support.commit_proxy import Cut, commit_proxy
from tests.support.trading_rows import START, UID, deposit, fill, order, position


class World(NamedTuple):
    """A gateway's writer, and its database."""

    url: str
    database: Database
    lock: GatewayLock
    writer: GroupCommitWriter

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a query in a session of its own."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(statement.encode()).fetchall()


@pytest.fixture(name="world")
async def _world(database_url: str, lock: GatewayLock) -> AsyncGenerator[World]:
    async with await Database.open(database_url) as database:
        yield World(database_url, database, lock, GroupCommitWriter(database, lock))


async def test_an_order_with_its_fills_is_restored_exactly(world: World) -> None:
    new = order(tag="quote", post_only=True, expires_at=START + 9, metadata={"trace": "x"})
    fills = [fill(new), fill(new, "e2", fee=Decimal("-0.000100"), fee_currency="BNB", report=2)]
    filled = msgspec.structs.replace(
        new,
        state=OrderState.FILLED,
        venue_order_id="v-1",
        filled_quantity=Decimal("0.0100"),
        filled_cost=Decimal("640.000000"),
        acknowledged_at=START + 4,
        ended_at=START + 6,
        end_report=2,
    )
    await world.writer.commit([new])
    loader = TradingLoader(world.database)
    assert [row.id for row in await loader.open_orders()] == [new.id]
    committed = await world.writer.commit([*fills, filled, position(new, "0.0100")])
    assert (committed.new_fills, committed.failures) == (tuple(fills), ())
    (stored,) = await loader.ended_orders(START)
    assert all(getattr(stored, name) == getattr(filled, name) for name in OrderRow.__struct_fields__)
    assert str(stored.filled_cost) == "640.000000"
    assert stored.fees == {"USDT": Decimal("0.32"), "BNB": Decimal("-0.0001")}
    assert await loader.fills([new.id]) == fills
    assert await loader.fills_after(UID, Mode.LIVE, 1) == fills[1:]
    assert [row.id for row in await loader.ends_after(UID, Mode.LIVE, 1)] == [new.id]
    assert await loader.ends_after(UID, Mode.PAPER, 1) == []
    assert await loader.positions() == [position(new, "0.0100")]
    assert await loader.last_report() == 2
    assert await loader.open_orders() == []


async def test_a_batch_that_is_written_twice_changes_nothing(world: World) -> None:
    new = order()
    batch = [new, fill(new), position(new, "0.0050"), deposit(), _balance("5.0")]
    first, second = await world.writer.commit(batch), await world.writer.commit(batch)
    assert (len(first.new_fills), len(first.new_entries)) == (1, 1)
    assert (second.new_fills, second.new_entries, second.failures) == ((), (), ())
    assert world.query("select count(*) from meltica.fills") == [(1,)]
    loader = TradingLoader(world.database)
    assert [each.amount for each in await loader.ledger()] == [Decimal("5.00")]
    assert [row.quantity for row in await loader.positions()] == [Decimal("0.0050")]


async def test_the_last_of_several_rows_of_an_order_is_written(world: World) -> None:
    new = order()
    rejected = msgspec.structs.replace(new, state=OrderState.REJECTED, reason="persistence_unavailable")
    await world.writer.commit([new, rejected])
    assert world.query("select state, reason from meltica.orders") == [
        ("REJECTED", "persistence_unavailable")
    ]


async def test_positions_of_shadows_and_modes_are_apart(world: World) -> None:
    live = order()
    rows = [
        position(live, "1"),
        position(live, "2", revision="sha256:1"),
        position(live, "3", mode=Mode.PAPER),
        position(live, "4", uid=uuid4()),
    ]
    await world.writer.commit(rows)
    await world.writer.commit([msgspec.structs.replace(rows[1], quantity=Decimal(5))])
    stored = await TradingLoader(world.database).positions()
    assert sorted(row.quantity for row in stored) == [1, 3, 4, 5]


async def test_a_commit_returns_the_active_halts(world: World) -> None:
    halts = HaltStore(world.database)
    assert (await world.writer.commit([order()])).halts == ()
    assert await halts.halt(HaltScope.INSTANCE, "maker", "looks wrong", "operator")
    assert not await halts.halt(HaltScope.INSTANCE, "maker", "again", "operator")
    breaker = HaltRow(scope=HaltScope.GLOBAL, rule="maxDailyLoss", reason="lost 5 %")
    assert len((await world.writer.commit([breaker])).halts) == 1
    active = (await world.writer.commit([breaker])).halts
    assert [(halt.scope, halt.subject, halt.halted_by) for halt in active] == [
        (HaltScope.INSTANCE, "maker", "operator"),
        (HaltScope.GLOBAL, "", "meltica"),
    ]
    assert await halts.clear(HaltScope.INSTANCE, "maker", "mended", "operator")
    assert [halt.rule for halt in (await world.writer.commit([])).halts] == ["maxDailyLoss"]


async def test_halts_of_modes_exist_beside_each_other_and_end_together(world: World) -> None:
    halts = HaltStore(world.database)
    rows = [HaltRow(scope=HaltScope.GLOBAL, rule="max_daily_loss", reason="x", mode=mode) for mode in Mode]
    for _ in range(2):
        await world.writer.commit(rows)
    assert await halts.halt(HaltScope.GLOBAL, "", "looks wrong", "alice")
    assert not await halts.halt(HaltScope.GLOBAL, "", "again", "alice")
    assert [halt.mode for halt in await halts.active()] == [*Mode, None]
    assert await halts.clear(HaltScope.GLOBAL, "", "mended", "alice")
    assert await halts.active() == []
    assert not await halts.clear(HaltScope.GLOBAL, "", "mended", "alice")
    actions = world.query("select action, count(*) from operator_actions group by 1 order by 1")
    assert actions == [("halt", 1), ("resume", 1)]


async def test_a_commit_without_rows_writes_nothing(world: World) -> None:
    transactions = "select pg_snapshot_xmax(pg_current_snapshot())"
    before = world.query(transactions)
    await world.writer.commit([])
    assert world.query(transactions) == before
    await world.writer.commit([order()])
    assert world.query(transactions) != before


async def test_a_gateway_that_lost_its_lock_writes_nothing(world: World) -> None:
    with psycopg.connect(world.url) as connection:
        connection.execute("update meltica.gateway set epoch = epoch + 1")
    for batch in ([order()], []):
        with pytest.raises(LockNotHeld, match="nothing was written: another gateway"):
            await world.writer.commit(batch)
    assert not world.writer.in_doubt
    await world.lock.release()
    with pytest.raises(LockNotHeld):
        await world.writer.commit([order()])
    assert world.query("select count(*) from meltica.orders") == [(0,)]


BAD_ORDERS: dict[str, dict[str, Any]] = {
    "NUL": {"tag": "a\0b"},
    "surrogate": {"tag": "\ud800"},
    "long tag": {"tag": "x" * 1_000_000},
    "NaN": {"quantity": Decimal("NaN")},
    "infinite": {"price": Decimal("Infinity")},
    "negative": {"limit_price": Decimal(-1)},
    "overflow": {"quantity": Decimal("1e200000")},
    "client order id": {"client_order_id": "A-1"},
    "time": {"intent_at": 1 << 70},
    "metadata": {"metadata": {"x": object()}},
}


@pytest.mark.parametrize("changes", BAD_ORDERS.values(), ids=BAD_ORDERS.keys())
async def test_an_order_that_is_refused_fails_alone(
    world: World, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    good = [order() for _ in range(5)]
    bad = msgspec.structs.replace(good[0], **{"id": uuid4(), "client_order_id": "bad", **changes})
    events = [order_event(row) for row in (*good[:2], msgspec.structs.replace(bad, **_stored(bad)))]
    committed = await world.writer.commit([*good[:3], bad, *good[3:], *events])
    assert [failure.row for failure in committed.failures] == [bad, events[2]]
    assert len(await TradingLoader(world.database).open_orders()) == 5
    assert world.query("select count(*) from meltica.outbox") == [(2,)]
    sources = world.query("select source from meltica.dead_letters order by id")
    assert sources == [("orders",), ("outbox",)]
    assert "a row of orders was not stored" in caplog.text
    # The next commit takes the fast path again, and the instance goes on.
    assert (await world.writer.commit([order()])).failures == ()
    assert world.writer.frozen == frozenset()


async def test_the_writer_goes_on_after_a_bad_row_of_an_idle_gateway(
    database_url: str, lock: GatewayLock
) -> None:
    async with await Database.open(database_url, PoolOptions(min_size=1, max_size=1)) as database:
        writer = GroupCommitWriter(database, lock)
        for _ in range(10):
            await writer.commit([])
        await writer.commit([order()])
        committed = await writer.commit([msgspec.structs.replace(order(), limit_price=Decimal(-1))])
        assert len(committed.failures) == 1
        assert (await writer.commit([order()])).failures == ()


async def test_a_client_order_id_cannot_be_used_twice(world: World) -> None:
    first = order()
    await world.writer.commit([first])
    twin = order(client_order_id=first.client_order_id, provider="other")
    committed = await world.writer.commit([twin, order()])
    assert [failure.row for failure in committed.failures] == [twin]
    assert "orders_client_order_id_key" in committed.failures[0].error


@pytest.mark.parametrize("reason", ["no\0body", "x" * 1_000_000, "\ud800!"], ids=["NUL", "1 MB", "surrogate"])
async def test_a_reason_that_cannot_be_stored_goes_raw_to_the_dead_letters(world: World, reason: str) -> None:
    new = order(state=OrderState.REJECTED, reason=reason)
    committed = await world.writer.commit([new, order_event(new)])
    assert committed.failures == ()
    ((stored, size),) = world.query("select left(reason, 3), length(reason) from meltica.orders")
    assert (stored[:2] in {"no", "xx", "?!"}, size <= 1000) == (True, True)
    ((source, raw),) = world.query("select source, raw from meltica.dead_letters")
    assert source == "orders"
    assert len(raw) > len(reason)
    assert new.client_order_id.encode() in raw
    assert world.query("select count(*) from meltica.outbox") == [(1,)]


async def test_a_fill_that_cannot_be_stored_freezes_the_ledger_of_its_instance(world: World) -> None:
    """Otherwise the position of the next batch would contain a fill that the database does not have."""
    mine, other = order(), order(instance="other", uid=uuid4())
    await world.writer.commit([mine, other])
    bad, good = fill(mine, "e\0"), fill(mine, "e2", report=2)
    watermark = WatermarkRow(provider="main", mode=Mode.LIVE, venue_time=START)
    partly = msgspec.structs.replace(mine, state=OrderState.PARTIAL, filled_quantity=Decimal("0.0100"))
    theirs = [fill(other), position(other, "0.0050")]
    committed = await world.writer.commit([bad, good, partly, position(mine, "0.0100"), *theirs, watermark])
    failed = [failure.row for failure in committed.failures]
    assert failed[0] == bad
    assert "frozen" not in committed.failures[0].error
    assert {type(row).__name__ for row in failed} == {"FillRow", "OrderRow", "PositionRow", "WatermarkRow"}
    assert committed.new_fills == (theirs[0],)
    assert world.writer.frozen == {"maker"}
    later = await world.writer.commit(
        [fill(mine, "e3"), position(mine, "0.0150"), fill(other, "e4"), watermark]
    )
    assert [row.execution_id for row in later.new_fills] == ["e4"]
    loader = TradingLoader(world.database)
    assert [(row.instance, row.quantity) for row in await loader.positions()] == [
        ("other", Decimal("0.0050"))
    ]
    assert await loader.watermarks() == []
    assert {row.state for row in await loader.open_orders()} == {OrderState.PENDING}
    # After a restart, the fills are found again.
    restarted = GroupCommitWriter(world.database, world.lock)
    again = await restarted.commit([fill(mine), good, partly, position(mine, "0.0100"), watermark])
    assert (len(again.new_fills), again.failures) == (2, ())


async def test_a_position_that_cannot_be_stored_takes_its_fills_along(world: World) -> None:
    new = order()
    await world.writer.commit([new])
    batch = [fill(new), position(new, "0.0050", realised=Decimal("NaN")), order(instance="other")]
    committed = await world.writer.commit(batch)
    assert {type(each.row).__name__ for each in committed.failures} == {"FillRow", "PositionRow"}
    assert world.writer.frozen == {"maker"}
    assert world.query("select count(*) from meltica.fills") == [(0,)]
    assert world.query("select count(*) from meltica.orders") == [(2,)]


async def test_a_fill_of_an_order_that_failed_fails_too(world: World) -> None:
    bad = order(tag="a\0b")
    committed = await world.writer.commit([bad, fill(bad), fill(order(), "e2"), order(instance="other")])
    errors = {type(each.row).__name__: each.error for each in committed.failures}
    assert set(errors) == {"OrderRow", "FillRow"}
    assert committed.new_fills == ()
    assert world.query("select instance from meltica.orders") == [("other",)]


async def test_the_event_of_an_entry_that_failed_fails_too(world: World) -> None:
    bad, good = deposit(currency=""), deposit(provider="other")
    committed = await world.writer.commit([bad, entry_event(bad), good, entry_event(good)])
    assert [type(failure.row).__name__ for failure in committed.failures] == ["LedgerEntryRow", "EventRow"]
    assert world.query("select provider from meltica.ledger_entries") == [("other",)]
    assert world.query("select aggregate_id from meltica.outbox") == [("other",)]


async def test_many_bad_rows_among_many(world: World) -> None:
    rows = [order(tag="\0" if number % 7 == 0 else "") for number in range(200)]
    committed = await world.writer.commit(rows)
    assert len(committed.failures) == 29
    assert world.query("select count(*) from meltica.orders") == [(171,)]


async def test_checkpoints_refusals_and_watermarks(world: World) -> None:
    state = '{"n": 1.10, "text": "\\u0000"}'
    checkpoint = CheckpointRow(
        uid=UID, mode=Mode.LIVE, instance="maker", state=state, last_report=7, saved_at=START
    )
    huge = msgspec.structs.replace(checkpoint, uid=uuid4(), state="x" * ((1 << 20) + 1))
    refusal = RefusalRow(
        refused_at=START,
        last_refused_at=START,
        instance="maker",
        uid=UID,
        mode=Mode.LIVE,
        provider="main",
        symbol="BTC-USDT",
        rule="maxPositionSize",
        message="too much",
        seen="1.5\0",
        limit="1",
    )
    mark = WatermarkRow(provider="main", mode=Mode.LIVE, venue_time=START)
    older = msgspec.structs.replace(mark, venue_time=START - 1)
    committed = await world.writer.commit([checkpoint, huge, refusal, mark, older])
    assert [failure.row for failure in committed.failures] == [huge]
    loader = TradingLoader(world.database)
    restored = await loader.checkpoint(UID, Mode.LIVE)
    assert restored is not None
    assert (restored.state, restored.last_report) == (state, 7)
    assert await loader.checkpoint(UID, Mode.PAPER) is None
    assert await loader.last_report() == 7
    await world.writer.commit([mark])
    await world.writer.commit([older])
    assert await loader.watermarks() == [mark]
    assert world.query('select rule, seen, "limit" from meltica.refusals') == [
        ("maxPositionSize", "1.5\N{REPLACEMENT CHARACTER}", "1")
    ]


@pytest.mark.parametrize(("cut", "stored"), [("before", False), ("after", True), ("late", False)])
async def test_a_connection_cut_inside_commit_is_settled_by_reading(
    database_url: str, lock: GatewayLock, cut: Cut, stored: bool
) -> None:
    async with commit_proxy(database_url) as (url, proxy), await Database.open(url) as database:
        writer = GroupCommitWriter(database, lock)
        first = order()
        await writer.commit([first])
        proxy.cut = cut
        batch = [fill(first), position(first, "0.0050")]
        with pytest.raises(ChangeInDoubt):
            await writer.commit(batch)
        assert writer.in_doubt
        with pytest.raises(ChangeInDoubt, match="settle it first"):
            await writer.commit([order()])
        assert await writer.settle() is stored
        assert not writer.in_doubt
        proxy.release.set()
        # What was settled stays so, also when the COMMIT reaches the server later.
        assert len(await TradingLoader(database).fills([first.id])) == stored
        again = await writer.commit(batch)
        assert len(again.new_fills) == (not stored)


async def test_a_rejected_order_overwrites_the_row_that_was_committed_after_all(
    database_url: str, lock: GatewayLock
) -> None:
    async with commit_proxy(database_url) as (url, proxy), await Database.open(url) as database:
        writer = GroupCommitWriter(database, lock)
        await writer.commit([])
        proxy.cut = "after"
        new = order()
        with pytest.raises(ChangeInDoubt):
            await writer.commit([new])
        await writer.settle()
        rejected = msgspec.structs.replace(
            new, state=OrderState.REJECTED, reason="persistence_unavailable", ended_at=START
        )
        await writer.commit([rejected])
        assert await TradingLoader(database).open_orders() == []


async def test_a_connection_cut_while_a_statement_waits_is_settled_as_rolled_back(world: World) -> None:
    waiting: LiteralString = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    with psycopg.connect(world.url) as blocker:
        blocker.execute("lock table meltica.orders in exclusive mode")
        commit = asyncio.create_task(world.writer.commit([order()]))
        while not (pids := world.query(waiting)):
            await asyncio.sleep(0)
        world.query(f"select pg_terminate_backend({int(pids[0][0])})")
        with pytest.raises(ChangeInDoubt):
            await commit
        assert await world.writer.settle() is False
    assert await TradingLoader(world.database).open_orders() == []
    assert (await world.writer.commit([order()])).failures == ()


async def test_a_server_that_does_not_answer_is_left_in_bounded_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It executes nothing after that, because settling ends its session."""
    monkeypatch.setattr("meltica.persistence.stores.trading.writer.COMMIT_TIMEOUT", 1.0)
    async with await Database.open(world.url, PoolOptions(max_size=1)) as database:
        writer = GroupCommitWriter(database, world.lock)
        async with database.connection() as connection:
            backend = connection.info.backend_pid
        await writer.commit([_balance("1")])
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(ChangeInDoubt, match="did not respond"):
                await writer.commit([order()])
            assert await writer.settle() is False
        finally:
            os.kill(backend, signal.SIGCONT)
        while world.query(f"select from pg_stat_activity where pid = {backend}"):
            await asyncio.sleep(0)
    assert await TradingLoader(world.database).open_orders() == []


@pytest.mark.parametrize("setting", ["synchronous_commit=off"])
async def test_a_database_that_does_not_wait_for_the_disk_is_refused(database_url: str, setting: str) -> None:
    async with await Database.open(database_url) as database:
        await check_durability(database)
    async with await Database.open(make_conninfo(database_url, options=f"-c {setting}")) as unsafe:
        with pytest.raises(DatabaseError, match=r"trading not started: `synchronous_commit` off"):
            await check_durability(unsafe)


def _balance(total: str) -> BalanceRow:
    amount = Decimal(total)
    return BalanceRow(
        provider="main", mode=Mode.LIVE, currency="USDT", total=amount, available=amount, snapshot_at=START
    )


def _stored(bad: OrderRow) -> dict[str, Any]:
    """Returns changes of a bad order that let its event be encoded."""
    return {"tag": None, "metadata": {}, "intent_at": 1, "quantity": Decimal(1), "price": None}
