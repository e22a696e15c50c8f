"""Every operation with every status that the OpenAPI document declares for it, and with none else.

The tables have the requests, with the status and code of their answers. The client of a gateway compares each
answer with the document, which refuses a status that is not declared; the last test refuses a declared status
that no case has.
"""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from meltica.control import authentication, backup_file, changes
from meltica.errors import OrderRefused, VenueUnavailable
from meltica.model.enums import Mode, OrderState
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores import desired
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.trading import service
from meltica.trading.operator import Act
from meltica.trading.risk.scopes import GLOBAL
from tests.contract.rest.cases import Case, conditional, operations, run
from tests.contract.rest.common import UNKNOWN, Refused, Sender, common
from tests.contract.rest.tables import away, late, trading
from tests.contract.rest.tables.instances import ABSENT, INSTANCES
from tests.contract.rest.tables.modules import MODULES
from tests.contract.rest.tables.others import BACKUP, IDLE, OUTBOX, READS, SETTINGS, TOKENS
from tests.contract.rest.tables.providers import PROVIDERS
from tests.integration.test_control_accounts import CONFIG, differ, lose
from tests.support import gateway, venue
from tests.support.control_world import controlled
from tests.support.gateway import Checked, Running
from tests.support.trading_history import write_history
from tests.support.trading_rows import order, position
from tests.support.trading_world import TradingWorld

OPEN = {"auth": "none"}
"""A second gateway of a database has no token of the first one."""
GONE = """
environment: ci
providers:
  main: {adapter: fake, enabled: false}
lambdas:
  - {id: gone, strategy: large-trades, scope: {main: [BTC-USDT]}, enabled: false}
"""
TABLES: dict[str, tuple[Case, ...]] = {
    "reads": READS,
    "providers": conditional(*PROVIDERS),
    "instances": conditional(*INSTANCES),
    "modules": conditional(*MODULES),
    "outbox": conditional(*OUTBOX),
    "settings": conditional(*SETTINGS),
    "tokens": conditional(*TOKENS),
    "idle": conditional(*IDLE),
    "backup": conditional(*BACKUP),
}
"""Cases on a gateway in which nothing trades."""


@pytest.fixture(name="whole", scope="module")
def _whole(full: Running) -> Running:
    """A gateway with every kind of resource and row."""
    full.until(lambda: all(full.gateway.providers.get(name).running for name in ("demo", "main")))
    write_history(full)
    return full


@pytest.mark.parametrize("table", TABLES)
def test_cases(whole: Running, table: str) -> None:
    made = whole.client.post("/tokens", json={"name": table}).json()["token"]["id"]
    run(whole, TABLES[table], {"token": made})


