"""The examples of the OpenAPI document are recorded responses.

After a change of the record, run this file with MELTICA_RECORD=1.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from meltica.control.routes.openapi import EXAMPLES
from tests.integration.test_control_recorded import FOLDER, RECORDING
from tests.support.gateway import Checked, Running

_RESPONSE = re.compile(
    r"^> (?P<method>[A-Z]+) (?P<path>/\S*)\n(?P<status>\d{3}) .*\n(?:.+\n)+\n(?P<body>[{].*)$", re.M
)


@pytest.fixture(scope="module")
def schema(control: Running) -> dict[str, Any]:
    return control.client.get("/openapi.json").json()


def _recorded(schema: dict[str, Any]) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Yields operation, status, body and schema of the recorded responses that the document describes."""
    checked = Checked(schema)
    for match in _RESPONSE.finditer((FOLDER / "control.http").read_text()):
        operation = checked.operation(match["method"], match["path"])
        described = operation and operation["responses"].get(match["status"])
        # An error that every operation has is described once, without an example.
        if operation and described and "application/json" in described.get("content", {}):
            of_body = described["content"]["application/json"]["schema"]
            whole = {**of_body, "components": {"schemas": checked.components}}
            yield operation["operationId"], match["status"], json.loads(match["body"]), whole


def _examples(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the first recorded response of each operation and status."""
    found: dict[str, dict[str, Any]] = {}
    for operation, status, body, described in _recorded(schema):
        # The version is masked in the record, so it has no example.
        validator: Validator = Draft202012Validator(described)
        if validator.is_valid(body):  # pyright: ignore[reportUnknownMemberType]
            found.setdefault(operation, {}).setdefault(status, body)
    return found


def test_examples_are_recorded_responses(schema: dict[str, Any]) -> None:
    text = json.dumps(_examples(schema), indent=1, ensure_ascii=False) + "\n"
    if RECORDING:
        EXAMPLES.write_text(text)
    assert text == EXAMPLES.read_text()


def test_the_document_has_the_examples(schema: dict[str, Any]) -> None:
    shown = {
        operation["operationId"]: {
            status: response["content"]["application/json"]["example"]
            for status, response in operation["responses"].items()
            if "example" in response.get("content", {}).get("application/json", {})
        }
        for item in schema["paths"].values()
        for operation in item.values()
    }
    assert {id: found for id, found in shown.items() if found} == _examples(schema)
    without = {id for id, found in shown.items() if not any(status < "300" for status in found)}
    # Nothing trades in the gateway of the record, so these are refused.
    refused = {"flattenScope", "cancelOrders", "cancelOrder"}
    refused |= {"queryOrder", "resolveOrder", "releasePositions"}
    refused |= {"bookDifference", "adoptOrder", "disownOrder"}
    not_json = {"version", "metrics", "openapi", "getModuleSource", "deleteModule", "streamEvents"}
    assert without == not_json | refused
    # Anywhere else, an example would be invented.
    assert str(schema).count("'example'") == sum(map(len, shown.values()))
    assert "'examples'" not in str(schema)
