"""The config file and the stored state: new, edited and removed entries, and drift."""

import logging
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meltica import settings
from meltica.errors import ConfigError
from meltica.gateway.baseline import Drift, apply_baseline
from meltica.lambdas.loader import revision
from meltica.persistence.database import Database
from meltica.persistence.stores.instances import InstanceRecord, InstanceStore
from meltica.persistence.stores.providers import ProviderRecord, ProviderStore
from meltica.runtime.lifecycle import Desired
from tests.support import venue

STRATEGY = """
import meltica
class Watch(meltica.Lambda):
    class Config(meltica.LambdaConfig):
        api_key: str = ""
        size: int = 1
    def on_trade(self, trade): ...
"""
CONFIG = """
providers:
  demo: {adapter: replay, settings: {sample: true}}
  off: {adapter: replay, enabled: false, settings: {sample: true}}
lambdas:
  - {id: watch, strategy: "watch.py:Watch", scope: {demo: "*"}, config: {api_key: hush, size: 3}}
  - {id: idle, strategy: watch.py, scope: {demo: [BTC-USDT]}, enabled: false, host: shared}
"""


class Stores:
    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        self.providers, self.instances = ProviderStore(database), InstanceStore(database)

    async def run(self, config: str = CONFIG) -> tuple[Drift, ...]:
        """Does what a start of the gateway does."""
        (self.folder / "config.yaml").write_text(config)
        await self.providers.load()
        await self.instances.load()
        loaded = settings.load(self.folder / "config.yaml", environ={})
        return await apply_baseline(loaded, self.providers, self.instances, self.database)

    def desired(self) -> dict[str, Desired]:
        rows = {row.name: row.desired for row in self.providers.list()}
        return rows | {row.id: row.desired for row in self.instances.list()}


@pytest.fixture(name="stores")
async def _stores(database_url: str, tmp_path: Path) -> AsyncGenerator[Stores]:
    (tmp_path / "watch.py").write_text(STRATEGY)
    database = await Database.open(database_url)
    yield Stores(tmp_path, database)
    await database.close()


async def test_new_entries_get_the_state_of_the_file(stores: Stores) -> None:
    assert await stores.run() == ()
    assert stores.desired() == {"demo": "running", "off": "stopped", "watch": "running", "idle": "stopped"}
    row = stores.instances.get("watch")
    path = stores.folder / "watch.py"
    assert (row.strategy, row.selector, row.origin) == ("watch", f"{path}:Watch", "baseline")
    assert row.revision == revision(path)
    assert row.config == {"api_key": "********", "size": 3}, "secrets do not reach the database"
    assert stores.instances.get("idle").scope == {"demo": ["BTC-USDT"]}
    assert stores.providers.get("demo").adapter == "replay"


async def test_a_state_requested_at_run_time_is_kept_and_reported_as_drift(stores: Stores) -> None:
    await stores.run()
    await stores.providers.set_desired("off", Desired.RUNNING)
    await stores.instances.set_desired("watch", Desired.STOPPED)
    drift = await stores.run()
    assert drift == (
        Drift("provider", "off", Desired.RUNNING, enabled=False),
        Drift("lambda", "watch", Desired.STOPPED, enabled=True),
    )
    assert str(drift[1]) == "lambda watch is enabled in the file, but its desired state is stopped"
    assert stores.desired()["watch"] == "stopped"


