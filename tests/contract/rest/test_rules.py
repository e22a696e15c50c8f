"""Rules that every route keeps, checked along the OpenAPI document: a new route cannot be forgotten."""

from typing import Any

import httpx
import pytest

from meltica.control.query import BOOLEANS
from tests.contract.rest.cases import stored
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running

UNKNOWN = "zzUnknown"
IDS = {
    "name": "main",
    "id": "00000000-0000-4000-8000-000000000000",
    "selector": "grid",
    "tag": "1.0.0",
    "identifier": "test-venue",
}
MODULES = "/strategies/modules"
ROUND_TRIPS = {
    "/providers/{name}": ["/providers/main", "/providers/refusing", "/providers/made"],
    "/strategy/instances/{id}": [
        f"/strategy/instances/{id}" for id in ("watcher", "large-trades", "unloaded", "pinned", "latest")
    ],
    "/risk/limits": ["/risk/limits"],
    "/config/runtime": ["/config/runtime"],
    "/strategies/modules/{selector}": [f"{MODULES}/{each}" for each in ("grid", "grid:1.0.0", "grid:odd")],
    "/strategies/modules/{name}/tags/{tag}": [f"{MODULES}/grid/tags/1.0.0", f"{MODULES}/grid/tags/latest"],
}
"""Path of a PUT in the document -> resources whose representation is sent back."""


@pytest.fixture(name="paths", scope="module")
def _paths(full: Running) -> dict[str, dict[str, Any]]:
    return full.client.get("/openapi.json").json()["paths"]


def filled(path: str, item: dict[str, Any]) -> str:
    """Returns a path of the document with the names of resources that exist."""
    ids = IDS | {"id": "watcher"} if path.startswith("/strategy/instances") else IDS
    for parameter in next(iter(item.values())).get("parameters", []):
        if parameter["in"] == "path":
            number = parameter["schema"]["type"] == "integer"
            path = path.replace(f"{{{parameter['name']}}}", "1" if number else ids[parameter["name"]])
    return path


def operations(paths: dict[str, dict[str, Any]], *methods: str) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, operation)
        for path, item in paths.items()
        for method, operation in item.items()
        if method.upper() in methods
    ]


def test_options_lists_the_methods_of_a_path(full: Running, paths: dict[str, dict[str, Any]]) -> None:
    for path, item in paths.items():
        answer = full.client.options(filled(path, item))
        expected = {method.upper() for method in item} | {"OPTIONS"}
        expected |= {"HEAD"} if "GET" in expected else set()
        assert answer.status_code == 204, path
        assert answer.headers["allow"] == ", ".join(sorted(expected)), path
        refused = full.client.request("PATCH", filled(path, item))
        assert (refused.status_code, refused.headers["allow"]) == (405, answer.headers["allow"]), path


def test_an_empty_value_of_a_read_is_that_of_an_absent_parameter(
    full: Running, paths: dict[str, dict[str, Any]]
) -> None:
    tried = 0
    for _, path, operation in operations(paths, "GET"):
        declared = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
        if declared and path != "/events":  # a stream
            tried += 1
            url = filled(path, paths[path])
            without, empty = (
                full.client.get(url, params=dict.fromkeys(names, "")) for names in ((), declared)
            )
            assert (without.status_code, empty.status_code) == (200, 200), (path, without.text, empty.text)
            assert without.json().keys() == empty.json().keys(), path
    assert tried > 10


def booleans(operation: dict[str, Any]) -> list[str]:
    """Returns the parameters that are true or false; some are described by their spellings."""
    found: list[str] = []
    for each in operation.get("parameters", ()):
        schema = each.get("schema", {})
        if each["in"] == "query" and (schema.get("type") == "boolean" or "true" in schema.get("enum", ())):
            found.append(each["name"])
    return found


def test_a_boolean_has_any_spelling_of_existing_clients(
    full: Running, paths: dict[str, dict[str, Any]]
) -> None:
    names = set[str]()
    for method, path, operation in operations(paths, "GET", "POST", "PUT", "DELETE"):
        for name in booleans(operation):
            names.add(name)
            for text in (*"1tT0fF", "TRUE", "True", "FALSE", "False", ""):
                # With a parameter that is not valid, so that nothing changes.
                query = {name: text, **({} if method == "GET" else {UNKNOWN: "1"})}
                answer = full.client.request(method, filled(path, paths[path]), params=query)
                faults = answer.json().get("faults", {})
                assert name not in faults, (method, path, query, answer.text)
            wrong = full.client.request(method, filled(path, paths[path]), params={name: "yes"}, json={})
            assert wrong.status_code == 400, (method, path, name, wrong.text)
    assert names == BOOLEANS


def test_a_boolean_means_the_same_in_each_spelling(full: Running) -> None:
    def planned(text: str) -> Any:
        return full.client.put("/risk/limits", params={"plan": text}, json={"maxOpenOrders": 77}).json()

    for text in ("1", "t", "T", "TRUE", "true", "True"):
        assert planned(text)["effect"] == "update"
        usage = full.client.get("/strategies/modules/grid/usage", params={"includeStopped": text})
        assert usage.json()["total"] > 0
    for text in ("0", "f", "F", "FALSE", "false", "False", ""):
        usage = full.client.get("/strategies/modules/grid/usage", params={"includeStopped": text})
        assert usage.json()["total"] == 0
    assert "maxOpenOrders" not in ok(full.client.get("/risk/limits"))["limits"]


def test_changes_refuse_unknown_query_parameters(full: Running, paths: dict[str, dict[str, Any]]) -> None:
    for method, path, _ in operations(paths, "POST", "PUT", "DELETE"):
        answer = full.client.request(method, filled(path, paths[path]), params={UNKNOWN: "1"})
        assert failure(answer, 400, "invalid_parameter"), (method, path)
        assert set(answer.json()["faults"]) == {UNKNOWN}, (method, path)


def test_changes_refuse_unknown_keys_with_their_path(full: Running, paths: dict[str, dict[str, Any]]) -> None:
    for method, path, operation in operations(paths, "POST", "PUT", "DELETE"):
        if "requestBody" in operation:
            required = {"source": "pass"} if path.startswith(MODULES) and "tags" not in path else {}
            answer = full.client.request(method, filled(path, paths[path]), json={UNKNOWN: 1, **required})
            assert failure(answer, 400, "validation_failed"), (method, path)
            assert UNKNOWN in answer.json()["faults"], (method, path)


def represented(client: httpx.Client, path: str) -> dict[str, Any]:
    """Returns what GET answers, completed by what the resource has on a path of its own."""
    if "/tags/" in path:
        module, _, tag = path.rpartition("/tags/")
        return {"hash": ok(client.get(module))["tagAliases"][tag]}
    body = ok(client.get(path))
    return {**body, "source": client.get(f"{path}/source").text} if path.startswith(MODULES) else body


def test_sending_back_a_representation_changes_nothing(
    full: Running, paths: dict[str, dict[str, Any]]
) -> None:
    assert {path for _, path, _ in operations(paths, "PUT")} == set(ROUND_TRIPS)
    for path in [path for resources in ROUND_TRIPS.values() for path in resources]:
        before, rows = represented(full.client, path), stored(full)
        version = full.client.get(path).headers.get("etag")
        answer = full.client.put(path, json=before)
        assert answer.status_code in (200, 204), (path, answer.text)
        after = stored(full)
        assert not [name for name in rows if rows[name] != after[name]], path
        assert represented(full.client, path).keys() == before.keys()
        assert full.client.get(path).headers.get("etag") == version
