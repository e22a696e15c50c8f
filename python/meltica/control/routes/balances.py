"""`/providers/{name}/balances`: the balances of an account, their history or the latest ones."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from meltica.api import contract
from meltica.api.balances import Balance, Balances
from meltica.control.access import VIEWER
from meltica.control.routes.orders import Limit, values
from meltica.control.services import ControlServices
from meltica.model.enums import Mode


class BalancesController(Controller):
    """The balances of one provider. A provider that does not exist has none."""

    path = "/providers/{name:str}/balances"
    tags = ["balances"]
    guards = [VIEWER]

    @get(summary="List the balances", operation_id="listBalances")
    async def list_balances(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        limit: Limit = 100,
        mode: FromQuery[Mode | None] = None,
        currency: Annotated[str | None, QueryParameter(name="asset", description="In any case.")] = None,
        latest: Annotated[bool, QueryParameter(description="Only the latest of each currency.")] = False,
    ) -> Balances:
        """Returns the balances of an account. Raises DatabaseUnavailable."""
        asset = None if currency is None else currency.strip().upper()
        queries = services.trading.queries
        if latest:
            rows = await queries.latest_balances(name, mode=mode, currency=asset)
        else:
            rows = await queries.balances(name, mode=mode, currency=asset, limit=limit)
        balances = [
            Balance.of({**values(contract.BALANCE, row), "updated_at": row.created_at}) for row in rows
        ]
        return Balances(balances=balances, count=len(balances))
