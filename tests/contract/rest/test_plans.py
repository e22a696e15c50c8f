"""`?plan=1` on every change: it answers what would change, and nothing does."""

from typing import Any

import psycopg
import pytest

from tests.contract.rest.cases import stored
from tests.contract.rest.test_rules import operations
from tests.integration.test_control_modules import EXAMPLE
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running

FIRST = EXAMPLE.replace('"1.0.0"', '"3.0.0"')
PINNED = "/strategy/instances/pinned"
STOPPED = {"id": "planned", "strategy": {"selector": "grid"}, "scope": {"main": {"symbols": ["BTC-USDT"]}}}
WHY = {"scope": "instance:pinned", "reason": "planned"}
NEED_TRADING = {
    "adoptOrder",
    "bookDifference",
    "cancelOrder",
    "cancelOrders",
    "disownOrder",
    "flattenScope",
    "queryOrder",
    "releasePositions",
    "resolveOrder",
}
"""Operations whose plans are tested on a gateway that trades."""
CHANGE_NOTHING = {"issueEventTicket"}
PLANS: dict[str, tuple[str, Any, str, set[str]]] = {
    "restoreBackup": ("/context/backup", None, "none", set()),
    "updateRuntimeConfig": ("/config/runtime", {"eventbus": {"bufferSize": 901}}, "update", set()),
    "revertRuntimeConfig": ("/config/runtime", None, "update", set()),
    "restoreConfigBackup": ("/config/backup", None, "none", set()),
    "createProvider": (
        "/providers",
        {"name": "planned", "adapter": {"identifier": "test-venue", "config": {"api_key": "x"}}},
        "create",
        {"name", "adapter", "secrets", "settings"},
    ),
    "updateProvider": (
        "/providers/made",
        {"adapter": {"identifier": "test-venue", "config": {"api_key": "********", "depth": 8}}},
        "update",
        {"settings"},
    ),
    "deleteProvider": ("/providers/made", None, "delete", {"name", "adapter", "secrets", "settings"}),
    "startProvider": ("/providers/made/start", None, "start", {"status"}),
    "stopProvider": ("/providers/main/stop", None, "stop", {"status"}),
    "haltScope": ("/risk/halt", WHY, "halt", {"halted"}),
    "resumeScope": ("/risk/resume", WHY, "none", set()),
    "updateRiskLimits": (
        "/risk/limits",
        {"providers": {"made": {"maxOpenOrders": 3}}},
        "update",
        {"provider:made"},
    ),
    "uploadModule": (
        "/strategies/modules",
        {"source": FIRST},
        "update",
        {"revisions", "tag:3.0.0", "tag:latest"},
    ),
    "updateModule": (
        "/strategies/modules/grid",
        {"source": FIRST, "promoteLatest": False},
        "update",
        {"revisions", "tag:3.0.0"},
    ),
    "deleteModule": ("/strategies/modules/grid:odd", None, "update", {"revisions", "tag:odd"}),
    "setModuleTag": ("/strategies/modules/grid/tags/1.0.0", {"hash": "SECOND"}, "update", {"tag:1.0.0"}),
    "deleteModuleTag": (
        "/strategies/modules/grid/tags/odd",
        None,
        "update",
        {"tag:odd"},
    ),
    "refreshStrategies": ("/strategies/refresh", None, "none", set()),
    "createInstance": ("/strategy/instances", STOPPED, "create", set()),
    "updateInstance": (PINNED, {"strategy": {"config": {"step": 0.25}}}, "update", {"config"}),
    "deleteInstance": (PINNED, None, "delete", set()),
    "restartInstance": (f"{PINNED}/restart", None, "restart", {"status"}),
    "startInstance": (f"{PINNED}/start", None, "start", {"status"}),
    "stopInstance": ("/strategy/instances/watcher/stop", None, "stop", {"status"}),
    "startInstances": ("/strategy/start", {"instances": ["pinned"]}, "start", {"pinned"}),
    "stopInstances": ("/strategy/stop", {"instances": ["watcher", "pinned"]}, "stop", {"watcher"}),
    "createToken": ("/tokens", {"name": "planned", "scope": "viewer"}, "create", {"name", "scope"}),
    "revokeToken": ("/tokens/ID", None, "update", {"revokedAt"}),
    "deleteOutboxEvent": ("/outbox/ID", None, "delete", {"aggregateType", "aggregateId", "eventType"}),
    "retryDeadLetters": (
        "/outbox/consumers/hook/retry",
        {"reason": "planned"},
        "create",
        {"events", "reason"},
    ),
    "dropDeadLetters": (
        "/outbox/consumers/hook/drop",
        {"reason": "planned"},
        "create",
        {"events", "reason"},
    ),
}
"""Operation -> path, body, effect and what at least changes."""
QUERIES = {"deleteModuleTag": {"allowOrphan": "true"}}


