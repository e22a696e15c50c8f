"""Queries as existing clients send them.

1. A parameter of a read without a value is absent. A change names its unknown parameters, also those.
2. A boolean has any spelling of Go's `strconv.ParseBool`; without a value it is false.
"""

from typing import Any, Final

from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from meltica.control.bodies import bad_parameter

BOOLEANS: Final = frozenset(
    {"allowOrphan", "dead", "delivered", "includeStopped", "latest", "plan", "runningOnly", "sameAccount"}
    | {"start"}
)
"""The parameters that are true or false, on any path that takes them."""
SPELLINGS: Final = {
    **dict.fromkeys((b"1", b"t", b"T", b"true", b"TRUE", b"True"), b"true"),
    **dict.fromkeys((b"0", b"f", b"F", b"false", b"FALSE", b"False", b""), b"false"),
}


class TolerantQuery:
    """Gives an application queries without empty values, with booleans as `true` and `false`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or passes any other scope to the application."""
        if scope["type"] == "http" and scope["query_string"]:
            given = [each.partition(b"=") for each in scope["query_string"].split(b"&")]
            if scope["method"] == "GET":
                given = [each for each in given if each[2]]
            # In place: the gate reads the scope after the request.
            scope["query_string"] = b"&".join(
                name + equals + (SPELLINGS.get(value, value) if name.decode("latin-1") in BOOLEANS else value)
                for name, equals, value in given
            )
        await self._app(scope, receive, send)


def flag(request: Request[Any, Any, Any], name: str) -> bool:
    """Returns a boolean parameter that a handler does not declare. Raises HttpError."""
    value = request.query_params.get(name, "false")
    if value not in ("true", "false"):
        raise bad_parameter(name, f"expected true or false, saw {value[:80]!r}")
    return value == "true"
