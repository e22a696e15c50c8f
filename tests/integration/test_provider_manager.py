"""Providers: started, failing in every way, started again, stopped; asked for what instances want."""

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from meltica._core import Core, Producer
from meltica.adapters import registry
from meltica.adapters.base import Adapter, Route
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.codec import Codec
from meltica.adapters.replay import sample
from meltica.errors import ConfigError, Conflict, NotFound, Unauthenticated
from meltica.persistence.database import Database
from meltica.persistence.stores.providers import ProviderRecord as Stored
from meltica.persistence.stores.providers import ProviderStore
from meltica.providers.manager import Provider, ProviderManager
from meltica.providers.provider import Clock
from meltica.providers.spec import ProviderSpec
from meltica.runtime.backoff import RestartPolicy
from meltica.runtime.lifecycle import ProviderState
from meltica.runtime.state_writer import StateWriter
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
        self.script.runs.append(self)

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


def supervised(timeout: float, restarts: int) -> RestartPolicy:
    return RestartPolicy(
        start_timeout=timeout, stop_timeout=timeout, max_pause=8.0, restarts=restarts, window=600.0
    )


@pytest.fixture(name="script")
def _script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Fake.script = Script()

    def adapter(name: str) -> type[Adapter]:
        return Fake

    monkeypatch.setattr(registry, "adapter", adapter)
    return script


@pytest.fixture(name="policy")
def _policy() -> RestartPolicy:
    """Returns time-outs that only a hanging adapter reaches."""
    return supervised(PATIENCE, restarts=5)


@pytest.fixture(name="world")
async def _world(script: Script, policy: RestartPolicy, database_url: str) -> AsyncGenerator[World]:
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


async def test_a_provider_starts_and_stops(world: World, script: Script) -> None:
    provider = await world.started()
    assert provider.instruments == ({"symbol": "COIN1-USDT"},)
    assert world.store.get("a").desired == "running"
    with pytest.raises(Conflict, match="`a` is already running"):
        await world.manager.start("a")
    await world.manager.stop("a")
    assert (provider.actual, world.store.get("a").desired) == (ProviderState.STOPPED, "stopped")
    assert provider.instruments, "the instruments outlive a stop"
    with pytest.raises(Conflict, match="`a` is not running: its status is stopped"):
        await world.manager.stop("a")
    await world.started()
    assert len(script.runs) == 2
    assert await world.manager.close()
    assert provider.actual is ProviderState.STOPPED
    with pytest.raises(Conflict, match="the gateway is stopping"):
        await world.manager.start("a")
    assert world.store.get("a").desired == "running", "stopping the gateway keeps the desired state"
    with pytest.raises(NotFound, match="did you mean `a`"):
        world.manager.get("aa")


async def test_a_second_change_during_the_first_is_refused(world: World, script: Script) -> None:
    provider = await world.started()
    entered, release = threading.Event(), threading.Event()

    def stop(fake: Fake) -> None:
        entered.set()
        world.wake()
        release.wait(PATIENCE)
        fake.stopping.set()

    script.stop = stop
    stopping = asyncio.ensure_future(world.manager.stop("a"))
    await world.until(entered.is_set)
    for change in (world.manager.start, world.manager.stop):
        with pytest.raises(
            Conflict, match="provider `a` is running, and another change is in progress; retry"
        ):
            await change("a")
    release.set()
    await stopping
    assert provider.actual is ProviderState.STOPPED


async def test_states_are_persisted(world: World) -> None:
    await world.started()
    assert await world.states.close(PATIENCE)
    assert (world.store.get("a").actual, world.store.get("b").actual) == ("running", "pending")


async def test_a_failed_provider_is_restarted_after_growing_pauses(world: World, script: Script) -> None:
    def fail(fake: Fake) -> None:
        raise OSError("no route to the venue")

    script.start = fail
    provider = await world.manager.start("a")
    await world.until(lambda: provider.actual is ProviderState.FAILED)
    assert world.pauses == [1, 2, 4, 8, 8]
    assert provider.restarts == 5
    assert provider.last_error == "OSError: no route to the venue; given up after 5 restarts within 10m"
    script.start = lambda fake: None
    await world.started()
    assert provider.last_error is None
    assert len(script.runs) == 7


async def test_a_failed_provider_can_be_stopped_for_good(world: World, script: Script) -> None:
    def fail(fake: Fake) -> None:
        raise ConfigError("settings", ["`key` is missing"])

    script.start = fail
    provider = await world.manager.start("a")
    await world.until(lambda: provider.actual is ProviderState.FAILED)
    assert world.pauses == [], "a retry would fail the same way"
    assert provider.last_error == "settings: `key` is missing"
    await world.manager.stop("a")
    assert (provider.actual, world.store.get("a").desired) == (ProviderState.STOPPED, "stopped")


