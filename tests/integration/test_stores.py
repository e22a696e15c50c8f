"""The stores: writes reach the database, and the cache never holds what the database does not."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import psycopg
import pytest

from meltica.errors import AlreadyExists, DatabaseError, DatabaseUnavailable, NotFound
from meltica.persistence.database import Database
from meltica.persistence.stores import store
from meltica.persistence.stores.instances import InstanceRecord, InstanceStore
from meltica.persistence.stores.providers import ProviderRecord, ProviderStore
from meltica.runtime.lifecycle import Desired, InstanceState, ProviderState

BINANCE = ProviderRecord(name="binance-main", adapter="binance", settings={"depth": 25, "url": "wss://x"})
MAKER = InstanceRecord(
    id="maker-1",
    strategy="maker",
    selector="maker",
    revision="sha256:" + "a" * 64,
    config={"width": "0.10", "levels": [1, 2]},
    scope={"binance-main": ["BTC-USDT", "ETH-USDT"], "replay": "*"},
    host="shared",
    on_stop="keep",
    origin="baseline",
)


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url) as database:
        yield database


@pytest.fixture(name="providers")
async def _providers(database: Database) -> ProviderStore:
    providers = ProviderStore(database)
    await providers.load()
    return providers


@pytest.fixture(name="instances")
async def _instances(database: Database) -> InstanceStore:
    instances = InstanceStore(database)
    await instances.load()
    return instances


async def reloaded(store: ProviderStore | InstanceStore, database: Database) -> bool:
    """Returns whether a newly loaded store has the same rows."""
    other = type(store)(database)
    await other.load()
    return other.list() == store.list()


async def test_the_life_cycle_of_a_provider(providers: ProviderStore, database: Database) -> None:
    added = await providers.add(BINANCE, Desired.RUNNING)
    assert (added.desired, added.actual, added.last_error) == ("running", "pending", None)
    assert added.settings == BINANCE.settings
    assert added.created_at.microsecond != 0 or added.created_at == added.updated_at
    failed = await providers.set_actual(BINANCE.name, ProviderState.FAILED, "no route to host")
    assert (failed.actual, failed.last_error) == ("failed", "no route to host")
    assert failed.updated_at == added.updated_at
    # The last error stays until it is cleared.
    assert (await providers.set_actual(BINANCE.name, ProviderState.RUNNING)).last_error == "no route to host"
    assert (await providers.set_actual(BINANCE.name, ProviderState.RUNNING, "")).last_error is None
    stopped = await providers.set_desired(BINANCE.name, Desired.STOPPED)
    assert (stopped.desired, stopped.actual) == ("stopped", "running")
    assert stopped.updated_at > added.updated_at
    changed = await providers.update(msgspec.structs.replace(BINANCE, adapter="fake", settings={}))
    assert (changed.adapter, changed.settings, changed.desired, changed.actual) == (
        "fake",
        {},
        "stopped",
        "running",
    )
    assert providers.get(BINANCE.name) == changed
    assert await reloaded(providers, database)
    await providers.delete(BINANCE.name)
    assert (BINANCE.name in providers, len(providers), providers.find(BINANCE.name)) == (False, 0, None)
    assert await reloaded(providers, database)


async def test_an_instance_keeps_its_pinned_revision(instances: InstanceStore, database: Database) -> None:
    await instances.add(MAKER, Desired.RUNNING)
    await instances.set_actual(MAKER.id, InstanceState.STUCK, "on_trade does not return")
    other = InstanceStore(database)
    await other.load()
    row = other.get(MAKER.id)
    for name in MAKER.__struct_fields__:
        assert getattr(row, name) == getattr(MAKER, name)
    assert (row.desired, row.actual, row.last_error) == ("running", "stuck", "on_trade does not return")
    await other.update(msgspec.structs.replace(MAKER, config={}))
    assert (other.get(MAKER.id).config, other.get(MAKER.id).revision) == ({}, MAKER.revision)
    # Any number of instances may run one revision.
    await other.add(msgspec.structs.replace(MAKER, id="maker-2"))
    assert [row.id for row in other.list()] == ["maker-1", "maker-2"]
    await other.delete("maker-1")
    assert [row.id for row in other.list()] == ["maker-2"]


async def test_an_instance_is_not_pinned_to_a_revision_that_does_not_exist(instances: InstanceStore) -> None:
    pinned = msgspec.structs.replace(MAKER, selector="maker:v2", tag="v2")
    with pytest.raises(
        NotFound, match=r"instance `maker-1` was not written: revision sha256:a+ does not exist"
    ):
        await instances.add(pinned)
    await instances.add(msgspec.structs.replace(pinned, revision=None))
    with pytest.raises(NotFound):
        await instances.update(pinned)
    with pytest.raises(NotFound):
        await instances.set_revision("maker-1", MAKER.revision)
    assert instances.get("maker-1").revision is None


async def test_each_creation_of_an_instance_has_a_uid_of_its_own(instances: InstanceStore) -> None:
    first = (await instances.add(MAKER)).uid
    assert (await instances.update(MAKER, Desired.RUNNING)).uid == first
    await instances.load()
    assert instances.get("maker-1").uid == first
    await instances.delete("maker-1")
    assert (await instances.add(MAKER)).uid != first


async def test_duplicate_and_unknown_names_are_refused(providers: ProviderStore) -> None:
    await providers.add(BINANCE)
    with pytest.raises(AlreadyExists, match="provider `binance-main` exists already"):
        await providers.add(BINANCE)
    missing = "provider `binance-man` does not exist; did you mean `binance-main`?"
    with pytest.raises(NotFound, match=missing):
        providers.get("binance-man")
    for operation in (
        providers.set_desired("binance-man", Desired.RUNNING),
        providers.set_actual("binance-man", ProviderState.RUNNING),
        providers.update(msgspec.structs.replace(BINANCE, name="binance-man")),
        providers.delete("binance-man"),
    ):
        with pytest.raises(NotFound, match=missing):
            await operation
    # Names are case-sensitive.
    await providers.add(msgspec.structs.replace(BINANCE, name="Binance-Main"))
    assert len(providers) == 2


async def test_returned_rows_are_copies(providers: ProviderStore) -> None:
    settings = {"inner": {"depth": 1}}
    added = await providers.add(ProviderRecord(name="p", adapter="a", settings=settings))
    settings["inner"]["depth"] = 2
    added.settings["inner"]["depth"] = 3
    providers.list()[0].settings["inner"]["depth"] = 4
    providers.get("p").settings["inner"]["depth"] = 5
    assert providers.get("p").settings == {"inner": {"depth": 1}}


async def test_a_failed_write_leaves_the_cache_unchanged(
    providers: ProviderStore, database: Database
) -> None:
    await providers.add(BINANCE)
    before = providers.list()
    with pytest.raises(DatabaseError, match="`binance-main` was not written: the database refused it"):
        await providers.set_actual(BINANCE.name, "dancing")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DatabaseError, match="refused"):
        await providers.update(msgspec.structs.replace(BINANCE, settings={"text": "a\0b"}))
    assert providers.list() == before
    assert await reloaded(providers, database)
    assert (await providers.set_actual(BINANCE.name, ProviderState.RUNNING)).actual == "running"


async def test_the_cache_is_reloaded_after_a_write_of_unknown_outcome(
    providers: ProviderStore, database: Database
) -> None:
    """The connection breaks between commit and response: the cache is outdated until the next write."""
    await providers.add(BINANCE)
    async with database.connection() as connection:
        await connection.execute(
            "create function die() returns trigger language plpgsql as "
            "$$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
        )
        await connection.execute(
            "create trigger die before update on providers for each row when (new.actual = 'failed') "
            "execute function die()"
        )
    with pytest.raises(DatabaseUnavailable):
        await providers.set_actual(BINANCE.name, ProviderState.FAILED)
    async with database.connection() as connection:
        # Simulates that the write was committed.
        await connection.execute("drop trigger die on providers")
        await connection.execute("update providers set actual = 'failed'")
    assert providers.get(BINANCE.name).actual == "pending"
    await providers.add(msgspec.structs.replace(BINANCE, name="other"))
    assert providers.get(BINANCE.name).actual == "failed"


async def test_the_cache_is_reloaded_after_a_cancelled_write(
    providers: ProviderStore, database: Database
) -> None:
    await providers.add(BINANCE)
    async with database.transaction() as connection:
        await connection.execute("select from providers for update")
        write = asyncio.create_task(providers.set_actual(BINANCE.name, ProviderState.RUNNING))
        done, _ = await asyncio.wait({write}, timeout=0.2)
        assert not done, "a row that is locked cannot be written"
        write.cancel()
        await asyncio.wait({write})
        await connection.execute("update providers set actual = 'stopped'")
    assert providers.get(BINANCE.name).actual == "pending"
    await providers.set_desired(BINANCE.name, Desired.RUNNING)
    assert providers.get(BINANCE.name).actual == "stopped"


async def test_a_stalled_write_times_out(
    providers: ProviderStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await providers.add(BINANCE)
    monkeypatch.setattr(store, "WRITE_TIMEOUT", 0.1)
    async with database.transaction() as connection:
        await connection.execute("select from providers for update")
        with pytest.raises(DatabaseUnavailable, match="outcome unknown: the database did not respond"):
            await providers.set_actual(BINANCE.name, ProviderState.RUNNING)
    assert providers.get(BINANCE.name).actual == "pending"


async def test_concurrent_writes_are_serialized(providers: ProviderStore, database: Database) -> None:
    await providers.add(BINANCE)
    count = 40
    rows = await asyncio.gather(
        *(providers.update(msgspec.structs.replace(BINANCE, settings={"n": n})) for n in range(count))
    )
    assert [row.settings["n"] for row in rows] == list(range(count))
    assert providers.get(BINANCE.name).settings == {"n": count - 1}
    assert await reloaded(providers, database)


async def test_orders_outlive_their_instance_and_provider(
    providers: ProviderStore, instances: InstanceStore, database_url: str
) -> None:
    await providers.add(BINANCE)
    await instances.add(MAKER)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into meltica.orders (id, provider, instance, uid, mode, client_order_id, symbol, side, "
            "order_type, time_in_force, quantity, price, limit_price, intent_at) values "
            "(gen_random_uuid(), 'binance-main', 'maker-1', gen_random_uuid(), 'live', 'c1', 'BTC-USDT', "
            "'Buy', 'Limit', 'GTC', 1, 2, 2, 1)"
        )
    await instances.delete(MAKER.id)
    await providers.delete(BINANCE.name)
    with psycopg.connect(database_url) as connection:
        orders = connection.execute("select provider, instance from meltica.orders").fetchall()
    assert orders == [("binance-main", "maker-1")]


async def test_the_error_about_a_missing_schema_names_the_command_to_run(empty_database_url: str) -> None:
    async with await Database.open(empty_database_url) as database:
        with pytest.raises(DatabaseError, match=r"providers cannot be read: .*run `meltica db up`"):
            await ProviderStore(database).load()
