"""Instances of stored modules: what a refresh moves, and what runs on when a new revision does not start."""

import hashlib
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meltica.errors import Conflict, NotFound
from meltica.lambdas.managed import ManagedInstance
from meltica.lambdas.modules.catalogue import ModuleCatalogue
from meltica.lambdas.modules.directory import ModuleDirectory
from meltica.lambdas.modules.names import parse
from meltica.lambdas.modules.pins import pinned
from meltica.lambdas.modules.refresh import StrategyRefresh
from meltica.lambdas.spec import LambdaSpec
from meltica.persistence.database import Database
from meltica.persistence.stores.audit import Act, AuditLog, acting_as
from meltica.persistence.stores.instances import InstanceRecord
from meltica.persistence.stores.modules import ModuleStore, NewRevision
from meltica.runtime.lifecycle import InstanceState
from tests.support.instance_world import HEAD, World, entered, open_world
from tests.support.recorded_trading import CALLS, RecordedTrading

TRADES = """
from tests.support.recorded_trading import CALLS

class Grid(meltica.Lambda):
    def on_load(self, state): CALLS.append(f"on_load {state}")
    def on_trade(self, trade): ENTERED.set()
    def on_order_cancelled(self, order): pass
    def on_stop(self): CALLS.append("on_stop")
    def on_save(self): return {"count": 1}
"""


def grid(version: str, body: str = "") -> str:
    """Returns a source of the module `grid`."""
    return (
        f'{HEAD}class Grid(meltica.Lambda):\n    version = "{version}"\n'
        f"    def on_trade(self, trade): ENTERED.set()\n    {body}\n"
    )


class Modules:
    """Stored modules, instances of them, and their refresh."""

    def __init__(self, world: World, database: Database) -> None:
        self.world = world
        self.store = ModuleStore(database)
        self.catalogue = ModuleCatalogue(self.store)
        self.refresh = StrategyRefresh(world.manager, self.catalogue)

    async def upload(self, source: str, tag: str) -> str:
        """Stores a revision of `grid` without its check, and moves `latest` to it; returns its hash."""
        content = source.encode()
        hash = f"sha256:{hashlib.sha256(content).hexdigest()}"
        await self.store.add(
            NewRevision(hash=hash, name="grid", version=None, source=content, metadata={}, tag=tag)
        )
        return hash

    async def create(
        self, id: str, selector: str, *, start: bool = True, host: Any = "thread"
    ) -> ManagedInstance:
        """Creates an instance of a module."""
        revision = await self.catalogue.resolve(selector)
        record = InstanceRecord(
            id=id,
            strategy=revision.name,
            selector=revision.selector,
            tag=revision.tag,
            revision=revision.hash,
            scope={"p": ["BTC-USDT"]},
        )
        spec = LambdaSpec(id=id, strategy=revision.selector, scope={"p": ("BTC-USDT",)}, host=host)
        instance = await self.world.manager.create(await pinned(spec, record, self.catalogue), record)
        if start:
            await self.world.manager.start(id)
        return instance

    def pin(self, id: str) -> str | None:
        """Returns the stored pin of an instance."""
        return self.world.store.get(id).revision


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url) as database:
        yield database


@pytest.fixture(name="modules")
async def _modules(database_url: str, database: Database, tmp_path: Path) -> AsyncGenerator[Modules]:
    async with open_world(database_url, tmp_path) as world:
        yield Modules(world, database)


def version(instance: ManagedInstance) -> object:
    return getattr(instance.strategy, "version", None)


async def test_a_refresh_moves_those_that_a_tag_selects(modules: Modules) -> None:
    first = await modules.upload(grid("1"), "1")
    latest, tagged = await modules.create("a", "grid"), await modules.create("b", "grid:1")
    hashed, idle = await modules.create("c", first), await modules.create("d", "grid", start=False)
    second = await modules.upload(grid("2"), "2")
    # Neither an upload nor a restart moves a pin.
    await modules.world.manager.stop("a")
    await modules.world.manager.start("a")
    assert [version(each) for each in (latest, tagged, hashed)] == ["1", "1", "1"]
    results = [
        (r.selector, r.hash, r.previous_hash, r.instances, r.reason) for r in await modules.refresh.all()
    ]
    assert results == [
        ("grid:1", first, None, ("b",), "alreadyPinned"),
        ("grid:latest", second, first, ("a", "d"), "refreshed"),
        (f"grid@{first}", first, None, ("c",), "alreadyPinned"),
    ]
    assert [version(each) for each in (latest, tagged, hashed)] == ["2", "1", "1"]
    assert (latest.actual, idle.actual) == (InstanceState.RUNNING, InstanceState.PENDING)
    await modules.world.store.load()
    assert [modules.pin(id) for id in "abcd"] == [second, first, first, second]
    with pytest.raises(Conflict, match="in use by `a`"):
        await modules.catalogue.delete(parse(second))
    assert [r.reason for r in await modules.refresh.all()] == ["alreadyPinned"] * 3