async def test_pauses_are_reset_after_a_long_run(world: World, script: Script) -> None:
    ended = threading.Event()

    def run(fake: Fake) -> None:
        assert ended.wait(PATIENCE)
        raise RuntimeError("the venue hung up")

    script.run, script.stop = run, lambda fake: ended.set()
    world.go.clear()
    provider = await world.started()
    for seconds, pause in ((1.0, 1), (1.0, 2), (9.0, 1)):
        await world.until(lambda: provider.actual is ProviderState.RUNNING)
        world.now += seconds
        ended.set()
        await world.until(lambda: provider.actual is ProviderState.STARTING)
        await world.until(lambda pause=pause: world.pauses and world.pauses[-1] == pause)
        assert provider.last_error == "RuntimeError: the venue hung up"
        ended.clear()
        world.go.set()
        world.go.clear()
    await world.until(lambda: provider.actual is ProviderState.RUNNING)


async def test_the_restart_budget_refills_with_time(world: World, script: Script) -> None:
    def fail(fake: Fake) -> None:
        world.now += 200
        raise OSError("down")

    def last(fake: Fake) -> None:
        if len(script.runs) > 20:
            raise ConfigError("end of the test", ["enough"])
        fail(fake)

    script.start = last
    provider = await world.manager.start("a")
    await world.until(lambda: provider.actual is ProviderState.FAILED)
    assert len(script.runs) == 21, "at most 4 restarts fall into any 10 minutes"


async def test_an_adapter_that_calls_exit_fails_only_its_provider(world: World, script: Script) -> None:
    def leave(fake: Fake) -> None:
        raise SystemExit(3)

    script.run = leave
    world.go.clear()
    provider = await world.manager.start("a")
    await world.until(lambda: world.pauses)
    assert provider.last_error == "RuntimeError: SystemExit: 3"


async def test_a_source_that_ends_is_not_restarted(world: World, script: Script) -> None:
    script.run = lambda fake: None
    provider = await world.manager.start("a")
    await world.until(lambda: provider.ended)
    await world.until(lambda: provider.actual is ProviderState.STOPPED)
    assert (provider.restarts, provider.last_error) == (0, None)
    assert not provider.busy
    await world.manager.start("a")
    assert not provider.ended


class TestHanging:
    """Adapters whose methods do not return in time."""

    @pytest.fixture(name="policy")
    def _short(self) -> RestartPolicy:
        return supervised(0.02, restarts=1)

    async def test_start(self, world: World, script: Script) -> None:
        release = threading.Event()
        script.start = lambda fake: release.wait(PATIENCE)
        script.stop = lambda fake: (fake.stopping.set(), world.wake())
        provider = await world.manager.start("a")
        await world.until(lambda: provider.actual is ProviderState.FAILED)
        text = "not started within 0.02 s; given up after 1 restarts within 10m"
        assert provider.last_error == text
        for fake in script.runs:
            fake.stopping.clear()
        release.set()
        await world.until(lambda: all(fake.stopping.is_set() for fake in script.runs))

    async def test_start_can_be_stopped(self, world: World, script: Script) -> None:
        script.start = lambda fake: fake.stopping.wait(PATIENCE)
        provider = await world.manager.start("a")
        await world.manager.stop("a")
        assert provider.actual is ProviderState.STOPPED

    async def test_run(self, world: World, script: Script, caplog: pytest.LogCaptureFixture) -> None:
        release = threading.Event()
        script.run = lambda fake: release.wait(PATIENCE)
        provider = await world.manager.start("a")
        await world.until(lambda: provider.actual is ProviderState.RUNNING)
        await world.manager.stop("a")
        assert provider.actual is ProviderState.STOPPED
        assert "provider a did not stop within 0.02 s; its threads keep running" in caplog.text
        assert provider.left_behind
        # Two runs of one adapter would publish every event twice.
        world.go.clear()
        await world.manager.start("a")
        await world.until(lambda: world.pauses)
        assert provider.last_error == "not started: the last run was stopped and has not ended yet"
        assert len(script.runs) == 1
        release.set()
        await world.until(lambda: not provider.left_behind or world.wake())
        world.go.set()
        await world.until(lambda: provider.actual is ProviderState.RUNNING)

    async def test_run_when_the_gateway_stops(self, world: World, script: Script) -> None:
        release = threading.Event()
        script.run = lambda fake: release.wait(PATIENCE)
        provider = await world.manager.start("a")
        await world.until(lambda: provider.actual is ProviderState.RUNNING)
        assert not await world.manager.close(), "the run has not ended"
        release.set()

    async def test_stop(self, world: World, script: Script) -> None:
        release = threading.Event()
        script.stop = lambda fake: (fake.stopping.set(), release.wait(PATIENCE))
        provider = await world.manager.start("a")
        await world.until(lambda: provider.actual is ProviderState.RUNNING)
        await world.manager.stop("a")
        assert provider.actual is ProviderState.STOPPED
        assert not provider.left_behind, "its run has ended"
        release.set()

    async def test_route(self, world: World, script: Script) -> None:
        release = threading.Event()
        script.route = lambda fake: release.wait(PATIENCE)
        provider = await world.manager.start("a")
        await world.until(lambda: provider.route_error or world.wake())
        assert provider.route_error == "change of routes not completed within 0.02 s"
        assert provider.actual is ProviderState.RUNNING
        provider.reroute(frozenset({BTC}))
        release.set()
        await world.until(lambda: len(script.routed) == 2 or world.wake())
        assert script.routed == [([], []), ([BTC], [])], "one call at a time"
        await world.until(lambda: provider.route_error is None or world.wake())
        await world.manager.stop("a")


