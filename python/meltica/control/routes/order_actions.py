"""`/orders`: the orders of all instances, one with its whole life, and what operators do to them."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from meltica.api import contract
from meltica.api.executions import Execution
from meltica.api.operations import (
    CancelRequest,
    CancelResult,
    OrderChange,
    OrderDetail,
    OrderTimes,
    Request,
    ResolveRequest,
)
from meltica.api.orders import Orders
from meltica.api.traces import OrderTrace
from meltica.control.access import OPERATOR, VIEWER
from meltica.control.bodies import QUERY, checked
from meltica.control.changes import ChangeRunner
from meltica.control.filters import Filters
from meltica.control.operations import act_of, existing_scope, existing_symbol, operator_of, run
from meltica.control.paging import MAX_LIMIT, Cursor, Limit, key_of
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, response
from meltica.control.routes.orders import STATES, order_of, orders_of, state_of, values
from meltica.control.services import ControlServices
from meltica.control.traces import trace_of
from meltica.errors import DatabaseUnavailable
from meltica.model.enums import Mode
from meltica.persistence.stores.trading.queries import OrderKey

if TYPE_CHECKING:
    from meltica.persistence.stores.trading.loaders import StoredOrder
    from meltica.trading.order import OrderRecord

MS = 10**6
LATE = response(202, OrderChange, "The request acts and is not recorded yet")
LATE_ALL = response(202, CancelResult, "The request acts and is not recorded yet")
Time = Annotated[int | None, QueryParameter(ge=0, description="Milliseconds since 1970, of the request.")]


class OrderActionsController(Controller):
    """Orders of all instances."""

    path = "/orders"
    tags = ["orders"]
    guards = [VIEWER]

    @get(summary="List the orders of all instances", operation_id="listAllOrders")
    async def list_all(
        self,
        services: NamedDependency[ControlServices],
        limit: Limit = 50,
        cursor: Cursor = None,
        instance: FromQuery[str | None] = None,
        provider: FromQuery[str | None] = None,
        symbol: FromQuery[str | None] = None,
        mode: FromQuery[Mode | None] = None,
        since: Time = None,
        until: Time = None,
        states: Annotated[list[str] | None, QueryParameter(name="state", description=STATES)] = None,
    ) -> Orders:
        """Returns orders, the latest request first. Raises HttpError and DatabaseUnavailable."""
        only = Filters.of(services, instance=instance, provider=provider, symbol=symbol)
        found = await services.trading.queries.orders(
            instance,
            mode=mode,
            provider=provider,
            symbol=only.symbol,
            states=[state_of(text) for text in states or ()],
            since=None if since is None else since * MS,
            until=None if until is None else until * MS,
            after=key_of(cursor, OrderKey),
            limit=limit,
        )
        if not found.rows:
            await only.refuse_unknown()
        return orders_of(found)

    @get(
        "/{id:uuid}",
        summary="Get an order with its whole life",
        operation_id="getOrder",
        responses=NOT_FOUND,
    )
    async def get_order(self, id: FromPath[UUID], services: NamedDependency[ControlServices]) -> OrderDetail:
        """Returns an order, its times and its fills. Raises NotFound and DatabaseUnavailable."""
        queries = services.trading.queries
        row = await queries.order(id)
        fills = await queries.fills(row.instance, order_id=id, limit=MAX_LIMIT)
        return OrderDetail(
            order=order_of(row),
            times=_times(row),
            executions=[Execution.of(values(contract.FILL, each)) for each in fills.rows],
        )

    @get(
        "/{id:uuid}/trace",
        summary="Get the waterfall of an order",
        operation_id="traceOrder",
        responses=NOT_FOUND,
    )
    async def trace_order(self, id: FromPath[UUID], services: NamedDependency[ControlServices]) -> OrderTrace:
        """Returns the steps of an order, also of a refused one. Raises NotFound and DatabaseUnavailable."""
        return trace_of(*await services.trading.queries.trace(id))

    @post(
        "/cancel",
        status_code=200,
        summary="Cancel the open orders of a scope",
        operation_id="cancelOrders",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE_ALL | NOT_FOUND | CONFLICT,
    )
    async def cancel_all(
        self,
        data: JSONBody[CancelRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[CancelResult]:
        """Requests the cancels of open orders. Raises Conflict while nothing trades."""
        scope, act = checked(lambda: existing_scope(data.scope, services), lambda: act_of(actor, data.reason))
        symbol = None if data.symbol is UNSET else existing_symbol(data.symbol, services)
        operator = operator_of(services)
        try:
            with precondition.rehearsal():
                work = operator.cancel_all(scope, symbol, act)
                found = await run(changes, work, f"cancel of {scope}")
        except DatabaseUnavailable:
            found = None
        if found is None:
            return Response(CancelResult(scope=str(scope), orders=[], recorded=False), status_code=202)
        return Response(CancelResult(scope=str(scope), orders=[str(each.id) for each in found]))

    @post(
        "/{id:uuid}/cancel",
        status_code=200,
        summary="Cancel an order",
        operation_id="cancelOrder",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def cancel(
        self,
        id: FromPath[UUID],
        data: JSONBody[Request],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[OrderChange]:
        """Requests the cancel of an order, repeated until it has ended. Raises NotFound and Conflict."""
        operator, act = operator_of(services), act_of(actor, data.reason)
        try:
            with precondition.rehearsal():
                work = operator.cancel(id, act)
                return await _changed(services, id, work, changes, "cancel")
        except DatabaseUnavailable:
            return _late(services, id)

    @post(
        "/{id:uuid}/query",
        status_code=200,
        summary="Query an order at its venue",
        operation_id="queryOrder",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def query(
        self,
        id: FromPath[UUID],
        data: JSONBody[Request],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[OrderChange]:
        """Queries an order; the answer arrives like others. Raises NotFound and Conflict."""
        operator, act = operator_of(services), act_of(actor, data.reason)
        with precondition.rehearsal():
            work = operator.query(id, act)
            return await _changed(services, id, work, changes, "query")

    @post(
        "/{id:uuid}/resolve",
        status_code=200,
        summary="End an order whose state is unknown",
        operation_id="resolveOrder",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def resolve(
        self,
        id: FromPath[UUID],
        data: JSONBody[ResolveRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[OrderChange]:
        """Ends an order that is UNKNOWN, as the venue shows it. Raises NotFound and Conflict."""
        operator, act = operator_of(services), act_of(actor, data.reason)
        with precondition.rehearsal():
            work = operator.resolve(id, data.state, act)
            return await _changed(services, id, work, changes, "resolve")


async def _changed(
    services: ControlServices,
    id: UUID,
    work: "Coroutine[Any, Any, OrderRecord]",
    changes: ChangeRunner,
    name: str,
) -> Response[OrderChange]:
    done = await run(changes, work, f"{name} of order {id}")
    return _late(services, id) if done is None else _response(done, recorded=True)


def _late(services: ControlServices, id: UUID) -> Response[OrderChange]:
    desk = services.trading.desk()
    machine = None if desk is None else desk.find(id)
    assert machine is not None, "an operation found it"
    return _response(machine.record, recorded=False)


def _response(record: "OrderRecord", *, recorded: bool) -> Response[OrderChange]:
    body = OrderChange(
        id=str(record.id),
        state=record.state,
        cancel_wanted=record.cancel_wanted,
        recorded=UNSET if recorded else False,
    )
    return Response(body, status_code=200 if recorded else 202)


def _times(row: "StoredOrder") -> OrderTimes:
    return OrderTimes(
        intent=row.intent_at // MS,
        approved=_ms(row.approved_at),
        committed=_ms(row.committed_at),
        sent=_ms(row.sent_at),
        acknowledged=_ms(row.acknowledged_at),
        venue=_ms(row.venue_time),
        ended=_ms(row.ended_at),
    )


def _ms(time: int | None) -> int | UnsetType:
    return UNSET if time is None else time // MS
