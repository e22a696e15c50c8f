"""`Rebuild`: builds trading again from the database after a failure; see `meltica.trading.failure`.

1. The earlier trading goes on cancelling until the database answers. Only then it is replaced.
2. The new one cancels what is still open before an instance trades again.
3. After `MOST` failures within `WINDOW`, trading stays halted until the gateway restarts: its cancels go on.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from meltica.errors import DatabaseError, one_line
from meltica.runtime.backoff import Backoff, Budget

if TYPE_CHECKING:
    from meltica.gateway.trading import GatewayTrading
    from meltica.gateway.trading_runtime import TradingRuntime

log = logging.getLogger("meltica.gateway")

MOST = 5
WINDOW = 600.0
"""3: how many failures within how many seconds."""
PAUSES = 1.0, 30.0
"""Seconds before a rebuild: the first pause, and the longest."""


class Rebuild:
    """The rebuilds of trading in one gateway."""

    def __init__(self, trading: "GatewayTrading") -> None:
        self._trading = trading
        self._budget = Budget(MOST, WINDOW, asyncio.get_running_loop().time)
        self._task: asyncio.Task[None] | None = None
        self.fault: str | None = None
        """Why no order leaves; None while trading is not rebuilt."""

    @property
    def running(self) -> bool:
        """Whether trading is being rebuilt: what starts now cancels all open orders (2)."""
        return self._task is not None and not self._task.done()

    def begin(self, failed: "TradingRuntime") -> None:
        """Rebuilds trading in the background."""
        if not self.running:
            self._task = asyncio.get_running_loop().create_task(self._run(failed), name="meltica-rebuild")

    async def stop(self) -> None:
        """Ends the rebuild that runs."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self, old: "TradingRuntime | None") -> None:
        backoff = Backoff(*PAUSES)
        while self._budget.spend():
            self.fault = "do not leave: trading has failed, and is rebuilt from the database"
            try:
                await self._replace(old, backoff)
            except Exception:
                log.exception("trading not rebuilt")
                old = self._trading.runtime
            else:
                old = self._trading.runtime
                if old is None or old.desk.gate.failure is None:
                    log.warning("trading is rebuilt from the database")
                    self.fault = None
                    return
        log.critical("trading stays halted: it failed more than %d times; restart the gateway", MOST)
        self.fault = f"do not leave: trading failed more than {MOST} times; restart the gateway"

    async def _replace(self, old: "TradingRuntime | None", backoff: Backoff) -> None:
        """1: replaces trading; repeated while the database is unavailable."""
        while True:
            await asyncio.sleep(backoff.next())
            try:
                async with self._trading.database.connection() as connection:
                    await connection.execute("select 1")
                await self._trading.replace(old)
            except DatabaseError as error:
                log.warning("trading not rebuilt yet: %s", one_line(error))
                old = self._trading.runtime
            else:
                return
