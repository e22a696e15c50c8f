"""`/adapters`: what speaks venues' protocols."""

import logging
from collections.abc import Callable, Mapping

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from meltica.adapters import registry
from meltica.api.adapters import Adapter, Adapters
from meltica.api.envelope import without_nulls
from meltica.control.openapi import NOT_FOUND
from meltica.errors import ConfigError, NotFound, suggestion

Installed = Callable[[], Mapping[str, Adapter]]

log = logging.getLogger(__name__)


def routes(installed: Installed) -> list[HTTPRouteHandler]:
    """Returns the handlers."""

    @get("/adapters", summary="All adapters", operation_id="listAdapters", tags=["adapters"])
    async def list_adapters() -> Adapters:
        return Adapters(adapters=list(installed().values()))

    @get(
        "/adapters/{identifier:str}",
        summary="One adapter",
        operation_id="getAdapter",
        tags=["adapters"],
        responses=NOT_FOUND,
    )
    async def get_adapter(identifier: FromPath[str]) -> Adapter:
        known = installed()
        if identifier not in known:
            raise NotFound(f"adapter `{identifier}` does not exist{suggestion(identifier, known)}")
        return known[identifier]

    return [list_adapters, get_adapter]


def installed() -> dict[str, Adapter]:
    """Returns the adapters that can be loaded, by name; of those that cannot, the log tells why."""
    found: dict[str, Adapter] = {}
    for name in registry.names(registry.ADAPTERS):
        try:
            metadata = registry.adapter(name).metadata()
        except ConfigError as error:
            log.warning("%s", error)
        else:
            found[name] = msgspec.convert({**without_nulls(metadata), "identifier": name}, Adapter)
    return found
