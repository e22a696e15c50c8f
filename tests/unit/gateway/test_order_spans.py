"""The spans of an order, built from its rows."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from meltica.gateway.order_spans import MAX_FILLS, build
from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.persistence.stores.trading.loaders import StoredOrder
from meltica.persistence.stores.trading.rows import FillRow

NOW = datetime.now(UTC)


def order(id: UUID, state: OrderState = OrderState.FILLED, reason: str | None = None) -> StoredOrder:
    return StoredOrder(
        id=id,
        client_order_id="c",
        instance="i",
        uid=uuid4(),
        mode=Mode.LIVE,
        provider="p",
        symbol="BTC-USDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=Decimal(1),
        limit_price=Decimal(1),
        state=state,
        reason=reason,
        intent_at=100,
        approved_at=110,
        committed_at=150,
        sent_at=160,
        ended_at=1000,
        fees={},
        created_at=NOW,
        updated_at=NOW,
    )


def fill(id: UUID, number: int) -> FillRow:
    return FillRow(
        order_id=id,
        execution_id=str(number),
        provider="p",
        instance="i",
        quantity=Decimal(1),
        price=Decimal(1),
        traded_at=number,
        booked_at=200 + number,
        report=number,
    )


def test_an_order_of_many_fills_holds_and_exports_only_some() -> None:
    id = uuid4()
    made = build(order(id), [fill(id, number) for number in range(3 * MAX_FILLS)])
    assert len(made.args[1]) == MAX_FILLS
    root, *steps = made()
    assert root.attributes["meltica.order.fills"] == 3 * MAX_FILLS
    assert sum(step.name == "order.filled" for step in steps) == MAX_FILLS


def test_spans_are_the_same_each_time_and_follow_each_other() -> None:
    id = uuid4()
    root, *steps = build(order(id), [])()
    assert build(order(id), [])() == [root, *steps]
    assert (root.context.trace_id, root.parent, root.start) == (id.bytes, None, 100)
    assert [(step.name, step.start, step.end) for step in steps[:3]] == [
        ("order.approved", 100, 110),
        ("order.committed", 110, 150),
        ("order.sent", 150, 160),
    ]
    assert {step.parent for step in steps} == {root.context.span_id}
    assert len({step.context for step in steps}) == len(steps)


def test_a_rejected_order_is_an_error() -> None:
    assert build(order(uuid4(), OrderState.REJECTED, "no funds"), [])()[0].error == "no funds"
    assert build(order(uuid4(), OrderState.CANCELLED, "stopped"), [])()[0].error is None
