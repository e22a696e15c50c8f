"""Error responses of the server itself, for requests that do not reach the application."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import msgspec

from meltica.api.envelope import Failure

if TYPE_CHECKING:
    from litestar.types import Message, Send

REFUSAL = "meltica.refusal"
"""Key of a scope: an HttpError that the request gate sends instead of calling the application."""

ABORT = "meltica.abort"
"""Key of a scope: a function that closes the connection at once, with what its client has not read."""

IS_HEAD = "meltica.is_head"
"""Key of a scope: whether the server leaves out the body of the response."""

SECURITY_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)
"""Headers of every response."""


async def respond(
    send: "Send",
    status: int,
    failure: Failure,
    kind: str = "http.response",
    more_headers: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Sends an error response."""
    body = msgspec.json.encode(failure)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), text.encode()) for name, text in more_headers.items()]
    if status == HTTPStatus.REQUEST_TIMEOUT:
        headers.append((b"connection", b"close"))
    start = {"type": f"{kind}.start", "status": status, "headers": headers}
    await send(cast("Message", start))
    await send(cast("Message", {"type": f"{kind}.body", "body": body, "more_body": False}))
