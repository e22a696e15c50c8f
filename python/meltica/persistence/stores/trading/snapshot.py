"""`TradingSnapshot`: the state of trading in the database, for clients that start from it."""

from psycopg.sql import SQL

from meltica.model.enums import OrderState
from meltica.persistence.database import Database
from meltica.persistence.stores.trading.loaders import ORDERS, StoredOrder, columns, fetch
from meltica.persistence.stores.trading.rows import BalanceRow, PositionRow

_OPEN = [state.value for state in OrderState if not state.is_final]


class TradingSnapshot:
    """Reads the state as it is now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_orders(self) -> list[StoredOrder]:
        """Returns the orders that have not ended, the oldest first."""
        query = ORDERS + SQL("where o.state = any(%s) order by o.intent_at, o.id")
        return await fetch(self._database, StoredOrder, query, [_OPEN])

    async def positions(self) -> list[PositionRow]:
        """Returns the positions that are not flat."""
        query = SQL("select {} from positions where quantity <> 0 order by instance, provider, symbol")
        return await fetch(self._database, PositionRow, query.format(columns(PositionRow)))

    async def balances(self) -> list[BalanceRow]:
        """Returns the latest balance of each currency."""
        query = SQL(
            "select distinct on (provider, mode, currency) {} from balances"
            " order by provider, mode, currency, snapshot_at desc"
        )
        return await fetch(self._database, BalanceRow, query.format(columns(BalanceRow)))
