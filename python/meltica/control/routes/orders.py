"""`/strategy/instances/{id}/orders` and `/executions`: the history of an instance's orders and fills."""

from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from meltica.api import contract
from meltica.api.executions import Execution, Executions
from meltica.api.orders import Order, Orders
from meltica.control.access import VIEWER
from meltica.control.bodies import bad_parameter
from meltica.control.paging import Cursor, Limit, key_of, next_cursor
from meltica.control.services import ControlServices
from meltica.model.enums import Mode, OrderState
from meltica.persistence.stores.trading.loaders import StoredOrder
from meltica.persistence.stores.trading.queries import FillKey, OrderKey, Page
from meltica.trading.exact import divide

STATES = "A state, in any case; repeat the parameter for several."


class OrdersController(Controller):
    """Orders and fills of one instance.

    One that does not exist has none, and none are at a provider that does not exist: existing clients get an
    empty list.
    """

    path = "/strategy/instances/{id:str}"
    tags = ["orders"]
    guards = [VIEWER]

    @get("/orders", summary="List the orders", operation_id="listOrders")
    async def list_orders(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        limit: Limit = 50,
        cursor: Cursor = None,
        provider: FromQuery[str | None] = None,
        mode: FromQuery[Mode | None] = None,
        one_state: Annotated[list[str] | None, QueryParameter(name="state", description=STATES)] = None,
        states: Annotated[list[str] | None, QueryParameter(description=STATES)] = None,
    ) -> Orders:
        """Returns the orders of an instance. Raises DatabaseUnavailable."""
        found = await services.trading.queries.orders(
            id,
            mode=mode,
            provider=provider,
            states=[state_of(text) for text in (*(one_state or ()), *(states or ()))],
            after=key_of(cursor, OrderKey),
            limit=limit,
        )
        return orders_of(found)

    @get("/executions", summary="List the fills", operation_id="listExecutions")
    async def list_executions(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        limit: Limit = 100,
        cursor: Cursor = None,
        provider: FromQuery[str | None] = None,
        mode: FromQuery[Mode | None] = None,
        order_id: Annotated[UUID | None, QueryParameter(name="orderId")] = None,
    ) -> Executions:
        """Returns the fills of an instance. Raises DatabaseUnavailable."""
        found = await services.trading.queries.fills(
            id,
            mode=mode,
            provider=provider,
            order_id=order_id,
            after=key_of(cursor, FillKey),
            limit=limit,
        )
        return Executions(
            executions=[Execution.of(values(contract.FILL, row)) for row in found.rows],
            count=len(found.rows),
            cursor=next_cursor(
                found, lambda row: (row.traded_at, row.report, row.order_id, row.execution_id)
            ),
        )


def values(pairs: contract.Pairs, row: object) -> dict[str, Any]:
    """Returns the fields of a row that the contract has."""
    return {name: getattr(row, name) for name, _ in pairs if hasattr(row, name)}


def orders_of(page: Page[StoredOrder]) -> Orders:
    """Returns a page of orders."""
    return Orders(
        orders=[order_of(row) for row in page.rows],
        count=len(page.rows),
        cursor=next_cursor(page, lambda row: (row.intent_at, row.id)),
    )


def order_of(row: StoredOrder) -> Order:
    """Returns an order in the spelling of the contract."""
    average: Decimal | None = divide(row.filled_cost, row.filled_quantity) if row.filled_quantity else None
    return Order.of({**values(contract.ORDER, row), "average_price": average})


def state_of(text: str) -> OrderState:
    """Returns a state, in any case. Raises HttpError."""
    try:
        return OrderState(text.strip().upper())
    except ValueError:
        names = ", ".join(OrderState)
        raise bad_parameter("state", f"expected one of {names}, saw {text!r}") from None
