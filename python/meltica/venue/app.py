"""The venue's application: REST routes and streams behind the request gate, and its error responses."""

import logging
from math import ceil
from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request, Response
from litestar.exceptions import NotFoundException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from meltica.api.envelope import Failure
from meltica.errors import OrderRefused, OutcomeUnknown, RateLimited, VenueUnavailable, suggestion
from meltica.http.clients import ClientRules
from meltica.http.errors import ErrorResponse, HttpError, error_response, request_faults
from meltica.http.options import allow_methods
from meltica.http.request_gate import RequestCounts, RequestGate, refuse_body
from meltica.venue import rest
from meltica.venue.messages import PATH

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection

    from meltica.venue.exchange import Exchange

REFUSED = {"unknown_order": 404, "unknown_symbol": 404, "duplicate_client_id": 409}
"""Reason -> status; 422 for all others."""


def create_app(venue: "Exchange") -> ASGIApp:
    """Returns the application over one exchange."""
    app = Litestar(
        [*rest.public(venue), *rest.signed(venue), *rest.operator(venue)],
        exception_handlers={Exception: handle},
        guards=[check_query, refuse_body],
        before_send=[allow_methods],
        openapi_config=None,
        logging_config=None,
    )

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            try:
                await app(scope, receive, send)
            finally:
                venue.nudge()
        elif scope["path"] != PATH:
            raise HttpError(404, "not_found", f"expected {PATH} for a stream, saw {scope['path'][:255]!r}")
        elif not venue.market.connected:
            raise HttpError(503, "unavailable", "the venue is disconnected")
        else:
            await venue.hub.serve(scope, receive, send)

    return RequestGate(route, ClientRules(), RequestCounts(), level=logging.DEBUG)


def check_query(request: "ASGIConnection[Any, Any, Any, Any]", handler: BaseRouteHandler) -> None:
    """A guard that raises HttpError for a query parameter that the handler does not have."""
    parameters = handler.parsed_fn_signature.parameters.keys() - {"request"} - request.path_params.keys()
    for name in request.query_params:
        if name not in parameters:
            text = f"query parameter `{name[:80]}` is unknown{suggestion(name, sorted(parameters))}"
            raise HttpError(400, "bad_request", text)


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[Failure]:
    """Maps an exception to the error response; Litestar calls it."""
    response = _error_response(error, request.method, request.url.path)
    return Response(
        response.failure,
        status_code=response.status,
        headers=response.headers,
        media_type="application/json",
    )


def _error_response(error: Exception, method: str, path: str) -> ErrorResponse:
    match error:
        case OrderRefused():
            return _failure(REFUSED.get(error.reason, 422), error.reason, error.message)
        case RateLimited():
            headers = {"Retry-After": str(ceil(error.retry_after))}
            return _failure(429, error.code, error.message, headers)
        case OutcomeUnknown():
            return _failure(504, error.code, error.message)
        case VenueUnavailable():
            return _failure(503, error.code, error.message)
        case NotFoundException():
            return _failure(404, "not_found", f"path {path} does not exist; docs/venue.md lists all paths")
        case ValidationException():
            return _failure(400, "bad_request", request_faults(error).error)
        case _:
            return error_response(error, method, path)


def _failure(status: int, code: str, text: str, headers: dict[str, str] | None = None) -> ErrorResponse:
    return ErrorResponse(status, Failure(error=text, code=code), headers or {})
