"""`/providers/{name}/balances`: the balances of an account, their history or the latest ones."""

from typing import Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter

from meltica.api import contract
from meltica.api.balances import Balance, Balances
from meltica.control.access import VIEWER
from meltica.control.paging import Cursor, Limit, key_of, next_cursor
from meltica.control.routes.orders import values
from meltica.control.services import ControlServices
from meltica.model.enums import Mode
from meltica.model.symbols import upper
from meltica.persistence.stores.trading.queries import BalanceKey, Page


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
        cursor: Cursor = None,
        mode: FromQuery[Mode | None] = None,
        currency: Annotated[str | None, QueryParameter(name="asset", description="In any case.")] = None,
        latest: Annotated[bool, QueryParameter(description="Only the latest of each currency.")] = False,
    ) -> Balances:
        """Returns the balances of an account. Raises DatabaseUnavailable."""
        asset = None if currency is None else upper(currency.strip())
        queries = services.trading.queries
        if latest:
            found = Page(await queries.latest_balances(name, mode=mode, currency=asset), has_more=False)
        else:
            after = key_of(cursor, BalanceKey)
            found = await queries.balances(name, mode=mode, currency=asset, after=after, limit=limit)
        balances = [
            Balance.of({**values(contract.BALANCE, row), "updated_at": row.created_at}) for row in found.rows
        ]
        more = next_cursor(found, lambda row: (row.snapshot_at, row.currency, row.mode))
        return Balances(balances=balances, count=len(balances), cursor=more)
