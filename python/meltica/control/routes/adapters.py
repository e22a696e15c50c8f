"""`/adapters`: the installed adapters."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from meltica.api.adapters import Adapter, Adapters
from meltica.control.access import VIEWER
from meltica.control.catalogues import AdapterCatalogue
from meltica.control.routes.openapi import NOT_FOUND
from meltica.errors import NotFound, suggestion


class AdaptersController(Controller):
    """All adapters."""

    path = "/adapters"
    tags = ["adapters"]
    guards = [VIEWER]

    @get(summary="List the adapters", operation_id="listAdapters")
    async def list_adapters(self, adapters: NamedDependency[AdapterCatalogue]) -> Adapters:
        """Returns the adapters that can be loaded, by identifier."""
        return Adapters(adapters=list(adapters.adapters.values()))

    @get("/{identifier:str}", summary="Get an adapter", operation_id="getAdapter", responses=NOT_FOUND)
    async def get_adapter(
        self, identifier: FromPath[str], adapters: NamedDependency[AdapterCatalogue]
    ) -> Adapter:
        """Returns an adapter. Raises NotFound."""
        found = adapters.adapters
        if identifier not in found:
            raise NotFound(f"adapter `{identifier}` does not exist{suggestion(identifier, found)}")
        return found[identifier]
