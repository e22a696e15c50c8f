"""ASGI middleware: Host and Origin checks, body limits, request ids, and the error response of last resort.

These rules keep out web pages that are open in the browser of an operator:

1. `Host` must be a loopback name or a configured one. Otherwise a page could point its own name here and read
   any response.
2. A request that can change something must not come from a page of another origin. Browsers send its origin
   as `Sec-Fetch-Site` and `Origin`; curl sends neither.
3. A body must be JSON, because a page can send JSON to another origin only after a preflight request.
4. No response permits another origin to read it, unless the origin is configured (see `clients`). Such an
   origin also passes rule 2. Its preflight requests are answered before authentication: browsers send them
   without a token.
5. No text has NUL characters, which PostgreSQL does not store.
   An encoded slash, a backslash and a segment of dots are part of no path: proxies would read them in other
   ways. Both are checked after authentication.
6. Rules 1 and 2 apply to every websocket too, because browsers let any page open one.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import quote
from uuid import uuid4

import msgspec
from litestar.handlers import BaseRouteHandler
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)
from structlog.contextvars import bound_contextvars

from meltica.api.envelope import Failure
from meltica.http.answer_time import SPENT
from meltica.http.client_limit import ClientLimit
from meltica.http.clients import ClientRules
from meltica.http.errors import HttpError, error_response
from meltica.http.json_bodies import json_fault
from meltica.http.responses import IS_HEAD, REFUSAL, SECURITY_HEADERS, respond

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection

MAX_BODY = 1 << 20
"""Maximum body size in bytes."""
BODY_SECONDS = 10.0
"""How long a body may take to arrive."""
REQUEST_ID = b"x-meltica-request-id"

HAS_BODY = "meltica.has_body"
"""Key of a scope: whether the request has a body other than `{}` and `null`."""
TAKES_BODY = "takes_body"
"""Option of a handler that reads the body itself."""


class Client(Protocol):
    """The client of a request."""

    @property
    def token(self) -> str | None:
        """Identifies the token of the client; requests with the same token have a common limit."""
        ...


Authenticate = Callable[[HTTPScope], Awaitable[Client]]
RequestCounts = Counter[tuple[str, str, int]]
"""(method, route, status) -> number of requests."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_EMPTY = re.compile(rb"\s*(\{\s*\}|null)\s*")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_PARAMETER = re.compile(r"\{(\w+):\w+\}")
log = logging.getLogger(__name__)


def refuse_body(connection: "ASGIConnection[Any, Any, Any, Any]", handler: BaseRouteHandler) -> None:
    """A guard that raises HttpError for a body that the handler does not take."""
    takes = handler.opt.get(TAKES_BODY) or "data" in handler.parsed_fn_signature.parameters
    scope = cast(dict[str, object], connection.scope)
    if scope.get(HAS_BODY) and not takes:
        text = f"body not expected: {scope['path']} takes none; send no body, or {{}}"
        raise HttpError(400, "unexpected_body", text)


