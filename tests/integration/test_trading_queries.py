"""The history of trading: filters, order and limits, and how long it is kept."""

from collections.abc import AsyncGenerator
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import psycopg
import pytest

from meltica.model.enums import Mode, OrderState
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.trading import queries
from meltica.persistence.stores.trading.loaders import LedgerSum, TradingLoader
from meltica.persistence.stores.trading.queries import RefusalFilter, TradingQueries
from meltica.persistence.stores.trading.retention import prune
from meltica.persistence.stores.trading.rows import (
    BalanceRow,
    DeadLetterRow,
    EntryKind,
    HaltScope,
    ReconciliationRow,
    RefusalRow,
    RiskStateRow,
)
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support.trading_rows import START, UID, deposit, fill, order

DAY = 86_400 * 10**9


class World(NamedTuple):
    """The writer of a gateway, and what it wrote."""

    url: str
    database: Database
    writer: GroupCommitWriter
    queries: TradingQueries

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
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
        yield World(database_url, database, GroupCommitWriter(database, lock), TradingQueries(database))
    await lock.release()


async def test_orders_of_an_instance_by_provider_and_state(world: World) -> None:
    states = [OrderState.ACK, OrderState.FILLED, OrderState.CANCELLED, OrderState.ACK]
    orders = [
        order(state=state, intent_at=START + number, provider="main" if number < 3 else "spare")
        for number, state in enumerate(states)
    ]
    await world.writer.commit([*orders, order(instance="other")])
    ids = [row.id for row in orders]
    assert [row.id for row in (await world.queries.orders("maker")).rows] == ids[::-1]
    assert [row.id for row in (await world.queries.orders("maker", limit=2)).rows] == ids[:1:-1]
    assert [row.id for row in (await world.queries.orders("maker", provider="main")).rows] == ids[2::-1]
    acknowledged = (await world.queries.orders("maker", states=[OrderState.ACK])).rows
    assert [row.id for row in acknowledged] == [ids[3], ids[0]]
    both = (
        await world.queries.orders("maker", states=[OrderState.ACK, OrderState.FILLED], provider="main")
    ).rows
    assert [row.id for row in both] == ids[1::-1]
    assert (await world.queries.orders("nothing")).rows == []
    assert [row.id for row in await TradingLoader(world.database).open_orders()][:2] != []