@pytest.mark.parametrize("host", ["thread", "shared"])
@pytest.mark.parametrize("cause", ["def on_start(self): raise OSError('no disk')", "__init__ = None"])
async def test_the_earlier_revision_runs_on_if_the_new_one_does_not_start(
    modules: Modules, cause: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    writer = modules.world.state_writer
    put = writer.put

    def note(kind: str, name: str, write: Callable[[], Awaitable[object]]) -> None:
        written.append(kind)
        put(kind, name, write)

    monkeypatch.setattr(writer, "put", note)
    first = await modules.upload(grid("1"), "1")
    instance = await modules.create("a", "grid", host=host)
    second = await modules.upload(grid("2", cause), "2")
    [result] = await modules.refresh.all()
    assert (result.reason, result.hash, result.previous_hash) == ("failed", second, first)
    assert "could not start" in str(result.error)
    assert str(result.error).endswith("; the earlier declaration runs on")
    assert (version(instance), instance.actual, instance.last_error) == ("1", InstanceState.RUNNING, None)
    assert modules.pin("a") == first
    modules.world.trade()
    entered(instance)
    # A revision that starts is not prevented by the one that did not.
    third = await modules.upload(grid("3"), "3")
    assert [r.reason for r in await modules.refresh.all()] == ["refreshed"]
    assert (version(instance), modules.pin("a")) == ("3", third)
    # A pin that is written in the background could undo a later refresh.
    assert "revision" not in written


async def test_neither_revision_starts(modules: Modules) -> None:
    first = await modules.upload(grid("1", "def on_start(self): assert not ENTERED.is_set(), 'one'"), "1")
    instance = await modules.create("a", "grid")
    modules.world.trade()
    entered(instance)
    await modules.upload(grid("2", "def on_start(self): raise OSError('two')"), "2")
    [result] = await modules.refresh.all()
    assert (result.reason, instance.actual, modules.pin("a")) == ("failed", InstanceState.FAILED, first)
    assert re.search("two.*nor did the earlier declaration start.*one", str(result.error))
    # The failed instance runs again once a revision starts.
    await modules.upload(grid("3"), "3")
    assert [r.reason for r in await modules.refresh.all()] == ["refreshed"]
    await modules.world.manager.start("a")
    assert version(instance) == "3"


async def test_a_revision_whose_start_hangs(modules: Modules) -> None:
    modules.world.manager = modules.world.new_manager(start_timeout=timedelta(seconds=0.5))
    modules.refresh = StrategyRefresh(modules.world.manager, modules.catalogue)
    first = await modules.upload(grid("1"), "1")
    instance = await modules.create("a", "grid")
    await modules.upload(grid("2", "def on_start(self): GATE.wait(20)"), "2")
    [result] = await modules.refresh.all()
    assert (result.reason, version(instance), modules.pin("a")) == ("failed", "1", first)
    assert "loading and on_start exceeded 0.5 s" in str(result.error)
    modules.world.trade()
    entered(instance)
    hanging = (await modules.catalogue.resolve("grid")).load()
    sys.modules[hanging.__module__].GATE.set()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("class Config(meltica.LambdaConfig):\n        step: int", "step"),
        ("on_trade = None; policies = {'Trade': 'x'}", "policies"),
        ("raise OSError('no disk')", "no disk"),
    ],
)
async def test_nothing_is_stopped_for_a_revision_that_cannot_be_built(
    modules: Modules, body: str, error: str
) -> None:
    first = await modules.upload(grid("1"), "1")
    instance = await modules.create("a", "grid")
    run = instance.run
    await modules.upload(grid("2", body), "2")
    [result] = await modules.refresh.all()
    assert (result.reason, instance.run, modules.pin("a")) == ("failed", run, first)
    assert error in str(result.error)


async def test_a_refresh_of_some(modules: Modules) -> None:
    first = await modules.upload(grid("1"), "1")
    await modules.create("a", "grid", start=False)
    second = await modules.upload(grid("2"), "2")
    assert [
        (r.selector, r.strategy, r.hash, r.reason) for r in await modules.refresh.some(["Other"], [second])
    ] == [
        ("other", "other", None, "retired"),
        (second, None, second, "retired"),
    ]
    assert [r.reason for r in await modules.refresh.tag("grid", "1")] == []
    assert modules.pin("a") == first
    assert [r.reason for r in await modules.refresh.some([], [first])] == ["refreshed"]
    await modules.upload(grid("3"), "3")
    assert [r.reason for r in await modules.refresh.tag("Grid", "LATEST")] == ["refreshed"]
    await modules.upload(grid("4"), "4")
    assert [r.reason for r in await modules.refresh.some(["GRID"], [])] == ["refreshed"]


async def test_a_tag_that_was_deleted(modules: Modules) -> None:
    await modules.upload(grid("1"), "1")
    first = await modules.upload(grid("2"), "old")
    instance = await modules.create("a", "grid:old")
    await modules.catalogue.delete_tag("grid", "old", allow_orphan=True)
    [result] = await modules.refresh.all()
    assert (result.reason, modules.pin("a"), instance.actual) == ("failed", first, InstanceState.RUNNING)
    assert "tag `old` of module `grid` does not exist" in str(result.error)


