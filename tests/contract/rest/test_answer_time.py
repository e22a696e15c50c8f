"""Every operation answers within 7 s while what it needs hangs: existing clients give up after 8.

The operations are those of the OpenAPI document, so that a new one cannot be forgotten. They are sent at the
same time. An answer is the result, a 202, or a 503.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from meltica.errors import VenueUnavailable
from meltica.model.enums import OrderState
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.contract.rest.test_rules import IDS as IDS_OF_RULES
from tests.contract.rest.test_rules import filled, operations
from tests.integration.test_control_modules import EXAMPLE
from tests.integration.test_control_resources import ok
from tests.support import gateway, venue
from tests.support.control_steps import chain_fault, get
from tests.support.control_world import controlled
from tests.support.database_proxy import DatabaseProxy, database_proxy
from tests.support.gateway import Running
from tests.support.lossy_account import LossyAccount

SECONDS = 7.0
PATIENCE = 60.0
THIRD = EXAMPLE.replace('"1.0.0"', '"3.0.0"')
HASH = f"sha256:{'0' * 64}"
SCOPE = {"main": {"symbols": ["BTC-USDT"]}}
REASON = {"reason": "test"}
LOST = {"mode": "paper", "clientOrderId": "x", **REASON}
IDS = {"instances": ["watcher"]}
BODIES: dict[str, dict[str, Any]] = {
    "cancelOrders": REASON,
    "cancelOrder": REASON,
    "queryOrder": REASON,
    "resolveOrder": {"state": "CANCELLED", **REASON},
    "retryDeadLetters": REASON,
    "dropDeadLetters": REASON,
    "createProvider": {"name": "hung", "adapter": {"identifier": "test-venue"}, "enabled": False},
    "updateProvider": {"adapter": {"config": {"depth": 9}}},
    "bookDifference": {"mode": "paper", "currency": "BTC", "amount": "1", **REASON},
    "adoptOrder": {"instance": "watcher", **LOST},
    "disownOrder": LOST,
    "flattenScope": REASON,
    "haltScope": REASON,
    "resumeScope": REASON,
    "updateRiskLimits": {"maxOpenOrders": 9},
    "updateRuntimeConfig": {"log": {"level": "error"}},
    "uploadModule": {"source": THIRD},
    "updateModule": {"source": THIRD},
    "setModuleTag": {"hash": HASH},
    "refreshStrategies": {},
    "createInstance": {"id": "hung", "strategy": {"selector": "grid"}, "scope": SCOPE},
    "updateInstance": {"id": "pinned", "strategy": {"config": {"levels": 7}}},
    "releasePositions": {"mode": "paper", **REASON},
    "startInstances": IDS,
    "stopInstances": IDS,
    "createToken": {"name": "hung"},
    "restoreBackup": {"version": 1, "checksum": "damaged"},
    "restoreConfigBackup": {"version": 1, "checksum": "damaged"},
}
PATHS = {
    "updateProvider": "/providers/made",
    "deleteProvider": "/providers/made",
    "updateInstance": "/strategy/instances/pinned",
    "deleteInstance": "/strategy/instances/latest",
}
"""Operations on what was created over REST; the others use what the config file has."""
STREAMED = {"streamEvents"}
INSTANCES = "/strategy/instances"
HUNG = """
import meltica

class Hung(meltica.Lambda):
    version = "1"

    class Config(meltica.LambdaConfig):
        at: str

    def on_start(self):
        if self.config.at == "start":
            self.hang()

    def on_stop(self):
        if self.config.at == "stop":
            self.hang()

    def on_trade(self, trade):
        if self.config.at == "trade":
            self.hang()

    def hang(self):
        from tests.support.venue import GATE
        GATE.wait(30)
