"""The OpenAPI document; `Checked` compares every response in the tests of the control plane with it."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from meltica.api.keys import DESCRIPTIONS
from meltica.control.document import BODIES
from tests.support.gateway import Checked, Running
from tests.support.paths import ROOT
from tests.support.rest_schemas import ANSWERS

PUBLIC = {"/health/live", "/health/serving"}
PAGE = ROOT / "docs" / "rest.md"


@pytest.fixture(scope="module")
def schema(control: Running) -> dict[str, Any]:
    return control.client.get("/openapi.json").json()


def _operations(schema: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    }


def test_the_document_is_valid(schema: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(schema).validate()
    assert schema["openapi"].startswith("3.1")
    for component in schema["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(component)
    references = set(re.findall(r"#/components/schemas/(\w+)", str(schema)))
    assert references == set(schema["components"]["schemas"])
    ids = [operation["operationId"] for operation in _operations(schema).values()]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in _operations(schema).values())
    assert not [part for part in _parts(schema) if len(part.get("oneOf", [0, 0])) == 1]
    assert "null" not in re.findall(r"'type': '(\w+)'", str(schema))
    responses = [each for at in _operations(schema).values() for each in at["responses"].values()]
    contents = [kind for each in responses for kind in each.get("content", {}).values()]
    assert all(kind["schema"] for kind in contents)


def test_everything_is_described(schema: dict[str, Any]) -> None:
    operations = _operations(schema)
    assert all(operation["description"] for operation in operations.values())
    tags = {tag for operation in operations.values() for tag in operation["tags"]}
    assert tags == {tag["name"] for tag in schema["tags"] if tag["description"]}
    assert not [
        (at, parameter["name"])
        for at, operation in operations.items()
        for parameter in operation["parameters"]
        if not parameter["description"]
    ]
    answers = {name: each for name, each in schema["components"]["schemas"].items() if "properties" in each}
    assert not [name for name, each in answers.items() if not each.get("description")]


def keys_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the keys of all schemas and of bodies, each with its path."""
    found = [("body of " + each["operationId"], body) for each, body in bodies_of(schema)]
    found += schema["components"]["schemas"].items()
    for name, described in found:
        for key, shown in described.get("properties", {}).items():
            yield f"{name}.{key}", shown


def bodies_of(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for item in schema["paths"].values():
        for operation in item.values():
            if "requestBody" in operation:
                yield operation, operation["requestBody"]["content"]["application/json"]["schema"]


def test_every_key_is_described(schema: dict[str, Any]) -> None:
    keys = dict(keys_of(schema))
    assert len(keys) > 700
    assert [key for key, shown in keys.items() if not shown.get("description")] == []
    used = {shown["description"] for shown in keys.values()}
    assert [key for key, text in DESCRIPTIONS.items() if text not in used] == [], "needed nowhere"
    assert [key for key, shown in keys.items() if len(shown["description"]) > 400] == []


def test_what_handlers_read_from_a_request_is_declared(schema: dict[str, Any]) -> None:
    """Parameters of their signatures are in the document by themselves; these are not."""
    read = set[str]()
    for file in (ROOT / "python" / "meltica" / "control").rglob("*.py"):
        read |= set(re.findall(r"(?:query_params|headers)\.get\(\"([\w-]+)\"", file.read_text()))
    parameters = [
        (parameter["in"], parameter["name"].lower())
        for operation in _operations(schema).values()
        for parameter in operation["parameters"]
    ]
    # OpenAPI does not declare `Accept` as a parameter.
    assert read - {"accept"} <= {name for _, name in parameters}
    headers = {name for place, name in parameters if place == "header"}
    assert headers == {"if-match", "last-event-id", "x-meltica-passphrase", "x-meltica-request-id"}


def test_changes_take_the_query_parameters_that_are_declared(
    control: Running, schema: dict[str, Any]
) -> None:
    for (method, path), operation in _operations(schema).items():
        for parameter in operation["parameters"]:
            if method != "GET" and parameter["in"] == "query":
                names = dict.fromkeys(re.findall(r"\{(\w+)\}", path), "x")
                id = names | ({"id": str(UUID(int=1))} if path.startswith("/orders") else {})
                answer = control.client.request(method, path.format(**id), params={parameter["name"]: "%"})
                assert answer.status_code >= 400
                assert "is unknown" not in answer.text, (method, path, parameter["name"])


def test_bodies_take_the_keys_that_are_declared(control: Running, schema: dict[str, Any]) -> None:
    models = set[str]()
    for file in (ROOT / "python" / "meltica" / "control").rglob("*.py"):
        models |= set(re.findall(r"\bread_body\((\w+Request)\b", file.read_text()))
    assert models == {model.__name__ for model, _ in BODIES.values()}
    for (method, path), operation in _operations(schema).items():
        if "requestBody" not in operation:
            continue
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        whole = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]] if "$ref" in body else body
        ids = {"name": "refusing", "id": "unloaded", "selector": "x", "tag": "x"}
        ids |= {"id": str(UUID(int=1))} if path.startswith("/orders") else {}
        for key in whole["properties"]:
            plan = {"plan": "1"} if "'plan'" in str(operation["parameters"]) else {}
            wrong: Any = {key: {"zz": {}}}
            answer = control.client.request(method, path.format(**ids), json=wrong, params=plan)
            assert plan or answer.status_code >= 400, (method, path, key)
            unknown = [at for at, text in answer.json().get("faults", {}).items() if "is unknown" in text]
            assert key not in unknown, (method, path, key)


