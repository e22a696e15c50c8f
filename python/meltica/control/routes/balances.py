"""`/providers/{name}/balances`: the history of the balances of an account."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from meltica.api import contract
from meltica.api.balances import Balance, Balances
from meltica.control.access import VIEWER
from meltica.control.routes.openapi import UNAVAILABLE
from meltica.control.routes.orders import Limit, values
from meltica.control.services import ControlServices
from meltica.model.enums import Mode


class BalancesController(Controller):
    """The balances of one provider. A provider that does not exist has none."""

    path = "/providers/{name:str}/balances"
    tags = ["balances"]
    guards = [VIEWER]

    @get(summary="List the balances", operation_id="listBalances", responses=UNAVAILABLE)
    async def list_balances(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        limit: Limit = 100,
        mode: FromQuery[Mode | None] = None,
        currency: Annotated[str | None, QueryParameter(name="asset", description="In any case.")] = None,
    ) -> Balances:
        """Returns the balances of an account. Raises DatabaseUnavailable."""
        asset = None if currency is None else currency.strip().upper()
        rows = await services.trading.queries.balances(name, mode=mode, currency=asset, limit=limit)
        balances = [
            Balance.of({**values(contract.BALANCE, row), "updated_at": row.created_at}) for row in rows
        ]
        return Balances(balances=balances, count=len(balances))
