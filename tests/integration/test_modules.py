"""Strategy modules in the database: revisions, tags, selectors, and classes loaded from stored bytes."""

import asyncio
import traceback
from collections.abc import AsyncGenerator

import psycopg
import pytest

from meltica.errors import AlreadyExists, Conflict, NotFound
from meltica.lambdas.modules.catalogue import ModuleCatalogue, ModuleRefused, Upload
from meltica.lambdas.modules.names import parse
from meltica.persistence.database import Database
from meltica.persistence.stores.audit import Act, AuditLog, acting_as
from meltica.persistence.stores.instances import InstanceRecord, InstanceStore
from meltica.persistence.stores.modules import ModuleStore


def source(version: str | None, body: str = "pass", name: str = "Grid") -> bytes:
    own = "" if version is None else f'    version = "{version}"\n'
    text = f"import meltica\nclass {name}(meltica.Lambda):\n{own}"
    text += f"    def on_trade(self, trade):\n        {body}\n"
    return text.encode()


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url) as database:
        yield database


@pytest.fixture(name="modules")
def _modules(database: Database) -> ModuleCatalogue:
    return ModuleCatalogue(ModuleStore(database))


async def selected(modules: ModuleCatalogue, *selectors: str) -> list[bytes]:
    return [(await modules.resolve(selector)).source for selector in selectors]


async def test_selectors_and_latest(modules: ModuleCatalogue) -> None:
    one, two, three = source("1"), source("2"), source("3")
    first = (await modules.upload(Upload(one)))[1]
    await modules.upload(Upload(two, aliases=[" Stable ", "1"]))
    await modules.upload(Upload(three, promote=False))
    assert await selected(
        modules, "grid", "GRID:2", "grid:Stable", "grid:1", "grid:3", f"grid@{first.hash}"
    ) == [*(two, two, two, one, three, one)]
    assert await selected(modules, first.hash, first.hash.removeprefix("sha256:")) == [one, one]
    pin = await modules.resolve(first.hash)
    assert (pin.selector, pin.tag) == (f"grid@{first.hash}", None)
    assert (await modules.resolve("GRID")).selector == "grid:latest"
    assert await modules.set_tag("grid", "latest", first.hash) != first.hash
    assert await selected(modules, "grid", "grid:latest", "grid:stable") == [one, one, two]
    # A deleted revision takes its tags along, and `latest` moves to the newest that remains.
    await modules.delete(parse("grid:1"))
    assert await selected(modules, "grid") == [three]
    with pytest.raises(NotFound, match="tag `1` of module `grid` does not exist"):
        await modules.resolve("grid:1")
    await modules.delete(parse("grid"))
    assert await modules.modules() == []


async def test_the_same_bytes_again_succeed_and_other_bytes_need_another_tag(
    modules: ModuleCatalogue,
) -> None:
    _, first, _ = await modules.upload(Upload(source("1")))
    _, again, _ = await modules.upload(Upload(source("1")))
    assert again == first
    with pytest.raises(AlreadyExists, match="the tag `1` of `grid` already exists"):
        await modules.upload(Upload(source("1", "return 2")))
    module, other, _ = await modules.upload(Upload(source("1", "return 2"), tag="fix"))
    assert [row.hash for row in module.revisions] == [first.hash, other.hash]
    with pytest.raises(ValueError, match="metadata version required"):
        await modules.upload(Upload(source(None)))
    await modules.upload(Upload(source(None), tag="v9"))
    with pytest.raises(ValueError, match="not valid"):
        await modules.upload(Upload(source(None), tag="a/b"))
    with pytest.raises(ModuleRefused, match="the class has the name `grid`, the request `other`"):
        await modules.upload(Upload(source("4"), name="other"))


@pytest.mark.parametrize("text", ["", "a b", "grid:", "grid@abc", "grid:a/b", "../x", "grid@" + "g" * 64])
def test_a_selector_without_a_valid_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        parse(text)


