"""A change that changes nothing: it is not audited, the version stays, and nothing is run again."""

import hashlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_resources import ok
from tests.support.gateway import Running, database, running

SOURCE = (
    "import meltica\n\nclass Grid(meltica.Lambda):\n    version = '1'\n    def on_trade(self, trade): pass\n"
)
HASH = f"sha256:{hashlib.sha256(SOURCE.encode()).hexdigest()}"
PROVIDER = {
    "name": "made",
    "adapter": {"identifier": "test-venue", "config": {"api_key": "hunter2", "depth": 5}},
}
INSTANCE = {
    "id": "made",
    "strategy": {"identifier": "LargeTrades", "config": {"notional": 5}},
    "scope": {"made": {"symbols": ["BTC-USDT"]}},
}
LIMITS = {
    "limits": {"maxOpenOrders": 9},
    "providers": {"made": {"maxDailyLoss": "12.50", "orderThrottle": 3}},
}
RESOURCES = {
    "provider": "/providers/made",
    "instance": "/strategy/instances/made",
    "limits": "/risk/limits",
    "backup": "/context/backup",
}
CHANGES: dict[str, tuple[str, str, Any]] = {
    "a provider as it was created": ("PUT", "/providers/made", {**PROVIDER, "enabled": True}),
    "a provider with its secret": (
        "PUT",
        "/providers/made",
        {"settings": {"api_key": "hunter2", "depth": 5, "region": None}},
    ),
    "a provider with a masked secret": (
        "PUT",
        "/providers/made",
        {"settings": {"api_key": "*" * 8, "depth": 5}},
    ),
    "a provider without its secret": ("PUT", "/providers/made", {"settings": {"depth": 5}}),
    "a provider with a number as text": ("PUT", "/providers/made", {"settings": {"depth": "5"}}),
    "a provider without anything": ("PUT", "/providers/made", {}),
    "an instance as it was created": ("PUT", "/strategy/instances/made", INSTANCE),
    "an instance with its number as another type": (
        "PUT",
        "/strategy/instances/made",
        {"strategy": {"config": {"notional": 5.0}}},
    ),
    "an instance with a number as text": (
        "PUT",
        "/strategy/instances/made",
        {"strategy": {"config": {"notional": "5"}}},
    ),
    "an instance without anything": ("PUT", "/strategy/instances/made", {}),
    "limits as they are": ("PUT", "/risk/limits", LIMITS),
    "limits in another form": (
        "PUT",
        "/risk/limits",
        {
            "limits": {"MaxOpenOrders": "9"},
            "providers": {"made": {"maxDailyLoss": "12.5", "OrderThrottle": 3.0}},
        },
    ),
    "the removal of a limit that is absent": (
        "PUT",
        "/risk/limits",
        {"providers": {"made": {"maxOrderSize": None}}},
    ),
    "limits without anything": ("PUT", "/risk/limits", {}),
    "a module with its bytes": ("POST", "/strategies/modules", {"source": SOURCE}),
    "a module with its bytes by its selector": ("PUT", "/strategies/modules/grid:1", {"source": SOURCE}),
    "a tag to its revision": ("PUT", "/strategies/modules/grid/tags/stable", {"hash": HASH}),
    "a refresh": ("POST", "/strategies/refresh", {}),
}
TABLES = ("providers", "instances", "risk_limits", "module_revisions", "module_tags", "audit", "outbox")


@pytest.fixture(name="made", scope="module")
def _made(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    with database(cluster) as dsn, running(config, dsn) as control:
        client = control.client
        ok(client.post("/providers", json=PROVIDER), 202)
        control.until(lambda: control.gateway.providers.get("made").running)
        ok(client.post("/strategy/instances", json=INSTANCE), 201)
        ok(client.post("/strategies/modules", json={"source": SOURCE}), 201)
        ok(client.put("/strategies/modules/grid/tags/stable", json={"hash": HASH}))
        ok(client.put("/risk/limits", json=LIMITS))
        ok(client.post("/strategy/instances/made/start"))
        control.settle()
        yield control


def state(control: Running) -> dict[str, Any]:
    """Returns all rows, the versions of all resources, and the runs."""
    gateway = control.gateway
    with psycopg.connect(gateway.database.dsn) as connection:
        rows: dict[str, Any] = {
            name: connection.execute(f"select * from {name} order by 1".encode()).fetchall()
            for name in TABLES
        }
    versions = {name: control.client.get(path).headers.get("etag") for name, path in RESOURCES.items()}
    runs = {each.id: id(each.run) for each in gateway.instances.all()}
    providers = {
        each.name: (id(each.account), each.restarts, each.actual) for each in gateway.providers.all()
    }
    return {**rows, **versions, "runs": runs, "ran": providers}


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_is_written_and_nothing_is_run_again(made: Running, name: str) -> None:
    from tests.support.venue import Venue

    method, path, body = CHANGES[name]
    before, producer = state(made), Venue.producers["made"]
    answer = made.client.request(method, path, json=body)
    assert answer.is_success, answer.text
    made.settle()
    after = state(made)
    assert [key for key in before if before[key] != after[key]] == []
    assert Venue.producers["made"] is producer
    plan = ok(made.client.request(method, f"{path}?plan=1", json=body))
    assert (plan["effect"], plan["changes"]) == ("none", {})
    if "etag" in answer.headers:
        assert plan["etag"] == answer.headers["etag"]


@pytest.mark.parametrize("path", RESOURCES.values())
def test_sending_back_what_get_answers_writes_nothing(made: Running, path: str) -> None:
    before = state(made)
    method: Callable[..., Any] = made.client.post if path == "/context/backup" else made.client.put
    assert method(path, json=ok(made.client.get(path))).is_success
    made.settle()
    assert state(made) == before
