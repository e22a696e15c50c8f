"""Orders: the form of client order ids, and the payload of reports."""

from decimal import Decimal

import pytest

from meltica.model.enums import VENUE_STATES, Liquidity, OrderState, OrderType, Side, TimeInForce
from meltica.model.fills import Fill
from meltica.model.orders import NewOrder, OrderSnapshot, exec_report


@pytest.mark.parametrize("id", ["a", "0123456789abcdefgh"])
def test_a_client_order_id_has_1_to_18_letters_and_digits(id: str) -> None:
    assert NewOrder(id, "BTC-USDT", Side.BUY, Decimal(1)).order_type is OrderType.MARKET
    assert NewOrder(id, "BTC-USDT", Side.BUY, Decimal(1), Decimal(1)).order_type is OrderType.LIMIT


@pytest.mark.parametrize("id", ["", "A", "a-b", "0123456789abcdefghi", "a\n", "\u0660"])
def test_another_client_order_id_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="client order id: expected 1 to 18 of 0-9 and a-z, saw"):
        NewOrder(id, "BTC-USDT", Side.BUY, Decimal(1))


def test_a_venue_reports_neither_pending_nor_unknown() -> None:
    assert set(OrderState) - VENUE_STATES == {OrderState.PENDING, OrderState.UNKNOWN}
    assert {state for state in OrderState if state.is_final} == {"FILLED", "CANCELLED", "REJECTED", "EXPIRED"}


def test_a_report_has_the_order_and_the_fill() -> None:
    order = OrderSnapshot(
        client_order_id="a",
        venue_order_id="x",
        symbol="BTC-USDT",
        side=Side.SELL,
        state=OrderState.PARTIAL,
        order_type=OrderType.LIMIT,
        quantity=Decimal(2),
        filled_quantity=Decimal(1),
        time_in_force=TimeInForce.GTC,
        price=Decimal(100),
        remaining_quantity=Decimal(1),
        average_price=Decimal(101),
        fee=Decimal("0.1"),
        fee_currency="USDT",
        reason="why",
        time=5,
    )
    fill = Fill("e", 5, "BTC-USDT", "a", "x", Side.SELL, Decimal(101), Decimal(1), Decimal("0.1"), "USDT")
    whole = {
        "clientOrderId": "a",
        "venueOrderId": "x",
        "state": "PARTIAL",
        "side": "Sell",
        "orderType": "Limit",
        "timeInForce": "GTC",
        "price": 100,
        "quantity": 2,
        "filledQuantity": 1,
        "remainingQuantity": 1,
        "averagePrice": 101,
        "fee": Decimal("0.1"),
        "feeCurrency": "USDT",
        "reason": "why",
    }
    of_fill = {
        "executionId": "e",
        "lastQuantity": 1,
        "lastPrice": 101,
        "lastFee": Decimal("0.1"),
        "lastFeeCurrency": "USDT",
    }
    assert exec_report(order) == whole
    assert exec_report(order, fill) == whole | of_fill
    maker = fill._replace(liquidity=Liquidity.MAKER)
    assert exec_report(order, maker) == whole | of_fill | {"liquidity": "maker"}
    bare = OrderSnapshot(
        "a", None, "BTC-USDT", Side.BUY, OrderState.ACK, OrderType.MARKET, Decimal(1), Decimal(0)
    )
    assert exec_report(bare).keys() == {
        "clientOrderId",
        "state",
        "side",
        "orderType",
        "quantity",
        "filledQuantity",
    }
