"""The methods of a path, as `OPTIONS` lists them."""

from typing import TYPE_CHECKING, cast

from litestar.routes import BaseRoute, HTTPRoute

from meltica.http.errors import allowed

if TYPE_CHECKING:
    from litestar.types import Message, Scope


async def allow_methods(message: "Message", scope: "Scope") -> None:
    """Sets `Allow` in a response to `OPTIONS`; a Litestar `before_send` hook.

    Litestar's own value has only the methods that were registered first.
    """
    if scope["type"] != "http" or scope["method"] != "OPTIONS" or message["type"] != "http.response.start":
        return
    template = cast(dict[str, object], scope).get("path_template")
    for route in cast("list[BaseRoute]", scope["litestar_app"].routes):
        if isinstance(route, HTTPRoute) and route.path_format == template:
            value = allowed(route.methods).encode()
            own = [(name, text) for name, text in message["headers"] if name.lower() != b"allow"]
            message["headers"] = [*own, (b"allow", value)]
