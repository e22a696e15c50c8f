"""Orders, fills, positions and balances of the instance `watcher`, for the tests of the control plane."""

from decimal import Decimal
from uuid import UUID

import psycopg

from meltica.model.enums import FillRule, Liquidity, Mode, OrderState, OrderType
from meltica.persistence.stores.outbox import Outbox, order_event
from meltica.persistence.stores.trading.rows import BalanceRow, RefusalRow, Row, Verdict
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support.gateway import Running
from tests.support.trading_rows import START, deposit, fill, order, position

FILLED = order(
    id=UUID(int=1),
    client_order_id="abc000000000000001",
    instance="watcher",
    mode=Mode.PAPER,
    state=OrderState.FILLED,
    order_type=OrderType.MARKET,
    price=None,
    quantity=Decimal("0.0100"),
    filled_quantity=Decimal("0.0100"),
    filled_cost=Decimal("640.0000"),
    venue_order_id="v1",
    tag="entry",
    sent_at=START + 2,
    acknowledged_at=START + 3,
    ended_at=START + 10**9,
)
OPEN = order(
    id=UUID(int=2),
    client_order_id="abc000000000000002",
    instance="watcher",
    state=OrderState.ACK,
    provider="spare",
    cancel_wanted=True,
    intent_at=START + 10**9,
)
FILL = fill(
    FILLED,
    quantity=Decimal("0.0100"),
    fee=Decimal("-0.000000000000000001"),
    liquidity=Liquidity.TAKER,
    rule=FillRule.TAKER,
)
ROWS: list[Row] = [
    FILLED,
    OPEN,
    FILL,
    position(FILLED, "0.0100", cost=Decimal("640.0000")),
    deposit(),
    RefusalRow(
        instance="watcher",
        uid=FILLED.uid,
        mode=Mode.PAPER,
        provider="main",
        symbol="BTC-USDT",
        rule="max_order_size",
        message="a quantity of 3, of 2.5 allowed",
        seen="3",
        limit="2.5",
        verdict=Verdict.COUNTED,
        count=2,
        refused_at=START,
        last_refused_at=START + 10**9,
    ),
    order_event(FILLED),
    deposit("2.50", kind="booking", venue_id="operator-1", booked_by="alice", note="a gift"),
    *(
        BalanceRow(
            provider="main",
            mode=mode,
            currency=currency,
            total=Decimal("1000000000000000000000000.000000000000000001"),
            available=Decimal("0.10"),
            snapshot_at=START + after,
        )
        for mode, currency, after in (
            (Mode.LIVE, "USDT", 0),
            (Mode.PAPER, "USDT", 10**9),
            (Mode.PAPER, "BTC", 2 * 10**9),
        )
    ),
]
EVENT = 1000


def write_history(running: Running) -> None:
    """Writes the rows as trading does. Their event has the number `EVENT`."""
    running.settle()
    with psycopg.connect(running.gateway.database.dsn, options="-c search_path=meltica") as connection:
        connection.execute(f"alter table outbox alter column id restart with {EVENT}".encode())
    outbox = Outbox(running.gateway.database, max_attempts=1)
    running.submit(outbox.add_consumer("hook")).result(20)
    writer = GroupCommitWriter(running.gateway.database, running.gateway.lock)
    running.submit(writer.commit(ROWS)).result(20)
    # Others report what providers and instances did meanwhile.
    claimed = running.submit(outbox.claim("hook")).result(20)
    [event] = [each.id for each in claimed if each.id == EVENT]
    running.submit(outbox.failed("hook", event, "HTTP 500")).result(20)
