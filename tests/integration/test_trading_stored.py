"""Orders, fills and positions are the same after a restart, with every digit."""

from collections.abc import AsyncGenerator
from dataclasses import MISSING, fields
from decimal import Decimal
from uuid import UUID

import pytest

from meltica.model.balances import Balance
from meltica.model.enums import Liquidity, Mode, OrderState, OrderType, Side, TimeInForce
from meltica.model.fills import Fill
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.rows import Trigger, TriggerEvent
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.trading.balances import Balances
from meltica.trading.order import Amendment, OrderRecord, Owner, PositionKey
from meltica.trading.positions import Position
from meltica.trading.stored import entry_row, fill_row, order_record, order_row, position, position_row

OWNER = Owner("maker", UUID(int=7), Mode.PAPER, "sha256:1")
RECORD = OrderRecord(
    id=UUID(int=1),
    client_order_id="abc000000000000001",
    owner=OWNER,
    provider="main",
    symbol="BTC-USDT",
    side=Side.SELL,
    order_type=OrderType.MARKET,
    time_in_force=TimeInForce.IOC,
    quantity=Decimal("1.50000000"),
    limit_price=Decimal("63000.10"),
    post_only=True,
    reduce_only=True,
    tag="exit",
    expires_at=10,
    state=OrderState.UNKNOWN,
    venue_order_id="v-1",
    filled_quantity=Decimal("0.50"),
    filled_cost=Decimal("31500.0500"),
    fees={"BNB": Decimal("-0.0010"), "USDT": Decimal("0.300")},
    reason="outcome_unknown",
    cancel_wanted=True,
    amendment=Amendment(price=Decimal("63000.20"), quantity=Decimal("1.40"), sent_at=8, outcome_unknown=True),
    intent_at=1,
    approved_at=2,
    committed_at=3,
    sent_at=4,
    acknowledged_at=5,
    ended_at=6,
    venue_time=7,
    trigger=Trigger(
        callback_at=-1,
        event=TriggerEvent(
            sequence=8,
            kind="Trade",
            provider="main",
            symbol="BTC-USDT",
            venue_time=9,
            received_time=10,
            received_at=-4,
            dispatched_at=-3,
            read_at=-2,
        ),
    ),
)
FILLS = [
    Fill(
        execution_id=f"e{number}",
        time=number,
        symbol="BTC-USDT",
        client_order_id=RECORD.client_order_id,
        venue_order_id="v-1",
        side=Side.SELL,
        price=Decimal("63000.10"),
        quantity=Decimal("0.25"),
        fee=fee,
        fee_currency=currency,
        liquidity=Liquidity.TAKER,
        trade_id="t-1",
        rule="taker",
    )
    for number, (currency, fee) in enumerate(RECORD.fees.items())
]


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url) as database:
        yield database


@pytest.fixture(name="writer")
async def _writer(database: Database) -> AsyncGenerator[GroupCommitWriter]:
    lock = GatewayLock(database.dsn)
    await lock.acquire()
    await lock.claim()
    yield GroupCommitWriter(database, lock)
    await lock.release()


async def test_an_order_with_every_field_comes_back(database: Database, writer: GroupCommitWriter) -> None:
    defaults = {each.name: each.default for each in fields(RECORD) if each.default is not MISSING}
    same = [name for name, default in defaults.items() if getattr(RECORD, name) == default]
    # A market order has no price, and the trace is not stored.
    assert same == ["price", "trace"], "every other field of the record has a value"
    rows = [fill_row(RECORD, fill, number, booked_at=number + 1) for number, fill in enumerate(FILLS)]
    await writer.commit([order_row(RECORD), *rows])
    (stored,) = await TradingLoader(database).open_orders()
    restored = order_record(stored)
    assert restored == RECORD
    assert repr(restored) == repr(RECORD), "every digit"
    stored_fills = await TradingLoader(database).fills([RECORD.id])
    assert [
        (row.execution_id, row.traded_at, row.price, row.quantity, row.fee, row.fee_currency, row.liquidity)
        for row in stored_fills
    ] == [
        (fill.execution_id, fill.time, fill.price, fill.quantity, fill.fee, fill.fee_currency, fill.liquidity)
        for fill in FILLS
    ]
    assert [(row.trade_id, row.rule) for row in stored_fills] == [("t-1", "taker")] * 2


async def test_an_order_without_an_amendment_comes_back(
    database: Database, writer: GroupCommitWriter
) -> None:
    plain = OrderRecord(
        id=UUID(int=2),
        client_order_id="abc000000000000002",
        owner=OWNER,
        provider="main",
        symbol="BTC-USDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=Decimal(1),
        price=Decimal("63000.1"),
        limit_price=Decimal("63000.1"),
        intent_at=1,
    )
    await writer.commit([order_row(plain)])
    (stored,) = await TradingLoader(database).open_orders()
    assert order_record(stored) == plain


async def test_balances_after_a_restart_are_those_before_it(
    database: Database, writer: GroupCommitWriter
) -> None:
    """The lines are restored from positions and sums of entries, and nothing is booked twice."""
    key = PositionKey(OWNER, "main", "BTC-USDT")
    moved = Position(key=key)
    before = Balances(Mode.PAPER)
    before.reported("main", "BTC", Balance(Decimal(2), Decimal(2), time=0))
    entries = before.open_account("main")
    for fill in FILLS:
        moved.fill(fill)
        before.fill(key, fill)
    foreign = FILLS[0]._replace(execution_id="other", quantity=Decimal("0.010"), fee_currency="USDT")
    entries += before.foreign_fill("main", foreign)
    entries += before.transfer(key, Decimal("0.5"), Decimal(60000), "inventory-1")
    moved.transfer(Decimal("0.5"), Decimal(60000))
    rows = [entry_row(entry, Mode.PAPER, 9) for entry in entries]
    await writer.commit([order_row(RECORD), position_row(moved, 1), *rows])
    loader = TradingLoader(database)
    after = Balances(Mode.PAPER)
    for row in await loader.positions():
        after.restore_position(position(row))
    for each in await loader.ledger():
        after.restore_not_ours(each.provider, each.currency, each.amount)
    for currency in ("BTC", "USDT", "BNB"):
        expected, actual = before.lines("main", currency), after.lines("main", currency)
        assert (actual.instances, actual.not_ours) == (expected.instances, expected.not_ours), currency
        assert after.of_owner(OWNER, "main", currency) == before.of_owner(OWNER, "main", currency)
    assert await loader.opened_accounts(Mode.PAPER) == {"main"}
    assert await loader.opened_accounts(Mode.LIVE) == set()
    assert {row.kind for row in await loader.entries("main", Mode.PAPER, 1)} == {"opening", "inventory"}
    assert await loader.entries("main", Mode.PAPER, 0) == rows


async def test_a_position_comes_back(database: Database, writer: GroupCommitWriter) -> None:
    moved = Position(key=PositionKey(OWNER, "main", "BTC-USDT"))
    for fill in FILLS:
        moved.fill(fill)
    moved.mark(Decimal("12.34"))
    await writer.commit([position_row(moved, 1)])
    (stored,) = await TradingLoader(database).positions()
    restored = position(stored)
    assert repr(restored) == repr(moved)
    assert restored.key.owner.mode is Mode.PAPER
