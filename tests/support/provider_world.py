"""A provider manager on a real database, with adapters that do what a test scripts."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

import pytest

from meltica._core import Core, Producer
from meltica.adapters import registry
from meltica.adapters.base import Adapter, Route
from meltica.adapters.codec import Codec
from meltica.model.balances import Balance
from meltica.persistence.database import Database
from meltica.persistence.stores.providers import ProviderRecord as Stored
from meltica.persistence.stores.providers import ProviderStore
from meltica.providers.manager import Provider, ProviderManager
from meltica.providers.provider import Clock
from meltica.providers.spec import ProviderSpec
from meltica.runtime.backoff import RestartPolicy
from meltica.runtime.lifecycle import ProviderState
from meltica.runtime.state_writer import StateWriter
from meltica.simulator.paper.account import PaperAccount
from meltica.simulator.paper.orders import PaperReport
from meltica.simulator.paper.settings import PaperSettings
from meltica.validation.section import AdapterSettings

PATIENCE = 20.0
BTC, ETH = Route("Trade", "BTC-USDT"), Route("Trade", "ETH-USDT")


class Script:
    """How the adapters of a test behave, and the calls that they got."""

    def __init__(self) -> None:
        self.runs: list[Fake] = []
        self.routed: list[tuple[list[Route], list[Route]]] = []
        self.start: Callable[[Fake], object] = lambda fake: None
        self.run: Callable[[Fake], object] = lambda fake: fake.stopping.wait(PATIENCE)
        self.stop: Callable[[Fake], object] = lambda fake: fake.stopping.set()
        self.route: Callable[[Fake], object] = lambda fake: None


class Fake(Adapter):
    identifier: ClassVar[str] = "fake"
    display_name: ClassVar[str] = "Fake"
    venue: ClassVar[str] = "FAKE"
    script: ClassVar[Script]
    declaration: ClassVar[Codec | None] = None

    def __init__(self, settings: AdapterSettings) -> None:
        super().__init__(settings)
        self.stopping = threading.Event()
        self.producers: Mapping[str, Producer] = {}
        self.name = "fake"
        self._account = PaperAccount(PaperSettings(), _ignore, lambda: 0)
        self.script.runs.append(self)

    @property
    def account(self) -> PaperAccount:
        return self._account

    def providers(self) -> list[str]:
        return [self.name]

    def codec(self) -> Codec | None:
        return self.declaration

    def bind_name(self, name: str) -> None:
        self.name = name

    def instruments(self) -> Sequence[Mapping[str, object]]:
        return [{"symbol": f"COIN{len(self.script.runs)}-USDT"}]

    def start(self, producers: Mapping[str, Producer]) -> None:
        self.producers = producers
        self.script.start(self)

    def run(self) -> None:
        self.script.run(self)

    def stop(self) -> None:
        self.script.stop(self)

    def route(self, subscribe: Sequence[Route], unsubscribe: Sequence[Route]) -> None:
        self.script.routed.append((list(subscribe), list(unsubscribe)))
        self.script.route(self)


def _ignore(_report: PaperReport, _balances: Mapping[str, Balance]) -> None: ...


class ObservedWriter(StateWriter):
    """A state writer that signals each new state."""

    def __init__(self) -> None:
        super().__init__(retry=0.0)
        self.changed = asyncio.Event()

    def put(self, kind: str, name: str, write: Callable[[], Awaitable[object]]) -> None:
        super().put(kind, name, write)
        self.changed.set()


class World:
    """A manager of the providers `a` and `b`, with a frozen clock and pauses that the test ends."""

    def __init__(self, store: ProviderStore, policy: RestartPolicy) -> None:
        self.loop = asyncio.get_running_loop()
        self.core = Core()
        self.store = store
        self.states = ObservedWriter()
        self.now = 0.0
        self.pauses: list[float] = []
        self.go = asyncio.Event()
        self.go.set()
        clock = Clock(lambda: self.now, self.sleep, lambda: 0.5)
        self.manager = ProviderManager(self.core, policy, store, self.states, clock)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.states.changed.set()
        await self.go.wait()

    def wake(self) -> None:
        """Makes `until` check its condition again; may be called from any thread."""
        self.loop.call_soon_threadsafe(self.states.changed.set)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.states.changed.clear()
                await self.states.changed.wait()

    async def started(self, name: str = "a") -> Provider:
        provider = await self.manager.start(name)
        await self.until(lambda: provider.actual is ProviderState.RUNNING)
        return provider


def supervised(
    start_timeout: float = PATIENCE, stop_timeout: float = PATIENCE, restarts: int = 5
) -> RestartPolicy:
    """Returns a policy; its time-outs are such that only a hanging adapter reaches them."""
    return RestartPolicy(
        start_timeout=start_timeout,
        stop_timeout=stop_timeout,
        max_pause=8.0,
        restarts=restarts,
        window=600.0,
    )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Fake.script = Script()

    def adapter(name: str) -> type[Adapter]:
        return Fake

    monkeypatch.setattr(registry, "adapter", adapter)
    return script


@pytest.fixture
def policy() -> RestartPolicy:
    """Returns time-outs that only a hanging adapter reaches."""
    return supervised()


@pytest.fixture
async def world(script: Script, policy: RestartPolicy, database_url: str) -> AsyncGenerator[World]:
    database = await Database.open(database_url)
    store = ProviderStore(database)
    await store.load()
    world = World(store, policy)
    for name in ("a", "b"):
        await store.add(Stored(name=name, adapter="fake", origin="baseline"))
        world.manager.add(ProviderSpec(name=name, adapter="fake", settings=AdapterSettings()))
    world.manager.watch()
    world.states.start()
    yield world
    await world.manager.close()
    await world.states.close(PATIENCE)
    await database.close()
