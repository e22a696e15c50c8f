"""Existing clients can read every response, of a gateway that has nothing and of one that has everything."""

from collections.abc import Generator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote
from uuid import UUID

import httpx
import msgspec
import pytest

from meltica.model.enums import Mode, OrderState
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.outbox import entry_event, event, fill_event
from meltica.persistence.stores.trading.rows import BalanceRow, Row
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.integration.conftest import CONFIG
from tests.integration.test_control_modules import EXAMPLE, SECOND
from tests.integration.test_control_resources import ok
from tests.support import gateway
from tests.support.gateway import Running
from tests.support.rest_schemas import ANSWERS, INSTANCE, MODULE, PROVIDER, Failure
from tests.support.trading_history import FILL, write_history
from tests.support.trading_rows import START, deposit, order, position

LINKED = ("usage", "links")
GONE = """  - id: gone
    strategy: strategies.py:Unloaded
    scope: {spare: [BTC-USDT]}
    enabled: false
"""
OPEN = {"auth": "none"}
SCOPE = {"main": {"symbols": ["BTC-USDT", "ETH-USDT"]}}
COLLECTIONS = [path for method, path in ANSWERS if method == "GET" and "{" not in path]
OF_NOTHING = [path for method, path in ANSWERS if method == "GET" and "{" in path]
HISTORIES = {f"{INSTANCE}/orders", f"{INSTANCE}/executions", f"{PROVIDER}/balances"}
"""Of what does not exist, they are empty."""
NULLS = {("GET", path): {"limits"} for path in ("/context/backup", "/config/backup")}
"""Keys of responses in which null is a value: a backup has all limits, those that do not limit too."""


@pytest.fixture(name="empty", scope="module")
def _empty(tmp_path_factory: pytest.TempPathFactory, cluster: EmbeddedPostgres) -> Generator[Running]:
    """A gateway at its first start: nothing is configured, and nothing was traded."""
    config = tmp_path_factory.mktemp("empty") / "meltica.yaml"
    config.write_text("environment: ci\n")
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        yield running