def _parts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(part for inner in value.values() for part in _parts(inner))]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [part for inner in value for part in _parts(inner)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return []


def test_it_lists_the_documented_routes_and_those_of_existing_clients(schema: dict[str, Any]) -> None:
    described = set(_operations(schema))
    explained = {
        (method, path)
        for method, path in re.findall(r"^\| (GET|POST|PUT|DELETE) \| `(/[^`]*)` \|", PAGE.read_text(), re.M)
    }
    assert explained == described
    checked = Checked(schema)
    assert all(checked.operation(method, path) is not None for method, path in ANSWERS)


def test_every_operation_has_the_error_envelope(schema: dict[str, Any]) -> None:
    checked = Checked(schema)
    failure = {"$ref": "#/components/schemas/Failure"}
    for operation in _operations(schema).values():
        assert "default" in operation["responses"]
        for status in operation["responses"]:
            described = checked.documented(operation, 500 if status == "default" else int(status))
            assert described is not None
            if status == "422":  # existing clients read the faults of a module
                (kind,) = described["content"].values()
                assert kind["schema"] == {"$ref": "#/components/schemas/ModuleFaults"}
            elif status[0] in "45d":
                assert described["content"]["application/json"]["schema"] == failure


def test_only_liveness_needs_no_token_and_changes_need_an_operator(schema: dict[str, Any]) -> None:
    """Every route is in this table: a new one states its scope, and here why it is narrow."""
    operations = _operations(schema)
    scopes = {at: operation.get("x-token-scope") for at, operation in operations.items()}
    assert {path for (_, path), scope in scopes.items() if scope is None} == PUBLIC
    assert all(
        operation["security"][:1] == ([{"token": []}] if scopes[at] else [])
        for at, operation in operations.items()
    )
    others = {at for at, operation in operations.items() if operation["security"][1:]}
    assert others == {("GET", "/events")}
    assert operations["GET", "/events"]["security"][1:] == [{"ticket": []}]
    # A ticket has the rights of its client, and opens a stream.
    changes = {at: scope for at, scope in scopes.items() if at[0] != "GET" and at[1] != "/events/tickets"}
    assert not [at for at, scope in changes.items() if scope not in ("operator", "admin")]


def test_the_checker_finds_undocumented_responses(schema: dict[str, Any]) -> None:
    checked = Checked(schema)
    operation = checked.operation("GET", "/providers/main/?x=1")
    assert operation is not None
    live = checked.operation("GET", "/health/live")
    assert live is not None
    headers = {"x-meltica-request-id": "1"}
    checked.check(live, 200, httpx.Response(200, json={"status": "live"}, headers=headers))
    bodies: list[object] = [{"status": "dead"}, {}, {"status": "live", "more": 1}, []]
    for body in bodies:
        with pytest.raises(jsonschema.ValidationError):
            checked.check(live, 200, httpx.Response(200, json=body, headers=headers))
    with pytest.raises(AssertionError, match="x-more"):
        checked.check(live, 200, httpx.Response(200, headers={**headers, "x-more": "1"}))
    with pytest.raises(AssertionError, match="was not sent"):
        checked.check(live, 200, httpx.Response(200))
    with pytest.raises(AssertionError, match="204 is not documented"):
        checked.check(live, 204, httpx.Response(204))
    with pytest.raises(jsonschema.ValidationError):
        checked.check(live, 500, httpx.Response(500, json={"detail": "no"}, headers=headers))