"""


@pytest.fixture(name="proxied", scope="module")
def _proxied(config: Path, cluster: EmbeddedPostgres) -> Generator[tuple[Running, DatabaseProxy]]:
    with (
        gateway.database(cluster) as direct,
        database_proxy(direct) as (dsn, proxy),
        gateway.running(config, dsn) as running,
    ):
        yield running, proxy


@pytest.fixture(scope="module")
def control(proxied: tuple[Running, DatabaseProxy]) -> Running:
    return proxied[0]


def test_changes_do_not_wait_for_slow_reads(control: Running) -> None:
    """A table is locked, so that more clients read it than the database has connections."""
    limits = {"maxOpenOrders": 8}
    dsn = control.gateway.database.dsn
    with psycopg.connect(dsn, options="-c search_path=meltica") as connection:
        connection.execute("lock table outbox in access exclusive mode")
        walk = Walk(control)
        reads = [(f"read {number}", "GET", "/outbox") for number in range(24)]
        with ThreadPoolExecutor() as pool:
            reading = pool.submit(walk.send, reads)
            assert wait_until(lambda: _waiting(dsn) >= 12, SECONDS)
            changed = control.client.put("/risk/limits", json=limits)
            assert not reading.done()
            reading.result()
    assert changed.status_code == 200, changed.text
    walk.check()


def _waiting(dsn: str) -> int:
    """Returns how many sessions wait for a lock."""
    query = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with psycopg.connect(dsn) as connection:
        return len(connection.execute(query).fetchall())


class Walk:
    """Sends requests at the same time, and notes what did not arrive in time."""

    def __init__(self, running: Running) -> None:
        self._running = running
        document = running.client.get("/openapi.json").json()
        self.paths: dict[str, dict[str, Any]] = document["paths"]
        self.late: list[str] = []
        self.answers: dict[str, int] = {}
        self.unexpected: list[tuple[str, int, str]] = []

    def everything(self) -> "list[tuple[str, str, str]]":
        """Returns name, method and path of each operation."""
        found = operations(self.paths, "GET", "POST", "PUT", "DELETE")
        return [
            (each["operationId"], method, PATHS.get(each["operationId"], filled(path, self.paths[path])))
            for method, path, each in found
        ]

    def send(self, requests: Iterable[tuple[str, str, str]]) -> None:
        """Sends requests and waits for the answers."""
        asyncio.run(self._send(requests))

    def check(self) -> None:
        """Asserts that all answers arrived in time and were permitted ones."""
        assert not self.late
        assert not self.unexpected

    async def _send(self, requests: Iterable[tuple[str, str, str]]) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(
            base_url=self._running.url,
            headers=self._running.authorization,
            timeout=None,
            limits=limits,
            trust_env=False,
        ) as client:
            await asyncio.gather(*(self._one(client, *each) for each in requests))

    async def _one(self, client: httpx.AsyncClient, name: str, method: str, path: str) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                await self._exchange(client, name, method, path)
        except TimeoutError:
            self.late.append(name)

    async def _exchange(self, client: httpx.AsyncClient, name: str, method: str, path: str) -> None:
        async with client.stream(method, path, json=BODIES.get(name)) as answer:
            self.answers[name] = answer.status_code
            if name in STREAMED and answer.status_code == 200:
                return
            text = (await answer.aread()).decode()
        if answer.status_code >= 500 and answer.status_code != 503:
            self.unexpected.append((name, answer.status_code, text))


def test_each_operation_with_a_body_has_one_here(full: Running) -> None:
    with_body = [each for _, _, each in operations(Walk(full).paths, "POST", "PUT") if "requestBody" in each]
    assert {each["operationId"] for each in with_body} == set(BODIES)


def test_every_operation_answers_while_the_database_hangs(
    full: Running, proxied: tuple[Running, DatabaseProxy]
) -> None:
    walk = Walk(full)
    requests = walk.everything()
    with proxied[1].swallowing():
        walk.send(requests)
    walk.check()
    assert set(walk.answers) == {name for name, _, _ in requests}
    assert wait_until(lambda: shown(full) == has(full), PATIENCE), (shown(full), has(full))
    assert chain_fault(full.gateway.database.dsn) is None


def shown(running: Running) -> list[tuple[str, str, bool]]:
    """Returns the desired states that REST shows, once they are recorded, and of which limits and tokens."""
    providers = get(running.client, "/providers")["providers"]
    instances = get(running.client, "/strategy/instances")["instances"]
    ids = [(each["name"], each["desired"], each.get("recorded", True)) for each in providers]
    ids += [(each["id"], each["desired"], each.get("recorded", True)) for each in instances]
    limits = get(running.client, "/risk/limits")["limits"].get("maxOpenOrders")
    tokens = get(running.client, "/tokens")["tokens"]
    return sorted([*ids, ("limits", str(limits), True), ("tokens", str(len(tokens)), True)])


def has(running: Running) -> list[tuple[str, str, bool]]:
    """Returns what the database has of that."""
    with psycopg.connect(running.gateway.database.dsn, options="-c search_path=meltica") as connection:
        rows = connection.execute(
            "select name, desired::text from providers union all select id, desired::text from instances"
            " union all select 'tokens', count(*)::text from tokens union all select 'limits', coalesce("
            "(select limits->'global'->>'maxOpenOrders' from risk_limits), 'None')"
        ).fetchall()
    return sorted((name, text, True) for name, text in rows)


@pytest.fixture(name="hung")
def _hung(full: Running) -> Generator[Running]:
    """Instances of a module of which a callback does not return; that with `on_start` does not run."""
    client = full.client
    ok(client.post("/strategies/modules", json={"source": HUNG}), 201)
    for at in ("start", "stop", "trade"):
        strategy = {"selector": "hung", "config": {"at": at}}
        ok(client.post(INSTANCES, json={"id": f"hung-{at}", "strategy": strategy, "scope": SCOPE}), 201)
    for at in ("stop", "trade"):
        ok(client.post(f"{INSTANCES}/hung-{at}/start"))
    yield full
    venue.GATE.set()
    for at in ("start", "stop", "trade"):
        assert wait_until(partial(_is_deleted, client, f"{INSTANCES}/hung-{at}"), PATIENCE)
    assert client.delete("/strategies/modules/hung").status_code == 204


def _is_deleted(client: httpx.Client, path: str) -> bool:
    return client.get(path).status_code == 404 or client.delete(path).status_code == 200


def reads_of(walk: "Walk", id: str) -> list[tuple[str, str, str]]:
    """Returns all operations that read, with an instance."""
    return [
        (name, method, path.replace("/watcher", f"/{id}"))
        for name, method, path in walk.everything()
        if method == "GET"
    ]


def test_every_operation_answers_while_strategies_hang(hung: Running) -> None:
    walk = Walk(hung)
    reads = reads_of(walk, "hung-start")
    starts, stops = f"{INSTANCES}/hung-start", f"{INSTANCES}/hung-stop"
    changes = [
        ("a start of one that starts", "POST", f"{starts}/start"),
        ("a restart of one that starts", "POST", f"{starts}/restart"),
        ("a stop of one that starts", "POST", f"{starts}/stop"),
        ("a deletion of one that starts", "DELETE", starts),
        ("a stop", "POST", f"{stops}/stop"),
        ("a deletion of one that stops", "DELETE", stops),
        ("another instance", "POST", f"{INSTANCES}/pinned/start"),
        ("refreshStrategies", "POST", "/strategies/refresh"),
    ]
    venue.GATE.clear()
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(walk.send, [("a start", "POST", f"{starts}/start")])
        assert wait_until(lambda: hung.client.get(starts).json()["status"] == "starting", SECONDS)
        walk.send([*changes, *reads])
        starting.result()
    walk.check()
    answers = walk.answers
    assert answers["another instance"] == 200
    assert answers["a start"] == 202
    assert {answers[name] for name, _, _ in reads} <= {200, 404, 503}
    assert hung.client.get(starts).json()["status"] in ("starting", "stopped", "failed")


def test_every_operation_answers_while_a_callback_does_not_return(hung: Running) -> None:
    walk, path = Walk(hung), f"{INSTANCES}/hung-trade"
    trade = {"tradeId": "1", "side": "Buy", "price": "100", "quantity": "1"}
    reads = reads_of(walk, "hung-trade")
    venue.GATE.clear()
    venue.Venue.producers["main"].publish("Trade", "BTC-USDT", trade)
    shown = hung.client.get
    assert wait_until(lambda: shown(path).json()["counters"]["inCallbackNs"] > 0, PATIENCE)
    walk.send([*reads, ("a stop", "POST", f"{path}/stop")])
    assert walk.answers["a stop"] in (200, 202)
    assert wait_until(lambda: shown(path).json()["status"] == "stuck", PATIENCE)
    walk.send(
        [*reads, ("a change", "PUT", path), ("another instance", "POST", f"{INSTANCES}/pinned/restart")]
    )
    walk.send([("a start of one that is stuck", "POST", f"{path}/start"), *reads])
    walk.send([("a restart of one that is stuck", "POST", f"{path}/restart"), *reads])
    walk.send([("a deletion of one that is stuck", "DELETE", path)])
    walk.check()
    assert {walk.answers[name] for name, _, _ in reads} <= {200, 404, 503}
    assert walk.answers["another instance"] == 200


def test_a_provider_of_a_venue_that_hangs_can_be_changed(full: Running) -> None:
    walk = Walk(full)
    path = "/providers/silent"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, and never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        adapter = {"identifier": "fake", "config": {"endpoint": endpoint}}
        ok(full.client.post("/providers", json={"name": "silent", "adapter": adapter}), 202)
        walk.send(
            [
                *((name, "GET", path) for name in ("a provider that starts", "the same")),
                ("its balances", "GET", f"{path}/balances"),
                ("a start of one that starts", "POST", f"{path}/start"),
                ("a stop of one that starts", "POST", f"{path}/stop"),
                ("another provider", "POST", "/providers/made/start"),
            ]
        )
        walk.send([("a deletion", "DELETE", path)])
    walk.check()
    assert walk.answers["a stop of one that starts"] in (200, 202)
    assert walk.answers["another provider"] == 202
    assert walk.answers["a deletion"] == 200


def test_every_operation_answers_while_the_venue_hangs(
    config: Path, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = list[asyncio.Event]()

    async def hang(*_: object, **__: object) -> None:
        hanging.append(asyncio.Event())
        await hanging[-1].wait()
        raise VenueUnavailable("timeout", "no answer")

    with controlled(config, cluster) as (running, trading):
        order = trading.buy("1", "99")
        trading.wait_until(lambda: order.state is OrderState.ACK)
        unknown = trading.buy_unknown()
        for name in ("cancel", "order", "open_orders", "fills_since", "balances"):
            monkeypatch.setattr(LossyAccount, name, hang)
        walk = Walk(running)
        requests = [
            (name, method, path.replace(IDS_OF_RULES["id"], str(order.id)).replace("main", "p"))
            for name, method, path in walk.everything()
            if path.startswith(("/orders", "/risk", "/providers/main/l", "/strategy/instances/watcher/"))
        ]
        requests.append(("queryOrder", "POST", f"/orders/{unknown.id}/query"))
        walk.send(requests)
        monkeypatch.undo()
        for each in hanging:
            trading.call_loop(_set(each))
        trading.call_loop(trading.lossy.carry_out_late)
        running.until(lambda: not any("flatten" in each.get_name() for each in asyncio.all_tasks()))
        walk.check()


def _set(event: asyncio.Event) -> Callable[[], Awaitable[None]]:
    async def set_event() -> None:
        event.set()

    return set_event
