"""Restarts of providers: what is retried for ever, and what spends the budget."""

import threading

import pytest

from meltica.errors import (
    CodecError,
    ConfigError,
    RateLimited,
    Unauthenticated,
    VenueUnavailable,
)
from meltica.runtime.lifecycle import ProviderState
from tests.support.provider_world import PATIENCE, Fake, Script, World


@pytest.mark.parametrize(
    "failure",
    [
        OSError("no route to the venue"),
        VenueUnavailable("unavailable", "the venue is under maintenance"),
        RateLimited("rate_limited", "too many connections", 1.0),
        TimeoutError("no answer"),
        RuntimeError("a fault of the adapter"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_an_unavailable_venue_is_retried_for_ever(
    world: World, script: Script, failure: Exception
) -> None:
    def fail(fake: Fake) -> None:
        if len(script.runs) <= 40:
            raise failure

    script.start = fail
    provider = await world.started()
    assert world.pauses == [1, 2, 4, *[8] * 37]
    assert (provider.restarts, provider.last_error) == (40, None)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (ConfigError("settings", ["`key` is missing"]), "settings: `key` is missing"),
        (CodecError("`e` is not declared"), "`e` is not declared"),
        (Unauthenticated("bad_signature", "expected another"), "bad_signature: expected another"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_fault_that_needs_a_correction_spends_the_budget(
    world: World, script: Script, fault: Exception, text: str
) -> None:
    def fail(fake: Fake) -> None:
        raise fault

    script.start = fail
    provider = await world.manager.start("a")
    await world.until(lambda: provider.actual is ProviderState.FAILED)
    assert world.pauses == [1, 2, 4, 8, 8]
    limit = "not restarted again after 5 failed restarts within 10m; correct the settings"
    assert provider.last_error == f"{text}; {limit}"
    script.start = lambda fake: None
    await world.started()
    assert provider.last_error is None


async def test_a_failed_provider_can_be_stopped_for_good(world: World, script: Script) -> None:
    def fail(fake: Fake) -> None:
        raise ConfigError("settings", ["`key` is missing"])

    script.start = fail
    provider = await world.manager.start("a")
    await world.until(lambda: provider.actual is ProviderState.FAILED)
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
        if len(script.runs) <= 20:
            raise ConfigError("settings", ["`key` is missing"])

    script.start = fail
    provider = await world.started()
    assert provider.restarts == 20, "at most 4 restarts fall into any 10 minutes"
