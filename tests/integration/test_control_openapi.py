"""The OpenAPI document; `Checked` compares every response in the tests of the control plane with it."""

import re
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

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
        operation["security"] == ([{"token": []}] if scopes[at] else [])
        for at, operation in operations.items()
    )
    # A ticket has the rights of its client, and opens a stream.
    changes = {at: scope for at, scope in scopes.items() if at[0] != "GET" and at[1] != "/events/tickets"}
    assert not [at for at, scope in changes.items() if scope not in ("operator", "admin")]


def test_the_checker_finds_undocumented_responses(schema: dict[str, Any]) -> None:
    checked = Checked(schema)
    operation = checked.operation("GET", "/providers/main/?x=1")
    assert operation is not None
    live = checked.operation("GET", "/health/live")
    assert live is not None
    checked.check(live, 200, httpx.Response(200, json={"status": "live"}))
    bodies: list[object] = [{"status": "dead"}, {}, {"status": "live", "more": 1}, []]
    for body in bodies:
        with pytest.raises(jsonschema.ValidationError):
            checked.check(live, 200, httpx.Response(200, json=body))
    with pytest.raises(AssertionError, match="204 is not documented"):
        checked.check(live, 204, httpx.Response(204))
    with pytest.raises(jsonschema.ValidationError):
        checked.check(live, 500, httpx.Response(500, json={"detail": "no"}))
