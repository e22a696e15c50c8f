"""Rows of trading for the tests of its stores."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from meltica.model.enums import Mode, OrderType, Side, TimeInForce
from meltica.persistence.stores.trading.rows import FillRow, LedgerEntryRow, OrderRow, PositionRow
from meltica.trading.client_ids import ClientOrderIds

UID = UUID(int=7)
START = 1_767_323_045_678_901_234
IDS = ClientOrderIds("abc")


def order(**changes: Any) -> OrderRow:
    """Returns a new limit order of the instance `maker`."""
    values: dict[str, Any] = {
        "id": uuid4(),
        "client_order_id": IDS.next(),
        "instance": "maker",
        "uid": UID,
        "mode": Mode.LIVE,
        "provider": "main",
        "symbol": "BTC-USDT",
        "side": Side.BUY,
        "order_type": OrderType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "quantity": Decimal("0.0100"),
        "price": Decimal("64000.10"),
        "limit_price": Decimal("64000.10"),
        "intent_at": START,
        "approved_at": START + 1,
    }
    return OrderRow(**{**values, **changes})


def fill(of: OrderRow, execution_id: str = "e1", **changes: Any) -> FillRow:
    """Returns a fill of an order."""
    values: dict[str, Any] = {
        "order_id": of.id,
        "execution_id": execution_id,
        "provider": of.provider,
        "instance": of.instance,
        "quantity": Decimal("0.0050"),
        "price": Decimal("64000.00"),
        "fee": Decimal("0.32"),
        "fee_currency": "USDT",
        "traded_at": START + 5,
        "report": 1,
    }
    return FillRow(**{**values, **changes})


def position(of: OrderRow, quantity: str, **changes: Any) -> PositionRow:
    """Returns the position that an order's fills move."""
    values: dict[str, Any] = {
        "instance": of.instance,
        "uid": of.uid,
        "mode": of.mode,
        "revision": of.revision,
        "provider": of.provider,
        "symbol": of.symbol,
        "quantity": Decimal(quantity),
        "cost": Decimal(quantity) * 64000,
        "fees": {"USDT": Decimal("0.32")},
        "updated_at": START + 6,
    }
    return PositionRow(**{**values, **changes})


def deposit(amount: str = "5.00", **changes: Any) -> LedgerEntryRow:
    """Returns a ledger entry."""
    values: dict[str, Any] = {
        "provider": "main",
        "mode": Mode.LIVE,
        "kind": "deposit",
        "venue_id": "d-1",
        "currency": "USDT",
        "amount": Decimal(amount),
        "booked_at": START,
    }
    return LedgerEntryRow(**{**values, **changes})
