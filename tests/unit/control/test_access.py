"""The scopes of routes."""

from typing import Any

import pytest
from litestar import Controller, Litestar, get, post
from litestar.testing import TestClient

from meltica.control.access import (
    ADMIN,
    OPERATOR,
    PUBLIC,
    UNAUTHENTICATED,
    VIEWER,
    Principal,
    refuse_undeclared,
    scopes_of,
)
from meltica.errors import MelticaError
from meltica.http.errors import error_handler
from meltica.model.access import TokenScope


class Routes(Controller):
    guards = [VIEWER]

    @get("/read")
    async def read(self) -> None: ...

    @post("/change", guards=[OPERATOR])
    async def change(self) -> None: ...

    @post("/wide", guards=[ADMIN])
    async def wide(self) -> None: ...


@get("/public", guards=[PUBLIC])
async def public() -> None: ...


@get("/undeclared")
async def undeclared() -> None: ...


@get("/named", operation_id="named", guards=[OPERATOR, VIEWER])
async def named() -> None: ...


@get("/forgotten", operation_id="forgotten")
async def forgotten() -> None: ...


def statuses(scope: TokenScope | None, *, confirmed: bool = True) -> dict[str, int]:
    """Returns the status of each route for a client with a scope."""
    user = UNAUTHENTICATED if scope is None else Principal("someone", scope, confirmed=confirmed)
    app = Litestar(
        [Routes, public, undeclared],
        guards=[refuse_undeclared],
        exception_handlers={Exception: error_handler("")},
        openapi_config=None,
    )

    async def with_user(asgi: Any, receive: Any, send: Any) -> None:
        if asgi["type"] == "http":
            asgi["user"] = user
        await app(asgi, receive, send)

    requests = (("GET", "/public"), ("GET", "/read"), ("POST", "/change"), ("POST", "/wide"))
    with TestClient(with_user) as client:  # pyright: ignore[reportArgumentType]
        found = {path: client.request(method, path).status_code for method, path in requests}
        assert client.get("/undeclared").json() == {
            "status": "error",
            "error": "request not permitted: /undeclared declares no scope",
            "code": "forbidden",
        }
        assert client.options("/undeclared").status_code == 204
        if scope is None:
            assert client.get("/read").headers["www-authenticate"] == "Bearer"
    return found


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (None, [200, 401, 401, 401]),
        (TokenScope.VIEWER, [200, 200, 403, 403]),
        (TokenScope.OPERATOR, [200, 200, 201, 403]),
        (TokenScope.ADMIN, [200, 200, 201, 201]),
    ],
)
def test_a_scope_includes_the_narrower_ones_and_nothing_else(
    scope: TokenScope | None, expected: list[int]
) -> None:
    assert [*statuses(scope).values()] == expected


def test_an_admin_whom_the_database_does_not_confirm_is_an_operator() -> None:
    assert [*statuses(TokenScope.ADMIN, confirmed=False).values()] == [200, 200, 201, 503]


def test_a_route_without_a_scope_keeps_the_application_from_being_made() -> None:
    with_scopes = Litestar([named, Routes], openapi_config=None)
    assert scopes_of(with_scopes) == {"named": TokenScope.OPERATOR}
    with pytest.raises(MelticaError, match=r"forgotten.* declares no scope"):
        scopes_of(Litestar([named, forgotten], openapi_config=None))