async def test_an_edit_of_enabled_replaces_the_state_requested_at_run_time(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await stores.run()
    await stores.instances.set_desired("watch", Desired.STOPPED)
    await stores.providers.set_desired("demo", Desired.STOPPED)
    edited = CONFIG.replace("enabled: false", "enabled: true")
    assert [drift.name for drift in await stores.run(edited)] == ["demo", "watch"], (
        "their entries are unchanged"
    )
    assert stores.desired() == {"demo": "stopped", "off": "running", "watch": "stopped", "idle": "running"}
    assert "provider off was edited: enabled" in caplog.text
    assert "lambda idle was edited: enabled" in caplog.text
    await stores.instances.set_desired("idle", Desired.STOPPED)
    assert [drift.name for drift in await stores.run(edited)] == ["demo", "watch", "idle"]
    # Disabled and enabled again: each edit replaces the desired state.
    await stores.run()
    assert await stores.run(CONFIG.replace("enabled: false, host", "enabled: true, host")) != ()
    assert stores.desired() == {"demo": "stopped", "off": "stopped", "watch": "stopped", "idle": "running"}


async def test_a_row_without_a_recorded_enabled_keeps_its_state(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await stores.run()
    await stores.instances.set_desired("watch", Desired.STOPPED)
    async with stores.database.connection() as connection:
        await connection.execute("update instances set enabled = null")
    assert [drift.name for drift in await stores.run()] == ["watch"], (
        "the file's earlier value is unknown, so the state stays"
    )
    assert stores.instances.get("watch").enabled is True
    assert caplog.text == ""


async def test_edits_of_the_file_and_of_a_strategy_are_applied(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await stores.run()
    await stores.run()
    assert caplog.text == ""
    (stores.folder / "watch.py").write_text(STRATEGY + "# edited\n")
    edited = CONFIG.replace("size: 3", "size: 4").replace("sample: true", "sample: true, speed: 2", 1)
    await stores.run(edited)
    assert "lambda watch was edited: revision, config" in caplog.text
    assert "lambda idle was edited: revision" in caplog.text
    assert "provider demo was edited: settings" in caplog.text
    assert stores.instances.get("watch").config["size"] == 4
    assert stores.instances.get("watch").revision == revision(stores.folder / "watch.py")
    assert stores.desired()["watch"] == "running"


async def test_entries_that_are_no_longer_in_the_file_are_removed(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await stores.run()
    await stores.providers.add(ProviderRecord(name="mine", adapter="replay", origin="dynamic"))
    mine = InstanceRecord(id="own", strategy="s", selector="s", scope={}, origin="dynamic")
    await stores.instances.add(mine)
    await stores.run("providers: {}")
    assert stores.desired() == {"mine": "stopped", "own": "stopped"}, "entries created through the API stay"
    assert "lambda watch is no longer in the file and is removed" in caplog.text
    assert "provider off is no longer in the file and is removed" in caplog.text
    await stores.run()
    assert stores.desired()["watch"] == "running", "it is a new entry again"


HELD = {
    "order": "insert into meltica.orders (id, provider, instance, uid, mode, client_order_id, symbol, side,"
    " order_type, time_in_force, quantity, price, limit_price, state, ended_at, intent_at) values"
    " (gen_random_uuid(), 'demo', 'watch', %s, '{mode}', 'c1', 'BTC-USDT', 'Buy', 'Limit', 'GTC', 1, 1, 1,"
    " '{state}', case when '{state}' in ('CANCELLED', 'FILLED') then 2 end, 1)",
    "position": "insert into meltica.positions (instance, uid, mode, provider, symbol, quantity, cost,"
    " realised, peak, updated_at) values ('watch', %s, '{mode}', 'demo', 'BTC-USDT', {state}, 0, 0, 0, 1)",
}


@pytest.mark.parametrize("mode", ["live", "paper"])
@pytest.mark.parametrize(
    ("kind", "state"),
    [
        *[("order", state) for state in ("PENDING", "ACK", "PARTIAL", "UNKNOWN")],
        *[("position", state) for state in ("0.5", "-0.5")],
    ],
)
async def test_an_entry_with_orders_or_positions_is_kept_and_returns_as_it_was(
    stores: Stores, caplog: pytest.LogCaptureFixture, mode: str, kind: str, state: str
) -> None:
    await stores.run()
    uid = stores.instances.get("watch").uid
    async with stores.database.connection() as connection:
        await connection.execute(HELD[kind].format(mode=mode, state=state).encode(), [uid])
    for _ in range(2):
        await stores.run("providers: {}")
        assert stores.desired() == {"demo": "stopped", "watch": "stopped"}, "the others are deleted"
        assert stores.instances.get("watch").actual == "stopped"
    assert "lambda watch is no longer in the file, but has orders or positions: it is kept" in caplog.text
    assert await stores.run() == ()
    assert stores.desired() == {"demo": "running", "off": "stopped", "watch": "running", "idle": "stopped"}
    assert stores.instances.get("watch").uid == uid


ACCOUNT = """
providers:
  demo: {{adapter: {adapter}, settings: {settings}}}
lambdas:
  - {{id: watch, strategy: watch.py, scope: {{demo: [BTC-USDT]}}}}
"""
KEYED = "{api_key: first, region: us}"
SAME = {
    "other order": (KEYED, "{region: us, api_key: first}"),
    "no setting of the account": (
        "{endpoint: 'http://127.0.0.1:1', key: a, secret: s}",
        "{endpoint: 'http://127.0.0.1:1', key: a, secret: t}",
    ),
}
OTHER = {
    "secret": (KEYED, "{api_key: second, region: us}"),
    "no secret": (KEYED, "{region: us}"),
    "unnamed setting": (KEYED, "{api_key: first, region: us, depth: 7}"),
    "endpoint": (
        "{endpoint: 'http://127.0.0.1:1', key: a, secret: s}",
        "{endpoint: 'http://127.0.0.1:2', key: a, secret: s}",
    ),
    "key": (
        "{endpoint: 'http://127.0.0.1:1', key: a, secret: s}",
        "{endpoint: 'http://127.0.0.1:1', key: b, secret: s}",
    ),
}


def _account(settings: str, more: str = "") -> str:
    adapter = "fake" if "endpoint" in settings else "test-venue"
    return ACCOUNT.format(adapter=adapter, settings=settings + more)


async def _hold(stores: Stores, kind: str, state: str, mode: str) -> None:
    uid = stores.instances.get("watch").uid
    async with stores.database.connection() as connection:
        await connection.execute(HELD[kind].format(mode=mode, state=state).encode(), [uid])


@pytest.mark.parametrize("change", OTHER)
@pytest.mark.parametrize(("kind", "state"), [("order", "ACK"), ("position", "0.5")])
async def test_another_account_is_refused_while_something_is_open(
    stores: Stores, caplog: pytest.LogCaptureFixture, change: str, kind: str, state: str
) -> None:
    before, after = OTHER[change]
    with venue.installed(stores.folder):
        await stores.run(_account(before))
        await _hold(stores, kind, state, "live")
        for _ in range(2):
            with pytest.raises(
                ConfigError, match="it would trade on another account, and instances have open"
            ):
                await stores.run(_account(after))
        await stores.run(_account(before))
        await stores.run(_account(after, ", sameAccount: true"))
        assert "no effect" not in caplog.text
        await stores.run(_account(after, ", sameAccount: true"))
        assert "provider demo: `sameAccount` has no effect any more" in caplog.text
        with pytest.raises(ConfigError, match="sameAccount: true"):
            await stores.run(_account(before))


@pytest.mark.parametrize("change", SAME)
async def test_the_same_account_is_not_refused(stores: Stores, change: str) -> None:
    before, after = SAME[change]
    with venue.installed(stores.folder):
        await stores.run(_account(before))
        await _hold(stores, "order", "ACK", "live")
        await stores.run(_account(after))


@pytest.mark.parametrize(("state", "mode"), [("CANCELLED", "live"), ("ACK", "paper")])
async def test_another_account_is_taken_while_nothing_is_open_on_the_former_one(
    stores: Stores, state: str, mode: str
) -> None:
    before, after = OTHER["secret"]
    with venue.installed(stores.folder):
        await stores.run(_account(before))
        await _hold(stores, "order", state, mode)
        await stores.run(_account(after))


@pytest.mark.parametrize("change", ["endpoint", "key", "unnamed setting"])
async def test_another_account_than_that_of_an_older_version_is_refused(stores: Stores, change: str) -> None:
    before, after = OTHER[change]
    with venue.installed(stores.folder):
        await stores.run(_account(before))
        await _hold(stores, "order", "ACK", "live")
        async with stores.database.connection() as connection:
            await connection.execute("update meltica.providers set account = null")
        with pytest.raises(ConfigError, match="another account"):
            await stores.run(_account(after))
        await stores.run(_account(before))


async def test_the_account_of_a_process_that_has_ended_is_not_compared(stores: Stores) -> None:
    await stores.run(ACCOUNT.format(adapter="fake", settings="{}"))
    await _hold(stores, "position", "0.5", "live")
    await stores.run(_account(OTHER["key"][0]))


@pytest.mark.parametrize(("kind", "state"), [("order", "CANCELLED"), ("order", "FILLED"), ("position", "0")])
async def test_an_entry_whose_orders_have_ended_is_deleted(stores: Stores, kind: str, state: str) -> None:
    await stores.run()
    uid = stores.instances.get("watch").uid
    async with stores.database.connection() as connection:
        await connection.execute(HELD[kind].format(mode="live", state=state).encode(), [uid])
    await stores.run("providers: {}")
    assert stores.desired() == {}
    await stores.run()
    assert stores.instances.get("watch").uid != uid


async def test_a_strategy_that_cannot_be_read_has_no_revision(tmp_path: Path) -> None:
    assert revision(tmp_path / "nothing.py") is None