def test_changes_that_take_long(whole: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    run(whole, late.BEFORE)
    venue.GATE.clear()
    venue.LEAVING.clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(changes, "PATIENCE", 2.0)
            run(whole, late.SLOW, together=True)
        run(whole, late.MEANWHILE)
    finally:
        venue.GATE.set()
        venue.LEAVING.set()
    whole.until(lambda: "goes" not in whole.gateway.instances and "p-goes" not in whole.gateway.providers)
    run(whole, late.AFTERWARDS)


@contextmanager
def locked(running: Running, *tables: str) -> Generator[None]:
    """Keeps rows of tables from being written."""
    with psycopg.connect(running.gateway.database.dsn, options="-c search_path=meltica") as connection:
        names = SQL(", ").join(map(Identifier, tables))
        connection.execute(SQL("lock table {} in exclusive mode").format(names))
        yield


def test_changes_that_are_not_recorded(whole: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(changes, "PATIENCE", 0.5)
        patch.setattr(desired, "RECORD_SECONDS", 0.1)
        with locked(whole, "providers", "instances", "risk_limits", "halts"):
            run(whole, late.LOCKED)
    whole.until(lambda: not whole.gateway.recovery.pending)
    whole.until(lambda: whole.gateway.providers.get("spare").running)


def test_changes_that_are_answered_before_they_end(whole: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(changes, "PATIENCE", 0)
        run(whole, late.AT_ONCE)


def test_a_backup_that_is_too_large(whole: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_file, "MAX_BYTES", 100)
    run(whole, late.TOO_LARGE)


def test_a_body_that_is_not_stored(whole: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    run(whole, late.NOT_STORED)


def test_an_absent_instance(tmp_path: Path, cluster: EmbeddedPostgres) -> None:
    config = tmp_path / "meltica.yaml"
    config.write_text(GONE)
    with gateway.database(cluster) as dsn:
        with gateway.running(config, dsn, apiServer=OPEN) as running:
            bought = order(instance="gone", uid=running.gateway.instances.stored("gone").uid, mode=Mode.PAPER)
            writer = GroupCommitWriter(running.gateway.database, running.gateway.lock)
            running.submit(writer.commit([bought, position(bought, "1")])).result(20)
        config.write_text(GONE.partition("lambdas")[0])
        with gateway.running(config, dsn, apiServer=OPEN) as running:
            run(running, ABSENT)


@pytest.fixture(name="world")
def _world(tmp_path: Path, cluster: EmbeddedPostgres) -> Generator[tuple[Running, TradingWorld]]:
    config = tmp_path / "meltica.yaml"
    config.write_text(CONFIG)
    with controlled(config, cluster) as world:
        yield world


def _hold_position(world: TradingWorld) -> None:
    bought = world.buy("1", "100.01")
    world.wait_until(lambda: bought.state is OrderState.FILLED)


@pytest.mark.parametrize(
    ("patience", "first", "cases", "released"),
    [
        (6.0, trading.TRADING, trading.PREPARED, trading.RELEASED),
        (0.0, (), trading.AT_ONCE, trading.RELEASED_AT_ONCE),
    ],
    ids=["in time", "at once"],
)
def test_what_acts_on_trading(
    world: tuple[Running, TradingWorld],
    monkeypatch: pytest.MonkeyPatch,
    patience: float,
    first: tuple[Case, ...],
    cases: tuple[Case, ...],
    released: tuple[Case, ...],
) -> None:
    control, desk = world
    run(control, first)
    _hold_position(desk)
    ack = desk.buy("1", "99")
    desk.wait_until(lambda: ack.state is OrderState.ACK)
    unknown = desk.buy_unknown("1", "96")
    lost = {"first": lose(desk, "50"), "second": lose(desk, "51")}
    differ(desk, "2")
    monkeypatch.setattr(changes, "PATIENCE", patience)
    run(control, cases, {"ack": str(ack.id), "unknown": str(unknown.id), **lost})
    # What was answered before it ended goes on.
    desk.wait_until(lambda: not desk.desk.accounts.link("p", Mode.LIVE).lost)
    desk.operate(lambda operator: operator.cancel_all(GLOBAL, None, Act("tests", "the end")))
    desk.wait_until(lambda: not desk.desk.open_machines())
    desk.desk.detach(desk.owner)
    run(control, released)


def test_trading_without_a_database(
    world: tuple[Running, TradingWorld], cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, desk = world
    _hold_position(desk)
    ack = desk.buy("1", "99")
    desk.wait_until(lambda: ack.state is OrderState.ACK)
    desk.operate(lambda operator: operator.recorded())
    monkeypatch.setattr(service, "RECORD_SECONDS", 0.2)
    pool = control.gateway.database._pool  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(pool, "timeout", 0.5)
    with unavailable(control, cluster):
        control.client.post("/orders/cancel", json=trading.SCOPE | {"scope": "instance:paper"})
        desk.wait_until(lambda: desk.trading.write_failure is not None)
        run(control, trading.AWAY, {"ack": str(ack.id)})
        desk.wait_until(lambda: ack.state is OrderState.CANCELLED)


@pytest.mark.parametrize(
    "error", [VenueUnavailable("down", "maintenance"), OrderRefused("unknown_order", "it has ended")]
)
def test_a_venue_that_fails(
    world: tuple[Running, TradingWorld], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail() -> None:
        raise error

    control, desk = world
    lost = lose(desk, "50")
    with monkeypatch.context() as patch:
        patch.setattr(desk.lossy, "open_orders", fail)
        run(control, trading.VENUE_FAILS, {"first": lost})


def test_what_every_operation_refuses(whole: Running) -> None:
    sender = Sender(whole)
    viewer = whole.client.post("/tokens", json={"name": "a viewer", "scope": "viewer"}).json()["secret"]
    sender.send_all(viewer)
    assert not sender.faults, "\n".join(sender.faults)


@contextmanager
def unavailable(running: Running, cluster: EmbeddedPostgres) -> Generator[None]:
    """Ends the sessions of a database, and permits none."""
    name = conninfo_to_dict(running.gateway.database.dsn)["dbname"]
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        allow = SQL("alter database {} allow_connections {}")
        connection.execute(allow.format(Identifier(str(name)), SQL("false")))
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
        )
        try:
            yield
        finally:
            connection.execute(allow.format(Identifier(str(name)), SQL("true")))


def test_without_a_database(
    whole: Running, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(whole)
    run(whole, away.BEFORE)
    with unavailable(whole, cluster):
        whole.until(lambda: not whole.gateway.lock.held)
        with monkeypatch.context() as patch:
            run(whole, away.MANY, together=True)
            run(whole, away.AWAY, together=True)
            run(whole, away.AWAY_TOO, together=True)
            patch.setattr(authentication, "LOOKUP_SECONDS", 0.01)
            sender.send_to_all(Refused(503, "database_unavailable", UNKNOWN))
    while whole.client.get("/version", headers=UNKNOWN).status_code != 429:
        continue
    sender.send_to_all(Refused(429, "too_many_failures", UNKNOWN))
    assert not sender.faults, "\n".join(sender.faults)


def declared(document: dict[str, Any]) -> set[tuple[str, int]]:
    """Returns the operations of a document with each status that they declare."""
    return {
        (operation["operationId"], int(status))
        for _, _, operation in operations(document)
        for status in operation["responses"]
        if status != "default"
    }


def test_every_operation_has_a_case_without_a_database(full: Running) -> None:
    document = full.client.get("/openapi.json").json()
    checked, cases = Checked(document), (*away.AWAY, *away.AWAY_TOO)
    having = {(checked.operation(each.method, each.path) or {})["operationId"] for each in cases}
    assert {operation["operationId"] for _, _, operation in operations(document)} - having == set()


def test_every_declared_status_has_a_case(full: Running) -> None:
    document = full.client.get("/openapi.json").json()
    checked, provoked = Checked(document), set[tuple[str, int]]()
    for each in (
        *chain(*TABLES.values()),
        *ABSENT,
        *away.BEFORE,
        *away.AWAY,
        *away.AWAY_TOO,
        *late.ALL,
        *trading.ALL,
    ):
        operation = checked.operation(each.method, each.path)
        assert operation is not None, each.request
        provoked.add((operation["operationId"], each.status))
    for method, _, operation in operations(document):
        provoked |= {(operation["operationId"], status) for status in common(method, operation)}
    assert sorted(declared(document) - provoked) == []
    assert sorted(provoked - declared(document)) == []
