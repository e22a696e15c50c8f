"""Error responses: one table from exceptions to statuses and codes, one envelope for all of them."""

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    ClientException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.utils.scope.state import ScopeState
from msgspec import UNSET

from meltica.api.envelope import Failure
from meltica.errors import (
    AlreadyExists,
    ChangeInDoubt,
    Conflict,
    DatabaseError,
    DatabaseUnavailable,
    LockNotHeld,
    MelticaError,
    NotFound,
    OrderRefused,
    StartError,
    VenueError,
)
from meltica.http.body_faults import body_faults

log = logging.getLogger(__name__)

_FIELD = re.compile(r"Object (contains unknown|missing required) field `([^`]*)`")


class HttpError(MelticaError):
    """An error that has a status and a code of its own; `faults` lists what is wrong, by part."""

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        faults: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.faults = faults
        self.headers = headers or {}


HIDDEN = {
    "internal_error": "unexpected error inside Meltica; the log has the details",
    "database_refused": "the database refused the change, and nothing changed; the log has the reason",
}
"""Code -> the text of errors whose own text may contain anything, such as a row of the database."""
ERRORS: dict[type[Exception], tuple[int, str]] = {
    NotFound: (404, "not_found"),
    AlreadyExists: (409, "already_exists"),
    Conflict: (409, "conflict"),
    StartError: (400, "start_failed"),
    VenueError: (502, "venue_failed"),
    OrderRefused: (502, "venue_failed"),
    DatabaseError: (503, "database_refused"),
    DatabaseUnavailable: (503, "database_unavailable"),
    ChangeInDoubt: (503, "outcome_unknown"),
    LockNotHeld: (503, "lock_not_held"),
    ClientException: (400, "bad_json"),
    ValidationException: (400, "invalid_parameter"),
    NotFoundException: (404, "unknown_path"),
    MethodNotAllowedException: (405, "method_not_allowed"),
    Exception: (500, "internal_error"),
}
"""Exception -> status and code; the most specific class applies. An HttpError has its own."""


@dataclass(frozen=True)
class ErrorResponse:
    """An error as a response."""

    status: int
    failure: Failure
    headers: dict[str, str] = field(default_factory=dict[str, str])


def allowed(methods: Iterable[str]) -> str:
    """Returns the `Allow` header for the methods of a path. HEAD is allowed where GET is."""
    names = set(methods)
    return ", ".join(sorted(names | {"HEAD"} if "GET" in names else names))


def error_response(error: Exception, method: str, path: str, hint: str = "") -> ErrorResponse:
    """Maps an exception to the HTTP error response.

    Only the text of errors that are meant for clients is sent; other exceptions are logged. `hint` is added
    to the text about an unknown path.
    """
    if isinstance(error, HttpError):
        failure = Failure(error=str(error), code=error.code, faults=error.faults or UNSET)
        return ErrorResponse(error.status, failure, error.headers)
    status, code = next(ERRORS[kind] for kind in type(error).__mro__ if kind in ERRORS)
    if isinstance(error, NotFoundException):
        return ErrorResponse(status, Failure(error=f"path {path} does not exist{hint}", code=code))
    if isinstance(error, MethodNotAllowedException):
        expected = allowed((error.headers or {}).get("allow", "").split(", "))
        text = f"method {method} is not allowed for {path}; expected {expected}"
        return ErrorResponse(status, Failure(error=text, code=code), {"allow": expected})
    if isinstance(error, ValidationException):
        return ErrorResponse(status, request_faults(error))
    if isinstance(error, ClientException):  # Litestar raises it for JSON that it cannot decode
        return ErrorResponse(status, Failure(error=f"body is not valid JSON: {error.detail}", code=code))
    body_fault = _body_fault(error)
    if body_fault is not None:
        return ErrorResponse(400, body_fault)
    text = HIDDEN.get(code)
    if text is not None:
        log.error("%s %s failed", method, quote(path), exc_info=error)
    return ErrorResponse(status, Failure(error=text or str(error), code=code))


def request_faults(error: ValidationException) -> Failure:
    """Returns the faults in the parameters of a query, or in a body, by the path of their key."""
    extra = error.extra if isinstance(error.extra, list) else []
    if any(each["message"] == "'data'" for each in extra):  # Litestar's KeyError of a body that is absent
        text = "body required: send JSON; /openapi.json describes it"
        return Failure(error=text, code="invalid_parameter")
    faults = dict(_fault(each["message"], each.get("key", "")) for each in extra)
    code = "validation_failed" if any(each.get("source") == "body" for each in extra) else "invalid_parameter"
    return Failure(error="; ".join(faults.values()) or error.detail, code=code, faults=faults or UNSET)


def _fault(message: str, key: str) -> tuple[str, str]:
    """Returns the path of a key and its fault, from a message of msgspec."""
    outer = "" if key == "data" else _camel(key)
    if (match := _FIELD.fullmatch(message)) is None:
        return outer, f"`{outer}`: {message}" if outer else message
    path = f"{outer}.{match[2]}" if outer else match[2]
    text = "unknown" if match[1] == "contains unknown" else "required and was not given"
    return path, f"`{path}` is {text}"


def _body_fault(error: Exception) -> Failure | None:
    """Returns the fault of a body whose key is also the name of a dependency: Litestar blames the server."""
    cause = error.__cause__ or error.__context__
    if not isinstance(error, InternalServerException) or not isinstance(cause, msgspec.ValidationError):
        return None
    text, _, key = str(cause).partition(" - at `$.data.")
    path, fault = _fault(text, key.removesuffix("`") or "data")
    return Failure(error=fault, code="validation_failed", faults={path: fault}) if key else None


def _with_all_faults(request: Request[Any, Any, Any], response: ErrorResponse) -> ErrorResponse:
    """Adds the faults of a body after the first one, at which its decoder has ended."""
    content, field = ScopeState.from_scope(request.scope).body, request.route_handler.parsed_data_field
    found = {} if field is None or not isinstance(content, bytes) else body_faults(field.annotation, content)
    if not found:
        return response
    failure = Failure(error="; ".join(found.values()), code=response.failure.code, faults=found)
    return ErrorResponse(response.status, failure, response.headers)


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.title() for each in others)


def error_handler(hint: str) -> Callable[[Request[Any, Any, Any], Exception], Response[Failure]]:
    """Returns a Litestar exception handler; `hint` says where the paths are listed."""

    def handle(request: Request[Any, Any, Any], error: Exception) -> Response[Failure]:
        response = error_response(error, request.method, request.url.path, f"; {hint}")
        if response.failure.code == "validation_failed" and not isinstance(error, HttpError):
            response = _with_all_faults(request, response)
        return Response(
            response.failure,
            status_code=response.status,
            headers=response.headers,
            media_type="application/json",
        )

    return handle
