"""The error response of each exception."""

import ast
import logging
import re
from itertools import pairwise

import msgspec
import pytest
from litestar.exceptions import (
    ClientException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from meltica import errors
from meltica.api.envelope import Failure
from meltica.control.readiness import NotReady
from meltica.http.errors import ERRORS, HttpError, error_response
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "rest.md"
TABLE: dict[str, tuple[Exception, int, str, str]] = {
    "NotFound": (errors.NotFound("no x"), 404, "not_found", "no x"),
    "AlreadyExists": (errors.AlreadyExists("x is there"), 409, "already_exists", "x is there"),
    "Conflict": (errors.Conflict("x runs"), 409, "conflict", "x runs"),
    "StartError": (errors.StartError("x failed"), 400, "start_failed", "x failed"),
    "DatabaseUnavailable": (errors.DatabaseUnavailable("gone"), 503, "database_unavailable", "gone"),
    "DatabaseError": (
        errors.DatabaseError("row (1, hunter2) was refused"),
        503,
        "database_refused",
        "the database refused the change, and nothing changed; the log has the reason",
    ),
    "ChangeInDoubt": (errors.ChangeInDoubt("unknown"), 503, "outcome_unknown", "unknown"),
    "LockNotHeld": (errors.LockNotHeld("not held"), 503, "lock_not_held", "not held"),
    "OrderRefused": (
        errors.OrderRefused("unknown_order", "it has ended"),
        502,
        "venue_failed",
        "unknown_order: it has ended",
    ),
    "VenueError": (
        errors.VenueUnavailable("timeout", "no answer"),
        502,
        "venue_failed",
        "timeout: no answer",
    ),
    "NotReady": (NotReady({"lock": "is not held"}), 503, "not_ready", "lock is not held"),
    "ClientException": (
        ClientException("Number out of range"),
        400,
        "bad_json",
        "body is not valid JSON: Number out of range",
    ),
    "ValidationException": (
        ValidationException(extra=[{"key": "order_id", "message": "Invalid UUID"}]),
        400,
        "invalid_parameter",
        "`orderId`: Invalid UUID",
    ),
    "NotFoundException": (
        NotFoundException(),
        404,
        "unknown_path",
        "path /x does not exist; see /openapi.json",
    ),
    "MethodNotAllowedException": (
        MethodNotAllowedException(headers={"allow": "POST, OPTIONS, GET"}),
        405,
        "method_not_allowed",
        "method PUT is not allowed for /x; expected GET, HEAD, OPTIONS, POST",
    ),
    "Exception": (
        KeyError("hunter2"),
        500,
        "internal_error",
        "unexpected error inside Meltica; the log has the details",
    ),
    "HttpError": (HttpError(413, "body_too_large", "too much"), 413, "body_too_large", "too much"),
}


def test_every_row_is_tested_and_documented() -> None:
    page = PAGE.read_text()
    for status, code in ERRORS.values():
        assert f"| {status} | `{code}` |" in page
    assert {kind.__name__ for kind in ERRORS} | {"NotReady", "HttpError"} == set(TABLE)


def test_every_code_of_a_refusal_is_documented() -> None:
    rows = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| (.*?) \|", PAGE.read_text(), re.M)
        for code in re.findall(r"`(\w+)`", codes)
    }
    found: set[tuple[int, str]] = set()
    for package in ("control", "http"):
        for path in (ROOT / "python" / "meltica" / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call | ast.Tuple):
                    found |= refusals(call.args if isinstance(call, ast.Call) else call.elts)
    assert len(found) > 20
    assert found - rows == set()


def refusals(values: list[ast.expr]) -> set[tuple[int, str]]:
    """Returns each status with its code: a number and a text that stand side by side."""
    constants = [each.value if isinstance(each, ast.Constant) else None for each in values]
    return {
        (status, code)
        for status, code in pairwise(constants)
        if isinstance(status, int) and status in range(400, 600) and isinstance(code, str)
    }


@pytest.mark.parametrize(("error", "status", "code", "text"), TABLE.values(), ids=TABLE)
def test_error_responses(error: Exception, status: int, code: str, text: str) -> None:
    response = error_response(error, "PUT", "/x", "; see /openapi.json")
    assert (response.status, response.failure.code, response.failure.error) == (status, code, text)
    assert msgspec.to_builtins(response.failure)["status"] == "error"


@pytest.mark.parametrize(
    "error",
    [
        errors.MelticaError("hunter2"),
        errors.LambdaLoadError("hunter2"),
        OSError("hunter2"),
        RecursionError(),
    ],
)
def test_other_exceptions_are_logged_and_hidden(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = error_response(error, "GET", "/x")
    assert (response.status, response.failure.code) == (500, "internal_error")
    assert "hunter2" not in response.failure.error
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_the_envelope() -> None:
    assert msgspec.json.encode(Failure(error="e", code="c")) == b'{"status":"error","error":"e","code":"c"}'
    response = error_response(NotReady({"a": "b"}), "GET", "/x")
    assert msgspec.to_builtins(response.failure)["faults"] == {"a": "b"}
    assert error_response(MethodNotAllowedException(headers={"allow": "B, A"}), "C", "/").headers == {
        "allow": "A, B"
    }