async def test_a_limit_is_at_most_500(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert queries.MAX_LIMIT == 500
    monkeypatch.setattr(queries, "MAX_LIMIT", 2)
    await world.writer.commit([order() for _ in range(3)])
    assert len((await world.queries.orders("maker", limit=9)).rows) == 2


async def test_fills_of_an_instance_by_order(world: World) -> None:
    first, second = order(), order(provider="spare")
    fills = [
        fill(of, f"e{number}", traded_at=START + number, report=number)
        for number, of in enumerate((first, second, first))
    ]
    await world.writer.commit([first, second, *fills])
    found = (await world.queries.fills("maker")).rows
    assert [row.execution_id for row in found] == ["e2", "e1", "e0"]
    assert (found[0].quantity, found[0].fee) == (fills[2].quantity, fills[2].fee)
    assert [row.execution_id for row in (await world.queries.fills("maker", order_id=first.id)).rows] == [
        "e2",
        "e0",
    ]
    assert [row.execution_id for row in (await world.queries.fills("maker", provider="spare")).rows] == ["e1"]
    assert (await world.queries.fills("other")).rows == []


async def test_balances_have_a_history_and_a_latest_one(world: World) -> None:
    rows = [_balance("USDT", "1.50", 0), _balance("USDT", "2.50", 1), _balance("BTC", "3", 0)]
    paper = _balance("USDT", "9", 5, mode=Mode.PAPER)
    await world.writer.commit([*rows, paper])
    history = (await world.queries.balances("main", mode=Mode.LIVE)).rows
    assert [(row.currency, str(row.total)) for row in history] == [
        ("USDT", "2.50"),
        ("BTC", "3"),
        ("USDT", "1.50"),
    ]
    assert [row.total for row in (await world.queries.balances("main", currency="USDT", limit=1)).rows] == [9]
    latest = await world.queries.latest_balances("main", mode=Mode.LIVE)
    assert {row.currency: row.total for row in latest} == {"USDT": Decimal("2.50"), "BTC": 3}


async def test_ledger_entries_add_up_by_account_and_currency(world: World) -> None:
    entries = [
        deposit("5.00"),
        deposit("-1.25", kind=EntryKind.WITHDRAWAL, venue_id="w-1"),
        deposit("7", mode=Mode.PAPER),
        deposit("0.5", currency="BTC"),
    ]
    committed = await world.writer.commit([*entries, deposit("6.00")])
    # Of two entries with one id, the later one replaces the earlier one of its batch.
    assert len(committed.new_entries) == 4
    assert (await world.writer.commit([deposit("99")])).new_entries == ()
    sums = await TradingLoader(world.database).ledger()
    assert sorted(sums) == [
        LedgerSum("main", Mode.LIVE, "BTC", Decimal("0.5")),
        LedgerSum("main", Mode.LIVE, "USDT", Decimal("4.75")),
        LedgerSum("main", Mode.PAPER, "USDT", Decimal(7)),
    ]
    listed = (await world.queries.ledger_entries("main", mode=Mode.LIVE, currency="USDT")).rows
    assert sorted(entry.amount for entry in listed) == [Decimal("-1.25"), Decimal("6.00")]


async def test_the_day_of_a_risk_state_only_moves_forward(world: World) -> None:
    def state(day: int, opening: int, peak: int = 0) -> RiskStateRow:
        return RiskStateRow(
            scope=HaltScope.INSTANCE,
            subject="maker",
            mode=Mode.LIVE,
            day=date(2026, 1, day),
            currency="USDT",
            opening=Decimal(opening),
            peak=Decimal(peak),
            breaches=[START],
            updated_at=START,
        )

    first = msgspec.structs.replace(state(1, 0), day=None)
    await world.writer.commit([first])
    await world.writer.commit([state(2, -100)])
    await world.writer.commit([state(2, -100, 120)])
    await world.writer.commit([state(1, -90)])
    await world.writer.commit([first])
    assert await TradingLoader(world.database).risk_states() == [state(2, -100, 120)]


async def test_what_is_too_old_is_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meltica.persistence.stores.trading.retention._BATCH", 2)
    ((now,),) = world.execute("select (extract(epoch from now()) * 1000000000)::bigint")
    old = now - 31 * DAY
    batch = [
        *(_refusal() for _ in range(5)),
        DeadLetterRow.of("report", "NUL", b"a\0b"),
        _reconciliation(),
        _balance("USDT", "1", 0, snapshot_at=old),
        _balance("USDT", "2", 0, snapshot_at=old + 1),
        _balance("USDT", "3", 0, snapshot_at=now),
        _balance("BTC", "4", 0, snapshot_at=old),
        order(intent_at=old),
    ]
    await world.writer.commit(batch)
    assert set((await prune(world.database)).values()) == {0, 2}
    for table in ("refusals", "dead_letters", "reconciliations"):
        world.execute(f"update meltica.{table} set created_at = now() - interval '31 days'")
    await world.writer.commit([_refusal()])
    world.execute("insert into meltica.commits values (gen_random_uuid(), 1, now() - interval '31 days')")
    assert await prune(world.database) == {
        "refusals": 5,
        "dead_letters": 1,
        "reconciliations": 1,
        "balances": 0,
        "commits": 1,
    }
    assert len((await world.queries.refusals(RefusalFilter("maker"))).rows) == 1
    # The latest balance of each currency stays, however old, and so does every order.
    assert sorted(world.execute("select currency, total from meltica.balances")) == [("BTC", 4), ("USDT", 3)]
    assert len((await world.queries.orders("maker")).rows) == 1


async def test_refusals_and_reconciliations_are_listed(world: World) -> None:
    await world.writer.commit([_refusal(rule="throttle"), _refusal(rule="halt"), _reconciliation()])
    assert [row.rule for row in (await world.queries.refusals()).rows] == ["halt", "throttle"]
    assert (await world.queries.refusals(RefusalFilter("other"))).rows == []
    (found,) = await world.queries.reconciliations("main")
    assert (found.cause, found.found) == ("start", {"fills": 2})


async def test_dead_letters_keep_the_raw_bytes(world: World) -> None:
    raw = b"\x00\xff" * 1000
    await world.writer.commit([DeadLetterRow.of("report", "not UTF-8\0", raw)])
    (letter,) = await world.queries.dead_letters()
    assert (letter.source, letter.error, letter.raw) == ("report", "not UTF-8", raw)


async def test_the_mark_of_the_home_never_changes(world: World) -> None:
    loader = TradingLoader(world.database)
    assert [await loader.mark(new) for new in ("abc", "xyz")] == ["abc", "abc"]
    with pytest.raises(psycopg.errors.CheckViolation):
        await loader.mark("ABC")


def _balance(currency: str, total: str, number: int, **changes: Any) -> BalanceRow:
    row = BalanceRow(
        provider="main",
        mode=Mode.LIVE,
        currency=currency,
        total=Decimal(total),
        available=Decimal(total),
        snapshot_at=START + number,
    )
    return msgspec.structs.replace(row, **changes)


def _refusal(rule: str = "throttle") -> RefusalRow:
    return RefusalRow(
        refused_at=START,
        last_refused_at=START,
        instance="maker",
        uid=UID,
        mode=Mode.LIVE,
        provider="main",
        symbol="BTC-USDT",
        rule=rule,
        message="too many",
        seen="6",
        limit="5",
    )


def _reconciliation() -> ReconciliationRow:
    return ReconciliationRow(
        provider="main",
        mode=Mode.LIVE,
        cause="start",
        started_at=START,
        ended_at=START + 1,
        agreed=True,
        found={"fills": 2},
    )


async def test_the_list_of_all_orders_has_an_index(world: World) -> None:
    rows = [order(client_order_id=f"c{number}", intent_at=START + number) for number in range(2000)]
    await world.writer.commit(rows)
    async with world.database.connection() as connection:
        await connection.execute("analyze orders")
        query = "explain select * from orders order by intent_at desc, id limit 51"
        plan = await (await connection.execute(query)).fetchall()
    assert any("orders_by_intent" in line for (line,) in plan), plan
