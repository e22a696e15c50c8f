"""The real adapter `fake` in this process, as a provider of one core, without a gateway."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from meltica._core import Core, SyntheticMarket
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.simulator.account import SimulatedAccount

PATIENCE = 20.0
T = TypeVar("T")


class FakeVenue:
    """A market with BTC-USDT at about 100 whose background traders rest. Use it with `with`."""

    def __init__(self, core: Core, provider: str = "p", **settings: Any) -> None:
        adapter = FakeAdapter.configure(
            {"symbols": [{"symbol": "BTC-USDT", "price": 100}], "seed": 5} | settings
        )
        assert isinstance(adapter, FakeAdapter)
        adapter.bind_name(provider)
        self.core = core
        self.producer = core.producer(provider)
        adapter.start({provider: self.producer})
        self.adapter = adapter
        self._thread = threading.Thread(target=adapter.run, name="fake-run")

    @property
    def market(self) -> SyntheticMarket:
        """The market."""
        return self.adapter.market

    @property
    def account(self) -> SimulatedAccount:
        """The account."""
        account = self.adapter.account
        assert account is not None
        return account

    def __enter__(self) -> Self:
        self.market.operator.rest(True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.adapter.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def do(self, request: Awaitable[T]) -> T:
        """Awaits a request of the account."""

        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE):
                return await request

        return asyncio.run(bounded())


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Waits until a condition holds."""
    waited = threading.Event()
    for _ in range(int(PATIENCE / 0.005)):
        if holds():
            return
        waited.wait(0.005)
    raise AssertionError(f"expected {what} within {PATIENCE:g} s")
