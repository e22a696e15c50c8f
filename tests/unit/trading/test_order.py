from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.trading.order import Amendment, OrderRecord, Owner, PositionKey

OWNER = Owner("maker", UUID(int=1), Mode.LIVE)


def order(**changes: object) -> OrderRecord:
    record = OrderRecord(
        id=UUID(int=2),
        client_order_id="m3a000000000000001",
        owner=OWNER,
        provider="fake",
        symbol="BTC-USDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=Decimal(10),
        limit_price=Decimal(100),
        intent_at=1,
    )
    return replace(record, **changes)  # pyright: ignore[reportArgumentType]


def test_a_position_belongs_to_owner_provider_and_symbol() -> None:
    assert order().position_key == PositionKey(OWNER, "fake", "BTC-USDT")
    assert OWNER._replace(mode=Mode.PAPER) != OWNER
    assert OWNER._replace(uid=UUID(int=9)) != OWNER
    assert OWNER._replace(revision="sha256:aa") != OWNER


def test_the_average_price_is_exact_where_it_is_a_decimal() -> None:
    assert order().average_price is None
    filled = order(filled_quantity=Decimal(3), filled_cost=Decimal("300.0000000000000000000000000003"))
    assert filled.average_price == Decimal("100.0000000000000000000000000001")


@pytest.mark.parametrize(
    ("amendment", "open_quantity", "worst_price"),
    [
        (None, 6, 100),
        (Amendment(quantity=Decimal(20)), 16, 100),
        (Amendment(quantity=Decimal(5), price=Decimal(90)), 6, 100),
        (Amendment(price=Decimal(110), outcome_unknown=True), 6, 110),
    ],
)
def test_the_larger_of_old_and_new_is_reserved(
    amendment: Amendment | None, open_quantity: int, worst_price: int
) -> None:
    record = order(filled_quantity=Decimal(4), state=OrderState.PARTIAL, amendment=amendment)
    assert (record.open_quantity, record.worst_price) == (open_quantity, worst_price)
    assert record.remaining_quantity == 6


@pytest.mark.parametrize("state", OrderState)
def test_only_an_order_that_has_not_ended_reserves(state: OrderState) -> None:
    record = order(state=state, filled_quantity=Decimal(4))
    left = 0 if state.is_final else 6
    assert (record.open_quantity, record.remaining_quantity) == (left, left)


def test_an_overfilled_order_reserves_nothing() -> None:
    record = order(state=OrderState.UNKNOWN, filled_quantity=Decimal(11))
    assert (record.open_quantity, record.remaining_quantity) == (0, 0)