class RequestGate:
    """Wraps an application; counts every request in `requests`.

    - `authenticate`: returns the client of a request, which becomes the `user` of its scope, or raises
      HttpError. It is called before the body is read.
    - `level`: the log level of requests that can change something.
    - `streamed`: paths whose handlers of POST read the body themselves, with `body_file`.

    """

    def __init__(
        self,
        app: ASGIApp,
        rules: ClientRules,
        requests: RequestCounts,
        *,
        authenticate: Authenticate | None = None,
        level: int = logging.INFO,
        streamed: Container[str] = (),
    ) -> None:
        self._app = app
        self._streamed = streamed
        self._authenticate = authenticate
        self._rules = rules
        self._requests = requests
        self._level = level
        self._clients = ClientLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or websocket; passes any other scope to the application."""
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        self._set_client(scope, headers)
        id = next((value for value in headers.get(REQUEST_ID, ()) if _ID.fullmatch(value)), None)
        id = id or uuid4().hex.encode()
        # As text: Litestar's type of a scope lists no HEAD.
        method = str(scope["method"])
        path, status, began = scope["path"], 0, time.perf_counter()
        # The server leaves out the body of a response to HEAD.
        marked = {**cast(dict[str, object], scope), "method": "GET", IS_HEAD: True}
        inner = cast(HTTPScope, marked) if method == "HEAD" else scope

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = message.get("headers", ())
                cors = self._rules.cors_headers(headers)
                message["headers"] = [*own, *SECURITY_HEADERS, *cors, (REQUEST_ID, id)]
            await send(message)

        with bound_contextvars(request_id=id.decode()):
            try:
                if REFUSAL in scope:
                    raise cast(dict[str, HttpError], scope)[REFUSAL]
                self._check_host(headers)
                if self._rules.is_preflight(method, headers):
                    await _answer_preflight(send_with_headers, self._rules.preflight_headers(headers))
                    return
                if method not in _SAFE:
                    self._check_origin(headers)
                if self._authenticate is not None:
                    inner["user"] = await self._authenticate(inner)
                    cast(dict[str, object], inner)[SPENT] = time.perf_counter() - began
                _check_path(scope)
                client: Client | None = inner.get("user")
                with self._clients.serving(None if client is None else client.token):
                    await self._app(inner, await self._body(inner, headers, receive), send_with_headers)
            except Exception as error:
                if status:
                    raise  # the response has begun: the server closes the connection
                response = error_response(error, method, path)
                await respond(
                    send_with_headers, response.status, response.failure, more_headers=response.headers
                )
            except asyncio.CancelledError:
                if status:
                    raise
                # Only a server that stops cancels requests, when its grace period has passed.
                await respond(
                    send_with_headers,
                    503,
                    Failure(error="request not completed: the server is stopping", code="stopping"),
                )
            finally:
                self._record(inner, method, path, status, time.perf_counter() - began)

    async def _body(self, scope: HTTPScope, headers: dict[bytes, list[bytes]], receive: Receive) -> Receive:
        """Returns a `receive` with the body, which has arrived unless its handler reads it."""
        if scope["method"] == "POST" and scope["path"].rstrip("/") in self._streamed:
            _note_body(scope, headers)
            return receive
        return await _read_body(scope, headers, receive)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one websocket. The application may raise HttpError before it accepts the connection."""
        headers = _headers(scope)
        try:
            self._check_host(headers)
            self._check_origin(headers)
            await self._app(scope, receive, send)
        except HttpError as error:
            response = error_response(error, "GET", scope["path"])
            await respond(send, response.status, response.failure, "websocket.http.response")

    def _record(self, scope: Scope, method: str, path: str, status: int, seconds: float) -> None:
        template = str(cast(dict[str, object], scope).get("path_template") or "unknown")
        # Labels of a metric: a client must not be able to add values.
        route = _PARAMETER.sub(r"{\1}", template)
        self._requests[method if method in _METHODS else "other", route, status] += 1
        level = self._level if method not in _SAFE else logging.DEBUG
        # Quoted, because a line break in the path would forge a log line.
        log.log(level, "%s %s: %d after %.1f ms", method, quote(path), status, seconds * 1000)

    def _check_host(self, headers: dict[bytes, list[bytes]]) -> None:
        """Rule 1: raises HttpError unless `Host` is a loopback name or one of the configured hosts."""
        values = headers.get(b"host", [])
        if len(values) != 1:
            raise HttpError(400, "bad_request", f"expected one Host header, saw {len(values)}")
        host = _host(values[0].decode("latin-1"))
        if not self._rules.accepts_host(host):
            allowed = " or ".join(sorted({"localhost", "127.0.0.1", *self._rules.hosts}))
            raise HttpError(
                421, "host_not_allowed", f"Host not allowed: expected {allowed}, saw {host[:255]!r}"
            )

    def _check_origin(self, headers: dict[bytes, list[bytes]]) -> None:
        """Rule 2: raises HttpError for a cross-origin request of a browser, unless rule 4 permits it."""
        if self._rules.accepts_origin(headers):
            return
        site = [value.lower() for value in headers.get(b"sec-fetch-site", [])]
        own = {scheme + b"://" + host.lower() for scheme in (b"http", b"https") for host in headers[b"host"]}
        origins = headers.get(b"origin", [])
        if not set(site) <= {b"same-origin", b"none"} or not {value.lower() for value in origins} <= own:
            header = "Origin" if origins else "Sec-Fetch-Site"
            value = b", ".join(origins or site).decode("latin-1")
            text = f"request refused: cross-origin requests are not allowed ({header}: {value[:255]!r})"
            raise HttpError(403, "cross_origin", text)

    def _set_client(self, scope: HTTPScope, headers: dict[bytes, list[bytes]]) -> None:
        """Replaces the address of a trusted proxy by that of its client."""
        if self._rules.proxies and (peer := scope["client"]) is not None:
            scope["client"] = (self._rules.client_address(peer[0], headers), peer[1])


