"""A body with several faults: all are answered at once, each with the path of its key."""

from typing import Any

import pytest

from tests.integration.test_control_resources import failure
from tests.support.gateway import Running

ORDER = "/orders/00000000-0000-0000-0000-000000000001"
BODIES: dict[str, tuple[str, str, Any, set[str]]] = {
    "halt": ("POST", "/risk/halt", {"reasn": "x", "scope": 1}, {"reasn", "reason", "scope"}),
    "halt by meaning": ("POST", "/risk/halt", {"reason": " ", "scope": "provider"}, {"reason", "scope"}),
    "resume by meaning": ("POST", "/risk/resume", {"reason": "", "scope": "x:y"}, {"reason", "scope"}),
    "flatten": ("POST", "/risk/flatten", {"scope": [], "why": 1}, {"scope", "why", "reason"}),
    "cancel of a scope": (
        "POST",
        "/orders/cancel",
        {"reason": 1, "symbol": 2, "scpe": "global"},
        {"reason", "symbol", "scpe"},
    ),
    "cancel": ("POST", f"{ORDER}/cancel", {"reasn": "x"}, {"reasn", "reason"}),
    "resolve": ("POST", f"{ORDER}/resolve", {"state": "GONE"}, {"state", "reason"}),
    "release": (
        "POST",
        "/strategy/instances/watcher/positions/release",
        {"mode": "real", "uid": "x", "reason": None},
        {"mode", "uid", "reason"},
    ),
    "booking": (
        "POST",
        "/providers/main/lines/book",
        {"mode": "real", "currency": 1, "amunt": "1"},
        {"mode", "currency", "amunt", "amount", "reason"},
    ),
    "booking by meaning": (
        "POST",
        "/providers/main/lines/book",
        {"mode": "live", "currency": "BTC", "amount": "x", "reason": ""},
        {"amount", "reason"},
    ),
    "adoption": (
        "POST",
        "/providers/main/lost-orders/adopt",
        {"instance": 1},
        {"instance", "mode", "reason"},
    ),
    "retry": (
        "POST",
        "/outbox/consumers/hook/retry",
        {"events": [1, "x"], "event": [1]},
        {"events[1]", "event", "reason"},
    ),
    "retry by meaning": (
        "POST",
        "/outbox/consumers/hook/retry",
        {"events": [0], "reason": ""},
        {"events", "reason"},
    ),
    "token": (
        "POST",
        "/tokens",
        {"nme": "x", "scope": "root", "expiresAt": "x"},
        {"nme", "name", "scope", "expiresAt"},
    ),
    "tag": ("PUT", "/strategies/modules/grid/tags/x", {"hsh": "x", "refresh": 1}, {"hsh", "hash", "refresh"}),
    "refresh": ("POST", "/strategies/refresh", {"strategies": [1], "hash": []}, {"strategies[0]", "hash"}),
    "upload": (
        "POST",
        "/strategies/modules",
        {"tag": 1, "aliases": ["x", 1]},
        {"source", "tag", "aliases[1]"},
    ),
}
QUERIES = {
    "/orders?state=GONE": "state",
    "/orders?cursor=x": "cursor",
    "/orders?limit=x": "limit",
    "/events?kind=ordr": "kind",
}


@pytest.mark.parametrize("name", BODIES)
def test_all_faults_of_a_body_are_answered_at_once(control: Running, name: str) -> None:
    method, path, body, expected = BODIES[name]
    answer = control.client.request(method, path, json=body)
    text = failure(answer, 400, "validation_failed")
    faults = answer.json()["faults"]
    assert expected <= set(faults), faults
    for path, fault in faults.items():
        assert f"`{path}`" in fault
        assert fault in text
    unknown = [key for key in body if key not in ("reason", "scope") and f"`{key}` is unknown" in text]
    assert all("did you mean" in faults[key] or "expected one of" in faults[key] for key in unknown)


@pytest.mark.parametrize(("query", "name"), QUERIES.items())
def test_a_parameter_of_a_query_is_a_fault_with_its_name(control: Running, query: str, name: str) -> None:
    answer = control.client.get(query)
    failure(answer, 400, "invalid_parameter")
    assert set(answer.json()["faults"]) == {name}
