"""The control plane's application: every resource's routes, behind the door."""

from functools import cache
from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from meltica.control import adapters, health, instances, metrics, openapi, providers, strategies
from meltica.control.actions import Actions
from meltica.http.errors import handle
from meltica.http.request_gate import RequestGate, Requests

if TYPE_CHECKING:
    from meltica.gateway.gateway import Gateway


def create_app(gateway: "Gateway") -> ASGIApp:
    """Returns the application over one gateway."""
    installed = cache(adapters.installed)
    catalogue = strategies.Catalogue(gateway.instances)
    actions, requests = Actions(), Requests()

    def resources() -> list[HTTPRouteHandler]:
        return [
            *health.routes(gateway),
            *metrics.routes(gateway, requests),
            *strategies.routes(catalogue),
            *adapters.routes(installed),
            *providers.routes(gateway, installed, actions),
            *instances.routes(gateway, catalogue, actions),
        ]

    app = Litestar(
        [*resources(), *openapi.routes(resources)],
        exception_handlers={Exception: handle},
        openapi_config=None,
        logging_config=None,
    )
    return RequestGate(app, {gateway.settings.api_server.host}, requests)
