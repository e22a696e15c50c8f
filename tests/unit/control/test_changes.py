"""Changes: in time, late, failing, and with a client that disconnects."""

import asyncio
import logging

import pytest

from meltica.control import changes
from meltica.control.changes import ChangeRunner
from meltica.errors import ChangeInDoubt, Conflict


class Change:
    """A change that waits for `release`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.error = error

    async def run(self) -> None:
        try:
            await self.release.wait()
            if self.error is not None:
                raise self.error
        finally:
            self.ended.set()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PATIENCE", 0.01)


async def test_a_change_that_ends_in_time() -> None:
    change = Change()
    change.release.set()
    assert await ChangeRunner().run(change.run(), "change", lambda: False)


async def test_a_change_that_fails_in_time_raises() -> None:
    change = Change(Conflict("x runs"))
    change.release.set()
    with pytest.raises(Conflict, match="x runs"):
        await ChangeRunner().run(change.run(), "change", lambda: True)


async def test_a_late_change_continues() -> None:
    change, runner = Change(), ChangeRunner()
    assert not await runner.run(change.run(), "change", lambda: True)
    assert not change.ended.is_set()
    change.release.set()
    await asyncio.wait_for(change.ended.wait(), 10)


async def test_a_late_change_that_is_not_recorded_is_in_doubt_and_continues() -> None:
    change, runner = Change(), ChangeRunner()
    with pytest.raises(ChangeInDoubt, match=r"outcome unknown: .* if the database committed it"):
        await runner.run(change.run(), "change", lambda: False)
    change.release.set()
    await asyncio.wait_for(change.ended.wait(), 10)


async def test_a_late_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    change, runner = Change(Conflict("x runs")), ChangeRunner()
    assert not await runner.run(change.run(), "start of x", lambda: True)
    with caplog.at_level(logging.ERROR):
        change.release.set()
        async with asyncio.timeout(10):
            while not caplog.records:
                await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == ["start of x failed: x runs"]


async def test_a_client_that_disconnects_does_not_cancel_the_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changes, "PATIENCE", 30.0)
    change, runner = Change(), ChangeRunner()
    request = asyncio.ensure_future(runner.run(change.run(), "change", lambda: True))
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert not change.ended.is_set()
    change.release.set()
    await asyncio.wait_for(change.ended.wait(), 10)
