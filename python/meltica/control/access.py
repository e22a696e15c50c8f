"""Who may use a route: the scope that the route requires, and the client that sent the request.

Each route declares its scope as a guard, on its handler or on its controller: `guards=[VIEWER]`. Of several
scopes, the widest is required. A route that declares none is refused to everyone. `PUBLIC` routes need no
token, so they show nothing about the gateway but whether it responds.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from litestar import Litestar, Request
from litestar.routes import HTTPRoute

from meltica.control.bodies import QUERY
from meltica.errors import MelticaError
from meltica.http.errors import HttpError
from meltica.model.access import TokenScope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

WITHOUT_TOKEN: Final = (
    "request not authenticated: it has no token; send the header `Authorization: Bearer TOKEN`, or use"
    " `meltica api GET /PATH`; `meltica tokens create --offline` creates a token"
)


@dataclass(frozen=True)
class Principal:
    """The client of a request."""

    actor: str
    """Its name in the audit and in the log."""
    scope: TokenScope | None
    """None for a client without a token."""
    token: str | None = None
    """The id of its token; its requests count together."""
    confirmed: bool = True
    """Whether the database has confirmed the token lately."""
    expires_at: datetime | None = None
    """When its token expires; None if it does not."""


UNAUTHENTICATED: Final = Principal("unauthenticated", None)
ANONYMOUS: Final = Principal("anonymous", TokenScope.ADMIN)
"""Every client of a gateway without authentication."""


async def admit_all(_: object) -> Principal:
    """Admits every client, as the gateway listens on a loopback address only."""
    return ANONYMOUS


class Requires:
    """A guard that raises HttpError unless the client has a scope; None admits every client."""

    def __init__(self, scope: TokenScope | None) -> None:
        self.scope = scope

    async def __call__(
        self,
        connection: "ASGIConnection[Any, Any, Any, Any]",
        handler: "BaseRouteHandler",  # noqa: ARG002
    ) -> None:
        """Checks a request; the answer to OPTIONS shows only which methods a path has."""
        if self.scope is None or _is_options(connection):
            return
        principal: Principal = connection.scope["user"]
        if principal.scope is None:
            raise unauthenticated(WITHOUT_TOKEN)
        if not principal.scope.includes(self.scope):
            text = f"it needs the scope {self.scope}, and its token has the scope {principal.scope}"
            raise HttpError(403, "forbidden", f"request not permitted: {text}")
        if self.scope is TokenScope.ADMIN and not principal.confirmed:
            text = "request not permitted: the database is unavailable, so the token may have been revoked"
            raise HttpError(503, "database_unavailable", text)


PUBLIC: Final = Requires(None)
VIEWER: Final = Requires(TokenScope.VIEWER)
OPERATOR: Final = Requires(TokenScope.OPERATOR)
ADMIN: Final = Requires(TokenScope.ADMIN)


async def refuse_undeclared(
    connection: "ASGIConnection[Any, Any, Any, Any]", handler: "BaseRouteHandler"
) -> None:
    """A guard of the application that raises HttpError for a route without a scope."""
    if not _declared(handler) and not _is_options(connection):
        raise HttpError(403, "forbidden", f"request not permitted: {connection.url.path} declares no scope")


def scopes_of(app: Litestar) -> dict[str, TokenScope | None]:
    """Returns the scope that each operation requires, None if it needs no token.

    Raises MelticaError for a route that declares none: everyone would be refused.
    """
    scopes: dict[str, TokenScope | None] = {}
    for handler in _operations(app):
        declared = {guard.scope for guard in _declared(handler)}
        if not declared:
            raise MelticaError(f"{handler} declares no scope: add `guards=[VIEWER]` or another scope")
        widest = next((scope for scope in reversed(TokenScope) if scope in declared), None)
        scopes[str(handler.operation_id)] = widest
    return scopes


def public_paths(app: Litestar) -> frozenset[str]:
    """Returns the paths that clients read without a token."""
    scopes = scopes_of(app)
    public = {id for id, scope in scopes.items() if scope is None}
    return frozenset(
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.operation_id in public
    )


def planned_of(app: Litestar) -> set[str]:
    """Returns the operations of which a client may request the plan only."""
    return {str(each.operation_id) for each in _operations(app) if "plan" in each.opt.get(QUERY, ())}


def actor(request: Request[Any, Any, Any]) -> str:
    """Returns the name of the client for the audit. Handlers declare `actor: NamedDependency[str]`."""
    principal: Principal = request.scope["user"]
    return principal.actor


def unauthenticated(text: str) -> HttpError:
    """Returns the error for a client that is not authenticated."""
    return HttpError(401, "unauthenticated", text, headers={"www-authenticate": "Bearer"})


def _operations(app: Litestar) -> "Iterator[HTTPRouteHandler]":
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if handler.operation_id is not None:  # None: OPTIONS, which Litestar adds
                yield handler


def _declared(handler: "BaseRouteHandler") -> list[Requires]:
    guards = cast(list[object], handler.resolve_guards())  # pyright: ignore[reportUnknownMemberType]
    return [guard for guard in guards if isinstance(guard, Requires)]


def _is_options(connection: "ASGIConnection[Any, Any, Any, Any]") -> bool:
    return cast(dict[str, object], connection.scope).get("method") == "OPTIONS"
