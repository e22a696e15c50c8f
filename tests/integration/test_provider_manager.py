"""Providers: started, failing in every way, started again, stopped; asked for what instances want."""

import asyncio
import gc
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from meltica._core import Core
from meltica.adapters.base import Route
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.replay import sample
from meltica.errors import (
    Conflict,
    NotFound,
)
from meltica.runtime.backoff import RestartPolicy
from meltica.runtime.lifecycle import ProviderState
from tests.support.provider_world import BTC, ETH, PATIENCE, Fake, Script, World, supervised


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


async def test_the_account_of_a_provider_is_that_of_its_current_run(world: World, script: Script) -> None:
    seen: list[tuple[ProviderState, object]] = []
    world.manager.on_state = lambda provider: seen.append((provider.actual, provider.account))
    provider = await world.started()
    await world.manager.stop("a")
    await world.started()
    first, second = (run.account for run in script.runs)
    assert (ProviderState.RUNNING, first) in seen
    assert provider.account is second is not first
    assert provider.fee_rate == script.runs[1].fee_rate
    assert [account for state, account in seen if state is not ProviderState.RUNNING] == [None] * (
        len(seen) - 2
    )


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
    def _short(self, request: pytest.FixtureRequest) -> RestartPolicy:
        """Returns a short time-out for the stop, and for the start of adapters that hang in it."""
        hangs_at_start = request.function.__name__ == "test_start"
        return supervised(0.02 if hangs_at_start else PATIENCE, 0.02, restarts=1)

    async def test_start(self, world: World, script: Script) -> None:
        release = threading.Event()
        script.start = lambda fake: release.wait(PATIENCE)
        script.stop = lambda fake: (fake.stopping.set(), world.wake())
        provider = await world.manager.start("a")
        await world.until(lambda: provider.restarts == 3)
        assert provider.actual is ProviderState.STARTING
        assert provider.last_error in (
            "not started within 0.02 s",
            "not started: the last run was stopped and has not ended yet",
        )
        await world.manager.stop("a")
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
        await world.until(lambda: not provider.left_behind or world.wake())
        release.set()

    async def test_route(self, world: World, script: Script) -> None:
        release = threading.Event()
        provider = world.manager.get("a")

        def start(_: Fake) -> None:
            # The time-out of a start is that of a change of routes, too; this start has the long one.
            provider._policy = supervised(0.02)  # pyright: ignore[reportPrivateUsage]

        script.start, script.route = start, lambda fake: release.wait(PATIENCE)
        await world.manager.start("a")
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


async def test_routes_that_fail_are_asked_for_again(world: World, script: Script) -> None:
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


async def test_a_change_of_routes_that_a_stop_interrupts_is_not_an_error(
    world: World, script: Script
) -> None:
    unhandled: list[dict[str, Any]] = []
    world.loop.set_exception_handler(lambda _, context: unhandled.append(context))
    release = threading.Event()

    def route(fake: Fake) -> None:
        world.wake()
        release.wait(PATIENCE)
        world.wake()
        raise OSError("stopped")

    script.route = route
    await world.started()
    await world.until(lambda: script.routed)
    await world.manager.stop("a")
    release.set()
    await world.until(lambda: not any(t.name == "a-route" for t in threading.enumerate()) or world.wake())
    await asyncio.sleep(0)
    gc.collect()
    assert unhandled == []
