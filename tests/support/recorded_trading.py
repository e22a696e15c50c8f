"""Trading that records the calls of the manager and trades nothing."""

import asyncio
from collections.abc import Callable

from meltica._core import Trigger
from meltica.errors import ConfigError
from meltica.lambdas.no_trader import NoTrader
from meltica.model.trader import Order, TradingSpec

CALLS: list[str] = []
"""The calls of the manager and of the strategies of a test, in their order."""


class RecordedTrader(NoTrader):
    """A trader without orders, and the function that reaches its instance."""

    def __init__(self, spec: TradingSpec, deliver: Callable[[Callable[[], None]], object]) -> None:
        super().__init__("recorded", "nothing is traded here")
        self.spec = spec
        self.deliver = deliver

    def report(self, name: str) -> object:
        """Delivers a callback without a fill."""
        return self.deliver(lambda: self.on_callback(name, Order(), None, None))

    def change(self, on: bool, why: str | None) -> None:
        """Delivers that orders begin or cease to go out."""
        self.deliver(lambda: self.on_trading_changed("p", on, why))


class RecordedTrading:
    """Implements `TradingPort`; records the calls in `CALLS`, which it empties first."""

    def __init__(self) -> None:
        CALLS.clear()
        self.traders: list[RecordedTrader] = []
        self.saved: list[bytes] = []
        self.stored: bytes | None = None
        """The checkpoint of the next start."""
        self.missed: list[str] = []
        """The callbacks that the next start delivers."""
        self.fault: str | None = None
        """Why `open` refuses."""
        self.failed: list[bool] = []
        """Whether the runs that were closed had failed."""
        self.reconciled = asyncio.Event()
        self.reconciled.set()

    def open(
        self,
        spec: TradingSpec,
        deliver: Callable[[Callable[[], None]], object],
        trigger: Callable[[], Trigger | None],
    ) -> RecordedTrader:
        """Records the call, and raises the fault."""
        CALLS.append("open")
        if self.fault is not None:
            raise ConfigError("orders of x", [self.fault])
        self.traders.append(RecordedTrader(spec, deliver))
        return self.traders[-1]

    async def ready(self, trader: RecordedTrader) -> None:
        """Waits for `reconciled`."""
        await self.reconciled.wait()
        CALLS.append("ready")

    def waits_for(self, trader: RecordedTrader) -> str | None:
        """Names a provider until it is reconciled."""
        return None if self.reconciled.is_set() else "the account of p is not reconciled"

    def checkpoint(self, trader: RecordedTrader) -> bytes | None:
        """Returns `stored`."""
        CALLS.append("checkpoint")
        return self.stored

    def replay_missed(self, trader: RecordedTrader) -> None:
        """Delivers `missed`."""
        CALLS.append("replay_missed")
        for name in self.missed:
            trader.report(name)

    def save(self, trader: RecordedTrader, state: bytes) -> None:
        """Keeps the state."""
        CALLS.append("save")
        self.saved.append(state)

    def stop_orders(self, trader: RecordedTrader) -> None:
        """Records the first call."""
        if CALLS[-1] != "stop_orders":
            CALLS.append("stop_orders")

    def suspend(self, trader: RecordedTrader) -> None:
        """Records the call."""
        CALLS.append("suspend")

    def resume(self, trader: RecordedTrader) -> None:
        """Records the call."""
        CALLS.append("resume")

    async def close(self, trader: RecordedTrader, *, failed: bool = False) -> None:
        """Records the call."""
        CALLS.append("close")
        self.failed.append(failed)