def _headers(scope: Scope) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.lower(), []).append(value)
    return found


def _host(value: str) -> str:
    """Returns a `Host` without its port."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0]


async def _answer_preflight(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _note_body(scope: Scope, headers: dict[bytes, list[bytes]]) -> None:
    """Notes a body that its handler reads. Raises HttpError for one that is not JSON (rule 3)."""
    if headers.get(b"content-length", [b"0"])[0] != b"0" or b"transfer-encoding" in headers:
        _check_type(headers)
        cast(dict[str, object], scope)[HAS_BODY] = True


async def _read_body(scope: Scope, headers: dict[bytes, list[bytes]], receive: Receive) -> Receive:
    """Returns a `receive` with the whole body; notes in the scope if it is one that a handler must take.

    Raises HttpError for a body that is too long, too late, or not JSON (rule 3).
    """
    length = int(headers.get(b"content-length", [b"0"])[0])
    chunked = b"transfer-encoding" in headers
    if not length and not chunked:
        return receive
    if length > MAX_BODY:
        raise _too_large()
    if not chunked:
        _check_type(headers)
    try:
        body = await asyncio.wait_for(_read(receive), BODY_SECONDS)
    except TimeoutError:
        raise HttpError(408, "body_timeout", f"body not received within {BODY_SECONDS:g} s") from None
    if body:
        _check_type(headers)
        _check_json(body)
        cast(dict[str, object], scope)[HAS_BODY] = _EMPTY.fullmatch(body) is None
    delivered = False

    async def replay() -> HTTPReceiveMessage | WebSocketReceiveMessage:
        nonlocal delivered
        if delivered:
            return await receive()
        delivered = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _check_type(headers: dict[bytes, list[bytes]]) -> None:
    kind = headers.get(b"content-type", [b""])[0].partition(b";")[0].strip().lower()
    if kind != b"application/json":
        name = kind.decode("latin-1")[:255] or "none"
        text = (
            f"expected content-type application/json, saw {name}; curl needs -H content-type:application/json"
        )
        raise HttpError(415, "unsupported_media_type", text)


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HttpError(400, "bad_request", "body not received: the client disconnected")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _check_path(scope: HTTPScope) -> None:
    """Rule 5: raises HttpError for a path or query that no route has."""
    path = scope["path"]
    if "\0" in path or b"%00" in scope["query_string"]:
        raise _has_nul()
    raw = cast(dict[str, bytes], scope).get("raw_path", b"")
    dots = not {".", ".."}.isdisjoint(path.split("/"))
    if b"%2f" in raw.lower() or "\\" in path or dots:
        text = f"path {quote(raw, '/%')[:255]} does not exist"
        raise HttpError(404, "unknown_path", f"{text}: a name has no slash, no backslash and not only dots")


def _too_large() -> HttpError:
    return HttpError(413, "body_too_large", f"body too large: expected at most {MAX_BODY} bytes")


def _has_nul() -> HttpError:
    return HttpError(400, "bad_request", "expected text without NUL characters")


def _check_json(body: bytes) -> None:
    try:
        body.decode()
        msgspec.json.decode(body, type=msgspec.Raw)
        if _NUL.search(body):
            raise _has_nul()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpError(400, "bad_json", f"body is not valid JSON: {error}") from None
    except RecursionError:
        raise HttpError(400, "bad_json", "body is not valid JSON: it is nested too deeply") from None
    if (fault := json_fault(body)) is not None:
        raise HttpError(400, "bad_json", f"body refused: {fault}")