async def test_tags_are_moved_and_deleted(modules: ModuleCatalogue) -> None:
    _, first, _ = await modules.upload(Upload(source("1")))
    _, second, _ = await modules.upload(Upload(source("2")))
    assert await modules.set_tag("grid", "prod", first.hash) is None
    assert await modules.set_tag("grid", "PROD", second.hash) == first.hash
    assert await modules.delete_tag("grid", "prod", allow_orphan=False) == second.hash
    with pytest.raises(Conflict, match="the last tag"):
        await modules.delete_tag("grid", "1", allow_orphan=False)
    assert await modules.delete_tag("grid", "1", allow_orphan=True) == first.hash
    with pytest.raises(Conflict, match="latest"):
        await modules.delete_tag("grid", "Latest", allow_orphan=True)
    with pytest.raises(NotFound):
        await modules.delete_tag("grid", "1", allow_orphan=True)
    with pytest.raises(NotFound, match="no revision"):
        await modules.set_tag("grid", "prod", "sha256:" + "0" * 64)
    # A revision without tags is still selected by its hash.
    assert await selected(modules, first.hash) == [source("1")]


def grid(hash: str, selector: str = "grid:latest") -> InstanceRecord:
    return InstanceRecord(id="g", strategy="grid", selector=selector, revision=hash, scope={"p": "*"})


async def test_what_an_instance_is_pinned_to_is_not_deleted(
    modules: ModuleCatalogue, database: Database
) -> None:
    _, row, _ = await modules.upload(Upload(source("1")))
    instances = InstanceStore(database)
    await instances.load()
    await instances.add(grid(row.hash))
    for selector in ("grid", "grid:1", row.hash):
        with pytest.raises(Conflict, match="in use by `g`"):
            await modules.delete(parse(selector))
    assert [use.id for use in await modules.uses([row.hash])] == ["g"]
    await instances.delete("g")
    # A file with the same content is not a stored module.
    await instances.add(grid(row.hash, "/home/me/grid.py:Grid"))
    await modules.delete(parse("grid"))


async def test_a_deletion_and_a_creation_at_once(modules: ModuleCatalogue, database: Database) -> None:
    """Either the instance is created and its revision stays, or neither exists."""
    instances = InstanceStore(database)
    await instances.load()
    for _ in range(10):
        _, row, _ = await modules.upload(Upload(source("1")))
        made, deleted = await asyncio.gather(
            instances.add(grid(row.hash)), modules.delete(parse("grid")), return_exceptions=True
        )
        assert isinstance(made, NotFound) != isinstance(deleted, Conflict)
        if "g" in instances:
            await instances.delete("g")
            await modules.delete(parse("grid"))


async def test_the_name_of_a_shipped_strategy_is_refused(modules: ModuleCatalogue) -> None:
    with pytest.raises(ModuleRefused, match="the name `largetrades` is that of a shipped strategy"):
        await modules.upload(Upload(source("1", name="LargeTrades")))
    assert await modules.modules() == []


async def test_a_class_is_loaded_from_the_stored_bytes(modules: ModuleCatalogue) -> None:
    await modules.upload(Upload(source("1", "return 1 / 0")))
    revision = await modules.resolve("grid")
    cls = revision.load()
    assert revision.load() is cls
    with pytest.raises(ZeroDivisionError) as caught:
        cls.on_trade(None, None)  # pyright: ignore[reportArgumentType]
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.lineno, frame.line) == (5, "return 1 / 0")
    assert frame.filename == f"grid@{revision.hash[:19]}"


async def test_changes_are_audited(modules: ModuleCatalogue, database: Database) -> None:
    with acting_as(Act("ann")):
        _, row, _ = await modules.upload(Upload(source("1")))
        await modules.set_tag("grid", "prod", row.hash)
        await modules.delete_tag("grid", "prod", allow_orphan=False)
        await modules.delete(parse("grid"))
        with pytest.raises(NotFound):
            await modules.delete(parse("grid"))
    rows = await AuditLog(database).latest(10)
    actions = ["module.delete", "module.untag", "module.tag", "module.upload"]
    assert [row.action for row in rows] == actions
    assert {row.actor for row in rows} == {"ann"}


async def test_the_database_refuses_bytes_under_a_wrong_hash(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute(
                "insert into module_revisions (hash, name, source, metadata)"
                " values ('sha256:x', 'grid', 'a', '{}')"
            )


async def test_a_refused_module_is_not_stored(modules: ModuleCatalogue) -> None:
    with pytest.raises(ModuleRefused) as caught:
        await modules.upload(Upload(b"x = ("))
    assert [fault.stage for fault in caught.value.faults] == ["compile"]
    assert await modules.modules() == []
