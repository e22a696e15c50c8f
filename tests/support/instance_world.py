"""A manager of instances with a real database, and a provider that publishes the trades of a test."""

import asyncio
import itertools
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from meltica._core import Core, Watch
from meltica.lambdas.managed import ManagedInstance
from meltica.lambdas.manager import InstanceManager
from meltica.persistence.database import Database
from meltica.persistence.stores.instances import InstanceRecord, InstanceStore
from meltica.runtime import threads
from meltica.runtime.state_writer import StateWriter
from meltica.settings import LambdaSpec

PATIENCE = 20.0
HEAD = "import threading, meltica\nGATE, ENTERED = threading.Event(), threading.Event()\n"
GOOD = HEAD + "class Good(meltica.Lambda):\n    def on_trade(self, trade): ENTERED.set()\n"
HANGS = HEAD + "class Hangs(meltica.Lambda):\n    def on_trade(self, trade): ENTERED.set(); GATE.wait(20)\n"
LOOPS_AT_START = GOOD + "    def on_start(self):\n        ENTERED.set()\n        while True: pass\n"
HANGS_AT_START = GOOD + "    def on_start(self): ENTERED.set(); GATE.wait(20)\n"
RAISES = (
    HEAD
    + "class Raises(meltica.Lambda):\n    def on_trade(self, trade): ENTERED.set(); raise KeyError('x')\n"
)
TRADE = {"tradeId": "1", "side": "Buy", "price": "100", "quantity": "1"}


class World:
    """A manager, and a provider `p` that publishes the trades of the test."""

    def __init__(self, store: InstanceStore, folder: Path) -> None:
        self.core = Core()
        self.watch = Watch(self.core)
        self.producer = self.core.producer("p")
        self.store = store
        self.folder = folder
        self.state_writer = StateWriter(retry=0.0)
        self.manager = self.new_manager()
        self._numbers = itertools.count()

    def new_manager(self, **options: Any) -> InstanceManager:
        """Creates another manager of the same store."""
        self.watch.close()
        self.watch = Watch(self.core)
        return InstanceManager(self.core, self.watch, self.store, self.state_writer, **options)

    async def add(self, id: str, source: str, desired: Any = "stopped", **options: Any) -> ManagedInstance:
        """Adds an instance with the source of its strategy."""
        path = self.folder / f"{id.replace('-', '_')}.py"
        path.write_text(source)
        scope = {"p": ("BTC-USDT",)}
        spec = LambdaSpec(id=id, strategy=str(path), scope=scope, **options)
        row = InstanceRecord(
            id=id, strategy=id, selector=str(path), scope={"p": ["BTC-USDT"]}, origin="baseline"
        )
        await self.store.add(row, desired)
        return self.manager.add(spec)

    def trade(self) -> None:
        """Publishes a trade of BTC-USDT."""
        assert self.producer.publish("Trade", "BTC-USDT", {**TRADE, "tradeId": str(next(self._numbers))})


class StartTimeout:
    """The time-out of starts, which passes when the test says so instead of after some seconds."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.passed = asyncio.Event()
        patch.setattr("meltica.lambdas.launcher.within", self._within)

    async def _within(
        self, _seconds: float, step: "asyncio.Future[Any]", late: Callable[[Any], None] | None = None
    ) -> Any:
        passing = asyncio.ensure_future(self.passed.wait())
        await asyncio.wait({step, passing}, return_when=asyncio.FIRST_COMPLETED)
        passing.cancel()
        return await threads.within(0.0, step, late)


async def when(condition: Callable[[], object]) -> None:
    """Polls until a condition holds, for changes on another thread without a notification."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


def flag(instance: ManagedInstance, name: str) -> threading.Event:
    """Returns an event of the strategy's module."""
    assert instance.strategy is not None
    return getattr(sys.modules[instance.strategy.__module__], name)


def entered(instance: ManagedInstance) -> None:
    """Waits until a callback of the instance runs."""
    assert flag(instance, "ENTERED").wait(PATIENCE)


@asynccontextmanager
async def open_world(url: str, folder: Path) -> AsyncGenerator[World]:
    """Opens a world; at its end, lets the callbacks return that wait for a gate."""
    database = await Database.open(url)
    store = InstanceStore(database)
    await store.load()
    world = World(store, folder)
    world.state_writer.start()
    yield world
    for instance in world.manager.all():
        if instance.strategy is not None:
            flag(instance, "GATE").set()
    await world.manager.close()
    world.watch.close()
    await world.state_writer.close(PATIENCE)
    await database.close()