@pytest.fixture(name="full", scope="module")
def _full(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    """A gateway with resources in every state."""
    with gateway.database(cluster) as dsn:
        config.write_text(CONFIG + GONE)
        with gateway.running(config, dsn, apiServer=OPEN) as running:
            _trade(running, "gone")
        config.write_text(CONFIG)
        with gateway.running(config, dsn, apiServer=OPEN) as running:
            _fill(running)
            yield running


def _trade(running: Running, id: str) -> None:
    """Gives a position to an instance."""
    uid = running.gateway.instances.stored(id).uid
    bought = order(
        instance=id,
        uid=uid,
        provider="spare",
        state=OrderState.FILLED,
        filled_quantity=order().quantity,
        filled_cost=order().quantity * 64000,
        venue_order_id="v9",
        sent_at=START + 2,
        acknowledged_at=START + 3,
        ended_at=START + 4,
    )
    _write(running, [bought, position(bought, "0.0100")])


def _write(running: Running, rows: list[Row]) -> None:
    writer = GroupCommitWriter(running.gateway.database, running.gateway.lock)
    running.submit(writer.commit(rows)).result(20)


def _fill(running: Running) -> None:
    client = running.client
    ok(client.put("/config/runtime", json={"eventbus": {"bufferSize": 900, "fanoutWorkers": 4}}))
    running.until(lambda: running.gateway.providers.get("main").running)
    write_history(running)
    sent = {"venue_order_id": "v3", "sent_at": START + 2, "acknowledged_at": START + 3}
    ended = {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED}
    orders: list[Row] = []
    for number, state in enumerate(OrderState, 100):
        times = {} if state is OrderState.PENDING else sent
        reason = {"ended_at": START + 4, "reason": "as the venue says"} if state in ended else {}
        orders.append(order(id=UUID(int=number), instance="watcher", state=state, **times, **reason))
    balance = BalanceRow(
        provider="main",
        mode=Mode.LIVE,
        currency="USDT",
        total=Decimal(2),
        available=Decimal(1),
        snapshot_at=START,
    )
    events = [fill_event(FILL), entry_event(deposit()), event("balance", "main", "balance", balance)]
    _write(running, [*orders, *events])
    _upload(client)
    for name, settings in (("made", {"api_key": "hunter2", "depth": 7}), ("failed", {"refuses": True})):
        body = {"name": name, "adapter": {"identifier": "test-venue", "config": settings}}
        ok(client.post("/providers", json=body), 202)
    ok(client.post("/providers", json={**PENDING, "enabled": False}), 202)
    running.until(lambda: running.gateway.providers.get("failed").actual.value == "failed")
    running.until(lambda: running.gateway.providers.get("made").running)
    ok(client.post("/providers/made/stop"))
    for id, selector in (("pinned", "grid:1.0.0"), ("latest", "grid"), ("shipped", "Noop")):
        body = {"id": id, "strategy": {"selector": selector}, "scope": SCOPE}
        ok(client.post("/strategy/instances", json=body), 201)
    for id in ("pinned", "shipped"):
        ok(client.post(f"/strategy/instances/{id}/start"))
    ok(client.post("/strategy/instances/shipped/stop"))
    assert client.post("/strategy/instances/failing/start").status_code == 400
    limits = {"MaxPositionSize": "3"}, {"maxOpenOrders": 2}, {"maxDailyLoss": "5", "capital": "9"}
    scopes = {"limits": limits[0], "providers": {"made": limits[1]}, "instances": {"pinned": limits[2]}}
    ok(client.put("/risk/limits", json=scopes))
    for scope in ("provider:made", "instance:pinned", "global"):
        ok(client.post("/risk/halt", json={"scope": scope, "reason": "a drill"}))
    running.settle()


def _upload(client: httpx.Client) -> None:
    """Stores revisions with several tags, with none, and without a version."""
    unversioned = SECOND.replace('    version = "2.0.0"\n', "")
    assert unversioned != SECOND
    for body in (
        {"source": EXAMPLE, "aliases": ["stable", "first"]},
        {"source": SECOND, "promoteLatest": False, "filename": "grid.js"},
        {"source": f"{SECOND}\n", "tag": "orphan", "promoteLatest": False},
        {"source": unversioned, "tag": "dev", "promoteLatest": False},
    ):
        ok(client.post("/strategies/modules", json=body), 201)
    ok(client.delete("/strategies/modules/grid/tags/orphan", params={"allowOrphan": "true"}))


PENDING = {"name": "pending", "adapter": {"identifier": "fake", "config": {"endpoint": "http://127.0.0.1:1"}}}


def check(method: str, template: str, answer: httpx.Response) -> Any:
    """Returns the body of a response, which has the schema of its request."""
    assert answer.status_code in (200, 201, 202), answer.text
    assert answer.headers["content-type"] == "application/json"
    msgspec.json.decode(answer.content, type=ANSWERS[method, template])
    body = answer.json()
    nulls = {path.partition(".")[0] for path in _nulls(body)}
    assert nulls <= NULLS.get((method, template), set()), (method, template)
    return body


def _nulls(value: Any, path: str = "") -> Iterator[str]:
    if value is None:
        yield path
    listed = dict[Any, Any](enumerate(cast(list[Any], value) if isinstance(value, list) else []))
    found = cast(dict[Any, Any], value) if isinstance(value, dict) else listed
    for key, each in found.items():
        yield from _nulls(each, f"{path}.{key}" if path else str(key))


@pytest.mark.parametrize("path", COLLECTIONS)
def test_a_gateway_that_has_nothing(empty: Running, path: str) -> None:
    body = check("GET", path, empty.client.get(path))
    lists = {key for key, each in body.items() if isinstance(each, list) and each}
    assert lists <= {"strategies", "adapters"}


@pytest.mark.parametrize("path", OF_NOTHING)
def test_what_does_not_exist(empty: Running, path: str) -> None:
    answer = empty.client.get(path.format(name="x", id="x", selector="x", identifier="x"))
    if path in HISTORIES:
        assert check("GET", path, answer)["count"] == 0
    else:
        assert answer.status_code == 404
        msgspec.json.decode(answer.content, type=Failure)


@pytest.mark.parametrize("path", COLLECTIONS)
def test_a_gateway_that_has_everything(full: Running, path: str) -> None:
    body = check("GET", path, full.client.get(path))
    assert all(body[name] for name, each in body.items() if isinstance(each, list | dict))


def each_path(full: Running, path: str, list: str, key: str = "name") -> list[str]:
    return [quote(each[key], safe="") for each in ok(full.client.get(path))[list]]


def test_each_strategy_and_adapter(full: Running) -> None:
    for name in each_path(full, "/strategies", "strategies"):
        check("GET", "/strategies/{name}", full.client.get(f"/strategies/{name}"))
    for name in each_path(full, "/adapters", "adapters", "identifier"):
        check("GET", "/adapters/{identifier}", full.client.get(f"/adapters/{name}"))


def test_each_revision_of_a_module(full: Running) -> None:
    client = full.client
    module = check("GET", MODULE, client.get("/strategies/modules/grid"))
    hashes = [each["hash"] for each in module["revisions"]]
    assert len(hashes) == 4
    assert any(each.get("retired") for each in module["revisions"])
    assert not all("version" in each for each in module["revisions"])
    tags = [f"grid:{tag}" for tag in module["tags"]]
    for selector in ("grid", *tags, *hashes, *(f"grid@{hash}" for hash in hashes)):
        path = f"/strategies/modules/{quote(selector, safe='')}"
        check("GET", MODULE, client.get(path))
        assert client.get(f"{path}/source").headers["content-type"].startswith("text/")
        for query in ({}, {"includeStopped": "true"}, {"limit": "1", "offset": "0"}):
            check("GET", f"{MODULE}/usage", client.get(f"{path}/usage", params=query))
    listed = ("GET", "/strategies/modules")
    for query in ({"runningOnly": "true"}, {"hash": hashes[0]}, {"strategy": "x"}, {"limit": "1"}):
        check(*listed, client.get("/strategies/modules", params=query))
    for hash in (*hashes, hashes[1].upper().replace("SHA", "sha")):
        [only] = check(*listed, client.get("/strategies/modules", params={"hash": hash}))["modules"]
        assert [each["hash"] for each in only["revisions"]] == [hash.lower()]
        assert {each["hash"] for each in only["running"]} <= {hash.lower()}
        assert only["hash"] == module["hash"]
    assert check(*listed, client.get("/strategies/modules", params={"hash": "x"}))["modules"] == []
    used = check("GET", f"{MODULE}/usage", client.get("/strategies/modules/grid:1.0.0/usage"))
    assert [each["id"] for each in used["instances"]] == ["pinned"]


def test_each_provider(full: Running) -> None:
    states = set[str]()
    for name in each_path(full, "/providers", "providers"):
        states.add(check("GET", PROVIDER, full.client.get(f"/providers/{name}"))["status"])
        balances = check("GET", f"{PROVIDER}/balances", full.client.get(f"/providers/{name}/balances"))
        assert bool(balances["balances"]) == (name == "main")
    assert states == {"pending", "running", "stopped", "failed"}


def test_each_instance(full: Running, config: Path) -> None:
    seen = set[str]()
    listed = full.client.get("/strategy/instances")
    assert str(config.parent) not in listed.text
    summaries = {each["id"]: each for each in listed.json()["instances"]}
    for id in each_path(full, "/strategy/instances", "instances", "id"):
        shown = check("GET", INSTANCE, full.client.get(f"/strategy/instances/{id}"))
        seen.add("absent" if shown.get("absent") else shown["status"])
        assert [shown.get(key) for key in LINKED] == [summaries[id].get(key) for key in LINKED]
        assert shown["links"]["self"] == f"/strategy/instances/{id}"
        assert ("usage" in shown) == ("usage" in shown["links"]) == (id in ("pinned", "latest"))
        for path in shown["links"].values():
            ok(full.client.get(path))
        for history in ("orders", "executions"):
            path = f"/strategy/instances/{id}/{history}"
            rows = check("GET", f"{INSTANCE}/{history}", full.client.get(path))[history]
            assert bool(rows) == (id == "watcher" or (id, history) == ("gone", "orders"))
    assert seen >= {"pending", "running", "stopped", "failed", "absent"}
    used = ok(full.client.get(summaries["pinned"]["links"]["usage"]))["usage"]
    assert summaries["pinned"]["usage"] == {
        key: used[key] for key in ("strategy", "hash", "count", "running")
    }
    assert (used["count"], used["running"]) == (2, True)
    orders = check("GET", f"{INSTANCE}/orders", full.client.get("/strategy/instances/watcher/orders"))
    assert {each["state"] for each in orders["orders"]} == set(OrderState)


ORDERS, FILLS = f"{INSTANCE}/orders", f"{INSTANCE}/executions"
QUERIES: list[tuple[str, str, bool]] = [
    ("/strategies/modules", "strategy=grid&hash=&runningOnly=true&limit=500&offset=0", True),
    ("/strategies/modules", "strategy=none&runningOnly=false&limit=25&offset=25", False),
    ("/strategies/modules", "strategy=GRID&limit=0&offset=900", False),
    (f"{MODULE}/usage", "limit=25&offset=0&includeStopped=true", True),
    (f"{MODULE}/usage", "limit=25&offset=25&includeStopped=false", False),
    (f"{PROVIDER}/balances", "limit=50", True),
    (f"{PROVIDER}/balances", "limit=200&asset=usdt", True),
    (f"{PROVIDER}/balances", "limit=900&asset=NONE", False),
    (ORDERS, "limit=100&provider=", True),
    (ORDERS, "limit=100&states=ack&states=FILLED&state=Partial", True),
    (ORDERS, "provider=nowhere", False),
    (FILLS, "limit=100&provider=main", True),
    (FILLS, "provider=nowhere&orderId=00000000-0000-4000-8000-000000000009", False),
    ("/outbox", "limit=500&delivered=false&aggregateType=order&aggregateID=", True),
    ("/outbox", "limit=25&aggregateType=ord&aggregateID=x", False),
    ("/outbox", "limit=25&delivered=true", True),
]
"""Path, query of existing clients, and whether anything is listed."""


@pytest.mark.parametrize(("path", "query", "listed"), QUERIES)
def test_queries_of_lists(full: Running, path: str, query: str, listed: bool) -> None:
    url = path.format(selector="grid", name="main", id="watcher")
    body = check("GET", path, full.client.get(f"{url}?{query}"))
    (key,) = {"modules", "instances", "balances", "orders", "executions", "events"} & body.keys()
    assert bool(body[key]) == listed


def test_deliveries_and_backups(full: Running) -> None:
    listed = ("GET", "/outbox")
    reported = check(*listed, full.client.get("/outbox", params={"limit": "500"}))["events"]
    kinds = {each["aggregateType"] for each in reported}
    assert kinds == {"order", "fill", "balance", "risk", "lifecycle"}
    assert not [key for each in reported for key in each["payload"] if "_" in key]
    dead = check(*listed, full.client.get("/outbox", params={"dead": "true"}))["events"]
    assert [bool(each["lastError"]) for each in dead] == [True]
    check(*listed, full.client.get("/outbox", params={"delivered": "true", "limit": "1"}))
    headers = {"x-meltica-passphrase": "a long passphrase"}
    backup = check("GET", "/context/backup", full.client.get("/context/backup", headers=headers))
    assert {each["name"] for each in backup["providers"]} == {"made", "failed", "pending"}
    assert {each["id"] for each in backup["lambdas"]} == {"pinned", "latest", "shipped"}
    assert backup["risk"]["maxPositionSize"] == "3"
