"""The log of an instance: what is kept, for how long, and who sees a traceback."""

import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from meltica.errors import StartError
from meltica.lambdas.log_ring import CHARACTERS, FRAMES, LINES, LogLine
from tests.support.instance_world import HEAD, PATIENCE, World, entered, open_world

RAISES = (
    HEAD
    + """
class Raises(meltica.Lambda):
    def on_start(self): self.log.warning("starts with %d", 1)
    def on_trade(self, trade):
        self.fall(30)
    def fall(self, depth):
        if depth:
            self.fall(depth - 1)
        else:
            ENTERED.set()
            raise LookupError("/etc/shadow")
"""
)


@pytest.fixture(name="world")
async def _world(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncGenerator[World]:
    caplog.set_level(logging.INFO)
    async with open_world(database_url, tmp_path) as world:
        await world.manager.begin()
        yield world
        await world.manager.close()


async def lines_of(world: World, enough: Callable[[list[LogLine]], bool]) -> list[LogLine]:
    """Returns the lines of the instance `x` when there are enough."""
    import asyncio

    async with asyncio.timeout(PATIENCE):
        while not enough(found := world.manager.logs.lines("x")):
            await asyncio.sleep(0.01)
    return found


async def test_the_life_the_lines_and_the_exceptions_of_an_instance_are_kept(world: World) -> None:
    instance = await world.add("x", RAISES)
    await world.manager.start("x")
    world.trade()
    entered(instance)
    found = await lines_of(world, lambda lines: bool(lines and lines[-1].traceback))
    assert [(line.level, line.message) for line in found if "revision" not in line.message] == [
        ("warning", "starts with 1"),
        ("info", "instance x is running"),
        ("error", "Trade raised LookupError"),
    ]
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    *frames, error = found[-1].traceback
    assert error == "LookupError: /etc/shadow"
    assert len(frames) == FRAMES
    assert set(frames) == {
        "x.py, line 10, in Raises.fall",
        "x.py, line 13, in Raises.fall",
    }
    await world.manager.stop("x")
    assert world.manager.logs.lines("x")[-1].message == "instance x stopped"
    await world.manager.remove("x", _allow)
    assert world.manager.logs.lines("x") == []


async def test_the_log_of_the_server_has_the_file_of_a_strategy_and_that_of_the_instance_only_its_name(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.add(
        "x", HEAD + "class Fails(meltica.Lambda):\n    def on_start(self): open(__file__ + 'x')\n"
    )
    with pytest.raises(StartError):
        await world.manager.start("x")
    folder = str(world.folder)
    [logged] = [record.getMessage() for record in caplog.records if "could not start" in record.getMessage()]
    assert logged.startswith(f"instance x of {folder}/x.py could not start: ")
    kept = world.manager.logs.lines("x")
    [line] = [line.message for line in kept if "could not start" in line.message]
    assert line.startswith("instance x of x.py could not start: ")
    assert folder not in str(kept)


async def test_the_lines_of_an_instance_are_bounded_and_those_of_others_are_not_kept(world: World) -> None:
    await world.add("x", RAISES)
    own = logging.getLogger("meltica.lambda.x")
    for number in range(LINES + 10):
        own.warning("%s %s", number, "y" * CHARACTERS, extra={"instance": "x"})
    found = world.manager.logs.lines("x")
    assert (len(found), found[0].number, found[-1].number) == (LINES, 11, LINES + 10)
    assert {len(line.message) for line in found} == {CHARACTERS}
    own.warning("another", extra={"instance": "other"})
    own.warning("of no instance")
    logging.getLogger("meltica.lambdas").warning("instance %s", 3)
    assert world.manager.logs.lines("x") == found
    assert world.manager.logs.lines("other") == []


async def test_a_line_that_cannot_be_formatted_is_kept_and_raises_nothing(world: World) -> None:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    await world.add("x", RAISES)
    logs = world.manager.logs
    logs.emit(logging.makeLogRecord({"msg": "%d", "args": ("text",), "instance": "x"}))
    logs.emit(logging.makeLogRecord({"exc_info": (Hostile, Hostile(), None), "instance": "x"}))
    first, second = logs.lines("x")
    assert "do not fit together" in first.message
    assert second.traceback == (Hostile.__name__,)


async def _allow(_: Any) -> None:
    pass