async def test_a_refresh_hands_the_state_over(modules: Modules) -> None:
    trading = RecordedTrading()
    modules.world.manager = modules.world.new_manager(trading=trading)
    modules.refresh = StrategyRefresh(modules.world.manager, modules.catalogue)
    await modules.upload(HEAD + TRADES, "1")
    await modules.create("a", "grid")
    trading.stored = b'{"count":1}'
    second = await modules.upload(HEAD + TRADES + "    version = '2'\n", "2")
    before = len(CALLS)
    assert [r.reason for r in await modules.refresh.all()] == ["refreshed"]
    ends = ["stop_orders", "on_stop", "save", "close", "open", "ready", "checkpoint", "on_load {'count': 1}"]
    assert CALLS[before : before + len(ends)] == ends
    # The trading of a run that did not start has ended before the earlier revision trades again.
    await modules.upload(HEAD + TRADES + "    def on_start(self): raise OSError('x')\n", "3")
    before = len(CALLS)
    assert [r.reason for r in await modules.refresh.all()] == ["failed"]
    failed = ["open", "ready", "checkpoint", "on_load {'count': 1}", "stop_orders", "close"]
    assert CALLS[before + 4 : before + 14] == [*failed, *failed[:4]]
    assert (trading.failed, modules.pin("a")) == ([False, False, True], second)


async def test_both_moves_of_a_pin_are_audited(modules: Modules, database: Database) -> None:
    first = await modules.upload(grid("1"), "1")
    await modules.create("a", "grid")
    second = await modules.upload(grid("2", "def on_start(self): raise OSError"), "2")
    with acting_as(Act("ann")):
        await modules.refresh.all()
    back, moved = await AuditLog(database).latest(2)
    assert {(row.actor, row.action, row.subject) for row in (back, moved)} == {
        ("ann", "instance.update", "a")
    }
    assert (moved.before, moved.after) == ({"revision": first}, {"revision": second})
    assert (back.before, back.after) == ({"revision": second}, {"revision": first})


async def test_a_module_that_is_not_stored_yet(modules: Modules) -> None:
    """As an entry of the config file may name one."""
    record = InstanceRecord(id="a", strategy="grid", selector="grid:latest", scope={"p": ["BTC-USDT"]})
    spec = LambdaSpec(id="a", strategy="grid:latest", scope={"p": ("BTC-USDT",)})
    instance = await modules.world.manager.create(await pinned(spec, record, modules.catalogue), record)
    with pytest.raises(Exception, match="upload it, then refresh the strategies"):
        await modules.world.manager.start("a")
    assert [r.reason for r in await modules.refresh.all()] == ["failed"]
    first = await modules.upload(grid("1"), "1")
    assert [r.reason for r in await modules.refresh.all()] == ["refreshed"]
    await modules.world.manager.start("a")
    assert (version(instance), modules.pin("a")) == ("1", first)


async def test_the_folder_of_strategies(modules: Modules, tmp_path: Path) -> None:
    folder = tmp_path / "strategies"
    directory = ModuleDirectory(folder, modules.catalogue)
    refresh = StrategyRefresh(modules.world.manager, modules.catalogue, directory)
    assert await directory.read() == {"strategies": "the folder cannot be read: No such file or directory"}
    folder.mkdir()
    (folder / "helpers.py").write_text("raise OSError\n")
    (folder / "_grid.py").write_text(grid("0"))
    (folder / "grid.py").write_text(grid("1"))
    (folder / "broken.py").write_text("class X(Lambda\n")
    results = [(r.selector, r.reason) for r in await refresh.all()]
    assert results == [("broken.py", "failed")]
    first = await modules.catalogue.resolve("grid:1")
    assert first.source == grid("1").encode()
    (folder / "broken.py").unlink()
    instance = await modules.create("a", "grid")
    (folder / "grid.py").write_text(grid("1", "x = 1"))
    assert "already exists" in (await directory.read())["grid.py"]
    (folder / "grid.py").write_text(grid("2"))
    assert [r.reason for r in await refresh.all()] == ["refreshed"]
    assert version(instance) == "2"
    # A deleted file never deletes a revision.
    (folder / "grid.py").unlink()
    assert [r.reason for r in await refresh.all()] == ["alreadyPinned"]
    assert (await modules.catalogue.resolve("grid:1")).hash == first.hash


async def test_an_instance_is_not_created_with_a_deleted_revision(modules: Modules) -> None:
    await modules.upload(grid("1"), "1")
    revision = await modules.catalogue.resolve("grid")
    await modules.catalogue.delete(parse("grid"))
    record = InstanceRecord(
        id="a", strategy="grid", selector="grid:latest", revision=revision.hash, scope={"p": ["BTC-USDT"]}
    )
    spec = LambdaSpec(id="a", strategy="grid:latest", scope={"p": ("BTC-USDT",)}, module=revision)
    with pytest.raises(NotFound, match=f"revision {revision.hash} does not exist"):
        await modules.world.manager.create(spec, record)
    assert "a" not in modules.world.manager
