"""Pages of lists by `limit` and `cursor`: over REST, by the client, and by `--limit` and `--all`."""

import itertools
import json
from collections.abc import Callable, Generator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from meltica.cli import cli
from meltica.client.client import Client
from meltica.client.trading import pages
from meltica.model.enums import Mode
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.outbox import Outbox, order_event
from meltica.persistence.stores.trading.rows import BalanceRow, RefusalRow, Row
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.integration.test_control_resources import failure, ok
from tests.support import gateway
from tests.support.gateway import Running
from tests.support.trading_rows import START, UID, deposit, fill, order, position

COUNT = 7
INSTANCE = "/strategy/instances/maker"


def rows(first: int = 0, count: int = COUNT) -> list[Row]:
    """Returns rows of every kind; several have one time."""
    found = list[Row]()
    for number in range(first, first + count):
        at = START + number // 3
        buy = order(intent_at=at)
        found += [
            buy,
            order_event(buy),
            fill(buy, "e1", traded_at=at, report=number // 2),
            fill(buy, "e2", traded_at=at, report=number // 2),
            position(buy, "1", symbol=f"S{number}-USDT"),
            deposit(venue_id=str(number)),
            *(
                BalanceRow(
                    provider="main",
                    mode=mode,
                    currency=currency,
                    snapshot_at=at + number,
                    total=Decimal(number),
                    available=Decimal(0),
                )
                for mode in Mode
                for currency in ("BTC", "USDT")
            ),
            RefusalRow(
                instance="maker",
                uid=UID,
                mode=Mode.PAPER,
                provider="main",
                symbol="BTC-USDT",
                rule=f"rule{number}",
                message="no",
                seen="1",
                limit="0",
                refused_at=at,
                last_refused_at=at,
                count=1,
            ),
        ]
    return found


LISTS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "orders": (f"{INSTANCE}/orders", "orders", lambda row: row["id"]),
    "all orders": ("/orders?instance=maker", "orders", lambda row: row["id"]),
    "fills": (
        f"{INSTANCE}/executions",
        "executions",
        lambda row: (row["orderId"], row["executionId"]),
    ),
    "balances": (
        "/providers/main/balances",
        "balances",
        lambda row: (row["mode"], row["asset"], row["total"]),
    ),
    "ledger": ("/providers/main/ledger", "entries", lambda row: row["id"]),
    "refusals": ("/refusals?instance=maker", "refusals", lambda row: row["id"]),
    "outbox": ("/outbox", "events", lambda row: row["id"]),
    "audit": ("/audit", "entries", lambda row: row["id"]),
    "positions": (f"{INSTANCE}/positions", "positions", lambda row: row["symbol"]),
    "instances": ("/strategy/instances", "instances", lambda row: row["id"]),
    "providers": ("/providers", "providers", lambda row: row["name"]),
    "tokens": ("/tokens", "tokens", lambda row: row["id"]),
}
HISTORIES = {"orders", "all orders", "fills", "balances", "ledger", "refusals", "audit"}
"""Those to which new rows are added in front."""

ADDED = itertools.count(1000)


def write(running: Running, found: list[Row]) -> None:
    writer = GroupCommitWriter(running.gateway.database, running.gateway.lock)
    running.submit(writer.commit(found)).result(30)


@pytest.fixture(name="running", scope="module")
def _running(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        running.submit(Outbox(running.gateway.database).add_consumer("hook")).result(30)
        write(running, rows())
        for name in ("b", "a", "c"):
            ok(running.client.post("/tokens", json={"name": name}), 201)
        yield running


def read(running: Running, name: str, more: Callable[[], object] = lambda: None, limit: int = 2) -> list[Any]:
    """Returns the keys of all rows, page by page; `more` is called between two pages."""
    path, key, of = LISTS[name]
    found, query = list[Any](), {"limit": limit}
    while True:
        page = ok(running.client.get(path, params={**_query(path), **query}))
        assert len(page[key]) <= limit
        found += map(of, page[key])
        if "cursor" not in page:
            return found
        assert len(page[key]) == limit
        query["cursor"] = page["cursor"]
        more()


def _query(path: str) -> dict[str, str]:
    given = path.partition("?")[2]
    return dict([given.split("=")]) if given else {}  # pyright: ignore[reportReturnType,reportArgumentType]


@pytest.mark.parametrize("name", LISTS)
def test_pages_have_each_row_once_and_in_order(running: Running, name: str) -> None:
    path, key, of = LISTS[name]
    whole = ok(running.client.get(path, params={**_query(path), "limit": 500}))
    assert "cursor" not in whole
    expected = list(map(of, whole[key]))
    assert len(expected) >= 3
    assert len({str(each) for each in expected}) == len(expected)
    for limit in (1, 2, len(expected)):
        assert read(running, name, limit=limit) == expected


@pytest.mark.parametrize("name", sorted(HISTORIES))
def test_rows_that_are_added_meanwhile_move_nothing(running: Running, name: str) -> None:
    expected = read(running, name, limit=500)

    def add() -> None:
        number = next(ADDED)
        write(running, rows(number, 1))
        ok(running.client.post("/tokens", json={"name": f"meanwhile {number}"}), 201)

    assert read(running, name, add, limit=max(2, len(expected) // 4)) == expected


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "cursor", ["x", "-1", "1", "W10", "WzFd", "WyJcdTAwMDAiXQ", "!" * 300, "WzksMV0", "bnVsbA"]
)
def test_a_cursor_that_is_not_one_is_refused(running: Running, name: str, cursor: str) -> None:
    path = LISTS[name][0]
    answer = running.client.get(path, params={**_query(path), "cursor": cursor})
    if cursor == "WzFd" and answer.status_code == 200:  # [1], which is the place of a number
        assert name in ("ledger", "refusals", "outbox", "audit")
        return
    assert "`cursor`" in failure(answer, 400, "invalid_parameter")


def test_lists_that_are_no_history_have_everything_without_a_limit(running: Running) -> None:
    new = [position(order(), "1", symbol=f"N{number}-USDT") for number in range(600)]
    write(running, list[Row](new))
    assert ok(running.client.get(f"{INSTANCE}/positions"))["count"] >= 600


def test_the_client_and_the_commands_read_all_pages(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = running.authorization["authorization"].removeprefix("Bearer ")
    monkeypatch.setenv("MELTICA_TOKEN", token)
    with Client(running.url, token) as client:
        found = [
            row.id for page in pages(client.trading.orders, instance="maker", limit=2) for row in page.orders
        ]
        fills = [
            row for page in pages(client.trading.executions, "maker", limit=2) for row in page.executions
        ]
    assert found == read(running, "orders")
    assert len(fills) == len(read(running, "fills"))
    monkeypatch.setattr("meltica.cli.trading.PAGE", 2)
    for command, name in (
        (["orders", "list", "--instance", "maker"], "orders"),
        (["orders", "fills", "maker"], "fills"),
        (["balances", "history", "main"], "balances"),
        (["balances", "ledger", "main"], "ledger"),
        (["risk", "refusals", "--instance", "maker"], "refusals"),
        (["outbox", "list"], "outbox"),
        (["audit", "list"], "audit"),
    ):
        _, key, of = LISTS[name]

        def run(*options: str, command: list[str] = command) -> str:
            done = CliRunner().invoke(cli, [*command, *options, "--url", running.url], standalone_mode=False)
            assert done.exception is None, done.output
            return done.stdout if "--json" in options else done.output

        assert [of(row) for row in json.loads(run("--all", "--json"))[key]] == read(running, name, limit=50)
        assert len(json.loads(run("--limit", "2", "--json"))[key]) == 2
        assert "repeat it with a higher --limit, or with --all" in run("--limit", "1")
        assert "--all" not in run("--all")