@pytest.fixture(name="ids", scope="module")
def _ids(full: Running) -> dict[str, str]:
    """Returns the ids that the paths and bodies name."""
    token = ok(full.client.post("/tokens", json={"name": "other", "scope": "viewer"}), 201)["token"]["id"]
    with psycopg.connect(full.gateway.database.dsn) as connection:
        connection.execute("insert into outbox_consumers (name) values ('hook')")
        row = connection.execute(
            "insert into outbox (aggregate_type, aggregate_id, event_type, payload)"
            " values ('order', 'x', 'order.ack', '{}') returning id"
        ).fetchone()
        assert row is not None
        connection.execute(
            "insert into outbox_deliveries (consumer, event, dead) values ('hook', %s, true)", row
        )
    second = full.client.get("/strategies/modules/grid:2.0.0").json()["hash"]
    return {"revokeToken": token, "deleteOutboxEvent": str(row[0]), "setModuleTag": second}


def test_every_change_has_a_plan(full: Running) -> None:
    paths = full.client.get("/openapi.json").json()["paths"]
    changes = {each["operationId"] for _, _, each in operations(paths, "POST", "PUT", "DELETE")}
    assert changes == {*PLANS, *NEED_TRADING, *CHANGE_NOTHING}


@pytest.mark.parametrize("operation", PLANS)
def test_a_plan_answers_what_would_change_and_changes_nothing(
    full: Running, ids: dict[str, str], operation: str
) -> None:
    path, body, effect, changes = PLANS[operation]
    path = path.replace("ID", ids.get(operation, ""))
    if operation == "setModuleTag":
        body = {"hash": ids[operation]}
    if path.endswith("/backup"):
        body = full.client.get(path).json()
    paths = full.client.get("/openapi.json").json()["paths"]
    [method] = [
        m for m, _, each in operations(paths, "POST", "PUT", "DELETE") if each["operationId"] == operation
    ]
    before, running = stored(full), full.client.get("/strategy/instances").json()
    plan = ok(
        full.client.request(method, path, params={"plan": "1", **QUERIES.get(operation, {})}, json=body)
    )
    assert plan["effect"] == effect, plan
    assert changes <= set(plan["changes"]), plan
    assert bool(plan["changes"]) == (effect != "none"), plan
    assert {name: rows for name, rows in stored(full).items() if rows != before[name]} == {}
    shown = full.client.get("/strategy/instances").json()
    assert [each["status"] for each in shown["instances"]] == [
        each["status"] for each in running["instances"]
    ]


@pytest.mark.parametrize("operation", ["setModuleTag", "createToken", "haltScope", "stopInstance"])
def test_a_version_that_is_not_current_changes_nothing(
    full: Running, ids: dict[str, str], operation: str
) -> None:
    path, body, _, _ = PLANS[operation]
    body = {"hash": ids[operation]} if operation == "setModuleTag" else body
    method = "PUT" if operation == "setModuleTag" else "POST"
    before = stored(full)
    answer = full.client.request(method, path, json=body, headers={"if-match": '"old"'})
    assert failure(answer, 412, "precondition_failed")
    assert stored(full) == before