def subscribe(core: Core, *routes: Route) -> Callable[[], object]:
    host = core.host("thread")
    wanted: list[Any] = [("a", *route) for route in routes]
    instance = host.add("x", callbacks={"Trade": lambda trade: None}, routes=wanted)
    instance.start()
    return host.stop


async def test_routes_follow_the_instances(world: World, script: Script) -> None:
    script.route = lambda fake: world.wake()
    unsubscribe = subscribe(world.core, BTC)
    provider = await world.started()
    await world.until(lambda: len(script.routed) == 1)
    more = subscribe(world.core, BTC, ETH)
    await world.until(lambda: len(script.routed) == 2)
    more()
    await world.until(lambda: len(script.routed) == 3)
    assert script.routed == [([BTC], []), ([ETH], []), ([], [ETH])]
    await world.manager.stop("a")
    await world.started()
    await world.until(lambda: len(script.routed) == 4)
    assert script.routed[3] == ([BTC], []), "a new run gets all routes"
    unsubscribe()
    await world.until(lambda: len(script.routed) == 5)
    assert provider.routes == frozenset()


async def test_a_rejected_key_is_not_retried(world: World, script: Script) -> None:
    def start(fake: Fake) -> None:
        raise Unauthenticated("bad_signature", "expected another")

    script.start = start
    provider = await world.manager.start("a")
    await world.until(lambda: provider.actual is ProviderState.FAILED)
    assert (provider.last_error, provider.restarts) == ("bad_signature: expected another", 0)
    assert len(script.runs) == 1


async def test_failed_routes_are_retried(world: World, script: Script) -> None:
    broken = True

    def route(fake: Fake) -> None:
        world.wake()
        if broken:
            raise OSError("too many streams")

    script.route = route
    world.go.clear()
    provider = await world.started()
    await world.until(lambda: provider.route_error)
    assert provider.route_error == "OSError: too many streams"
    assert provider.actual is ProviderState.RUNNING, "existing subscriptions continue"
    provider.reroute(frozenset({BTC}))
    await world.until(lambda: len(world.pauses) == 2)
    broken = False
    provider.reroute(frozenset({ETH}))
    await world.until(lambda: (provider.route_error is None and len(script.routed) == 3) or world.wake())
    assert world.pauses == [0.5, 1.0]
    # The venue may have accepted the subscription that failed.
    assert script.routed == [([], []), ([BTC], []), ([ETH], [BTC])]


async def test_books_are_stale_while_their_provider_is_down(
    world: World, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fake, "declaration", BINANCE)
    stale = threading.Event()
    host = world.core.host("thread")
    callbacks: dict[str, Callable[[Any], object]] = {"BookSnapshot": lambda book: world.wake()}
    callbacks["MarketStale"] = lambda notice: stale.set()
    instance = host.add("x", callbacks=callbacks, routes=[("a", "BookSnapshot", None)], keep_book=True)
    instance.start()
    await world.started()
    for line in itertools.islice(sample.lines(), 40):
        script.runs[0].producers["a"].feed(line.partition(b" ")[2])
    await world.until(lambda: instance.book("BTC-USDT", "a") is not None or world.wake())
    await world.manager.stop("a")
    assert stale.wait(PATIENCE)
    assert instance.book("BTC-USDT", "a") is None
    assert host.stop()
