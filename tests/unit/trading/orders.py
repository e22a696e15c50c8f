"""Orders, reports and fills for the tests of trading."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.trading.effects import Callback, Effect, Fault
from meltica.trading.order import OrderRecord, Owner
from meltica.trading.state_machine import OrderMachine
from meltica.trading.transitions import Timings

SECOND = 10**9
TIMINGS = Timings(arrives_within=10 * SECOND)
OWNER = Owner("maker", UUID(int=1), Mode.LIVE)
ID = "m3a000000000000001"

T = TypeVar("T")


def order(**changes: Any) -> OrderRecord:
    """Returns an order to buy 10 BTC at 100, before its commit."""
    record = OrderRecord(
        id=UUID(int=2),
        client_order_id=ID,
        owner=OWNER,
        provider="fake",
        symbol="BTC-USDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=Decimal(10),
        price=Decimal(100),
        limit_price=Decimal(100),
        intent_at=0,
    )
    return replace(record, **changes)


def report(state: str, filled: object = 0, time: int | None = 1, **changes: Any) -> OrderSnapshot:
    """Returns a report of the order."""
    return OrderSnapshot(
        client_order_id=ID,
        venue_order_id="v1",
        symbol="BTC-USDT",
        side=Side.BUY,
        state=OrderState(state),
        order_type=OrderType.LIMIT,
        quantity=Decimal(10),
        filled_quantity=Decimal(str(filled)),
        price=Decimal(100),
        time=time,
    )._replace(**changes)


def fill(id: str, quantity: object, price: object = 100, time: int = 1, **changes: Any) -> Fill:
    """Returns a fill of the order."""
    return Fill(
        execution_id=id,
        time=time,
        symbol="BTC-USDT",
        client_order_id=ID,
        venue_order_id="v1",
        side=Side.BUY,
        price=Decimal(str(price)),
        quantity=Decimal(str(quantity)),
        fee=Decimal("0.1"),
        fee_currency="USDT",
    )._replace(**changes)


def machine(**changes: Any) -> OrderMachine:
    """Returns the machine of an order before its commit."""
    return OrderMachine(order(**changes), TIMINGS)


def sent(now: int = 0, **changes: Any) -> OrderMachine:
    """Returns the machine of an order whose request is unanswered."""
    result = machine(**changes)
    result.committed(now)
    result.sending(now, age=0)
    return result


def open_(now: int = 0, **changes: Any) -> OrderMachine:
    """Returns the machine of an order that the venue acknowledged."""
    result = sent(now, **changes)
    result.answered(report("ACK"), now)
    return result


def of(kind: type[T], effects: Iterable[Effect]) -> list[T]:
    """Returns the effects of one type."""
    return [each for each in effects if isinstance(each, kind)]


def callbacks(effects: Iterable[Effect]) -> list[str]:
    """Returns the names of the callbacks without `on_order_`."""
    return [each.kind.removeprefix("on_order_") for each in of(Callback, effects)]


def faults(effects: Iterable[Effect]) -> list[str]:
    """Returns the codes of the faults."""
    return [each.code.value for each in of(Fault, effects)]
