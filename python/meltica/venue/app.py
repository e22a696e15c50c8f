"""The venue's application: REST and streams behind the door, and errors as answers."""

import logging
from math import ceil
from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request, Response
from litestar.exceptions import NotFoundException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from meltica.api.envelope import Failure
from meltica.errors import OrderRefused, OutcomeUnknown, RateLimited, VenueUnavailable, suggestion
from meltica.http import errors
from meltica.http.errors import HttpError
from meltica.http.request_gate import RequestCounts, RequestGate
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
        guards=[check_query],
        openapi_config=None,
        logging_config=None,
    )

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
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

    return RequestGate(either, (), RequestCounts(), level=logging.DEBUG)


def check_query(request: "ASGIConnection[Any, Any, Any, Any]", handler: BaseRouteHandler) -> None:
    """Raises HttpError when a query has a parameter that its handler does not take."""
    known = handler.parsed_fn_signature.parameters.keys() - {"request"} - request.path_params.keys()
    for name in request.query_params:
        if name not in known:
            text = f"query parameter `{name[:80]}` is unknown{suggestion(name, sorted(known))}"
            raise HttpError(400, "bad_request", text)


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[Failure]:
    """Answers what a handler, or the way to it, raised."""
    status, code, text, headers = _told(error, request)
    return Response(
        Failure(error=text, code=code), status_code=status, headers=headers, media_type="application/json"
    )


def _told(error: Exception, request: Request[Any, Any, Any]) -> tuple[int, str, str, dict[str, str]]:
    """Returns the status, the code, the text and the headers that tell an error."""
    match error:
        case OrderRefused():
            return REFUSED.get(error.reason, 422), error.reason, error.message, {}
        case RateLimited():
            return 429, error.code, error.message, {"Retry-After": str(ceil(error.retry_after))}
        case OutcomeUnknown():
            return 504, error.code, error.message, {}
        case VenueUnavailable():
            return 503, error.code, error.message, {}
        case NotFoundException():
            return 404, "not_found", f"there is no {request.url.path}; docs/venue.md has all there is", {}
        case ValidationException():
            return 400, "bad_request", _faults(error), {}
        case _:
            known = errors.error_response(error, request.method, request.url.path)
            return known.status, known.failure.code, known.failure.error, known.headers


def _faults(error: ValidationException) -> str:
    """Returns what is wrong with the parameters of a query."""
    extra = error.extra if isinstance(error.extra, list) else []
    return "; ".join(f"`{each.get('key', '')}`: {each['message']}" for each in extra) or error.detail
