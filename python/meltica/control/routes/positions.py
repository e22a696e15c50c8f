"""`/strategy/instances/{id}/positions`: the positions of an instance."""

from typing import TYPE_CHECKING

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET

from meltica.api.envelope import optional
from meltica.api.operations import ReleaseRequest
from meltica.api.positions import Position, Positions
from meltica.control.access import OPERATOR, VIEWER
from meltica.control.bodies import QUERY
from meltica.control.changes import ChangeRunner
from meltica.control.filters import Filters
from meltica.control.operations import act_of, operator_of, owner_of, run
from meltica.control.paging import AnyLimit, Cursor, key_of, next_cursor, page_of
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, response
from meltica.control.services import ControlServices
from meltica.control.trading import TradingReads
from meltica.model.amounts import amount_text
from meltica.model.enums import Mode
from meltica.trading.exact import divide

if TYPE_CHECKING:
    from meltica.persistence.stores.trading.rows import PositionRow

PositionKey = tuple[str, str, str, str, str]
LATE = response(202, Positions, "The release acts and is not recorded yet")


class PositionsController(Controller):
    """The positions of one instance. An instance that does not exist has none."""

    path = "/strategy/instances/{id:str}/positions"
    tags = ["positions"]
    guards = [VIEWER]

    @get(summary="List the positions", operation_id="listPositions")
    async def list_positions(
        self,
        id: FromPath[str],
        services: NamedDependency[ControlServices],
        mode: FromQuery[Mode | None] = None,
        provider: FromQuery[str | None] = None,
        limit: AnyLimit = None,
        cursor: Cursor = None,
    ) -> Positions:
        """Returns the positions of an instance, also while the database is unavailable if it trades.

        Raises HttpError and DatabaseUnavailable.
        """
        rows = [
            row
            for row in await _rows(services.trading, id)
            if mode in (None, row.mode) and provider in (None, row.provider)
        ]
        if not rows:
            await Filters.of(services, provider=provider).refuse_unknown()
        page = page_of(rows, _by_symbol, key_of(cursor, PositionKey), limit)
        shown = [position_of(row) for row in page.rows]
        return Positions(positions=shown, count=len(shown), cursor=next_cursor(page, _by_symbol))

    @post(
        "/release",
        status_code=200,
        summary="Release the positions of an instance to no instance",
        operation_id="releasePositions",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def release(
        self,
        id: FromPath[str],
        data: JSONBody[ReleaseRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[Positions]:
        """Releases positions at their average cost; answers with what is left of the instance.

        Raises NotFound without a position, and Conflict while the instance runs or has open orders.
        """
        act, owner = act_of(actor, data.reason), owner_of(services, id, data.mode, data.uid)
        operator = operator_of(services)
        with precondition.rehearsal():
            done = await run(changes, operator.release(owner, act), f"release of {id}")
        rows = [row for row in await _rows(services.trading, id) if row.mode is data.mode]
        body = Positions(positions=[position_of(row) for row in rows], count=len(rows))
        return Response(body, status_code=202 if done is None else 200)


def _by_symbol(row: "PositionRow") -> PositionKey:
    return (row.mode.value, row.provider, row.symbol, str(row.uid), row.revision or "")


async def _rows(trading: TradingReads, id: str) -> "list[PositionRow]":
    desk = trading.desk()
    if desk is None:
        return await trading.queries.positions(id)
    from meltica.trading.stored import position_row

    with desk.lock.reading:
        return [position_row(each, 0) for each in desk.positions if each.key.owner.instance == id]


def position_of(row: "PositionRow") -> Position:
    """Returns a position in the spelling of the API."""
    return Position(
        instance=row.instance,
        uid=str(row.uid),
        mode=row.mode,
        revision=optional(row.revision),
        provider=row.provider,
        symbol=row.symbol,
        quantity=amount_text(row.quantity),
        cost=amount_text(row.cost),
        average_price=amount_text(divide(row.cost, row.quantity)) if row.quantity else UNSET,
        realised_pnl=amount_text(row.realised),
        fees={currency: amount_text(fee) for currency, fee in row.fees.items()},
    )
