"""uvicorn's HTTP protocol with limits on headers, time and connections.

1. The request line and the headers of a request have at most MAX_HEADERS bytes; more is a 431.
2. Headers must arrive within HEADER_SECONDS. A connection that sent a part of them gets a 408; one that sent
   nothing is closed.
3. Above the maximum number of connections, the connection that has waited longest for a request is closed.
   If every connection is working on a request, the new one gets a 503.
4. A websocket handshake where no websockets are served is a 404; any other upgrade is ignored.

A request whose headers arrive in one piece, as those of all common clients do, starts no timer.
"""

import asyncio
import logging
import resource
from typing import cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from meltica.api.envelope import Failure
from meltica.http.errors import HttpError
from meltica.http.responses import ABORT, REFUSAL, SECURITY_HEADERS
from meltica.runtime.fork import close_in_children

MAX_HEADERS = 64 << 10
"""Maximum size of a request line and its headers in bytes."""
MAX_REQUEST = 80 << 20
"""Maximum size of a request on the wire in bytes; bounds chunks and trailers. The gate limits the body."""
HEADER_SECONDS = 10.0
"""How long the headers of a request may take to arrive."""
IDLE_SECONDS = 30
"""How long a connection may wait for its next request."""
LINGER_SECONDS = 2.0
"""How long input is discarded after an error, so that the client can read the response."""
MAX_CONNECTIONS = 512
"""Maximum number of connections of a server. A process with few file descriptors has fewer."""
SURPLUS = 32
"""How many more connections are accepted to answer them with a 503."""

log = logging.getLogger(__name__)


def max_connections() -> int:
    """Returns the maximum number of connections: at most half of the file descriptors are used for them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    parser: httptools.HttpRequestParser  # None only after the connection is lost

    _received = 0
    """Bytes of the current request on the wire."""
    _count_from = 0
    """What `_received` becomes when a request begins: the bytes before it in the same piece do not count."""
    _size = 0
    """Bytes of the current piece."""
    _between_requests = True
    _headers_complete = False
    _surplus = False
    _discarding = False
    _timer: asyncio.TimerHandle | None = None
    _waiting_since = 0.0

    def fileno(self) -> int:
        """Returns the descriptor of the connection."""
        return cast(int, self.transport.get_extra_info("socket").fileno())

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Limits the number of connections (rule 3), and starts the timer of the first request."""
        super().connection_made(transport)
        close_in_children(self)
        limit = max_connections()
        if len(self.connections) > limit and not self._close_longest_waiting():
            self._surplus = True
            if len(self.connections) > limit + SURPLUS:
                transport.abort()
                return
        self._waiting_since = self.loop.time()
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timers."""
        self._stop_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses a piece of a request."""
        if self._discarding:
            return
        self._unset_keepalive_if_required()
        self._size = len(data)
        self._count_from = 0 if self._between_requests else -self._size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgrade()
            return
        except httptools.HttpParserError:
            log.debug("%s: not a valid HTTP request", self.client)
            self._refuse(HttpError(400, "bad_request", "not a valid HTTP request"))
            return
        self._received += self._size
        if self._in_headers and self._received > MAX_HEADERS:
            self._refuse(_headers_too_large())
        elif self._received > MAX_REQUEST:
            self._end()
        elif self._headers_complete and self._busy:
            self._stop_timer()
        elif self._timer is None:
            self._start_timer()

    def on_message_begin(self) -> None:
        """Begins a request."""
        super().on_message_begin()
        self._received, self._count_from = self._count_from, -self._size
        self._between_requests = self._headers_complete = False

    def on_headers_complete(self) -> None:
        """Starts the application, or the response that refuses the request (rules 1, 3 and 4)."""
        self._headers_complete = True
        upgrade = self.parser.should_upgrade() and not self._should_upgrade()
        error: HttpError | None = None
        if self._received + self._size > MAX_HEADERS and self._header_bytes() > MAX_HEADERS:
            error = _headers_too_large()
        elif self._surplus:
            text = f"too many connections: at most {max_connections()} are served at a time; retry later"
            error = HttpError(503, "too_many_connections", text)
        elif upgrade and self._get_upgrade() == b"websocket":
            path = self.url.partition(b"?")[0].decode("latin-1")[:255]
            error = HttpError(404, "unknown_path", f"websockets are not served at {path}")
        scope = cast(dict[str, object], self.scope)
        scope[ABORT] = self.transport.abort
        if error is not None:
            scope[REFUSAL] = error
        super().on_headers_complete()
        if upgrade or error is not None:
            # After an upgrade, what follows on the connection may be of the other protocol.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Ends a request."""
        super().on_message_complete()
        self._between_requests = True

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        super().on_response_complete()
        self._waiting_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection; drops what its client has not read."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    @property
    def _busy(self) -> bool:
        """Whether a request has arrived whose response is not complete."""
        # None before the first request, whatever the annotation says.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    @property
    def _in_headers(self) -> bool:
        """Whether a part of the headers has arrived."""
        return not self._between_requests and not self._headers_complete

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _upgrade(self) -> None:
        if self._should_upgrade():
            self._stop_timer()
            self.handle_websocket_upgrade()
        else:
            log.debug("%s: upgrade ignored", self.client)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        """Ends a connection whose request has not arrived in time (rule 2)."""
        self._timer = None
        if self._in_headers:
            text = f"headers not received within {HEADER_SECONDS:g} s"
            self._refuse(HttpError(408, "headers_timeout", text))
        else:
            self._end()

    def _close_longest_waiting(self) -> bool:
        """Closes the connection that has waited longest for a request; returns False if there is none."""
        waiting = [
            other
            for other in self.connections
            if isinstance(other, LimitedProtocol) and other is not self and not other._busy
            if not other.transport.is_closing()
        ]
        if not waiting:
            return False
        min(waiting, key=lambda other: other._waiting_since).transport.abort()
        return True

    def _end(self) -> None:
        """Closes the connection, if it is busy after the response; discards further input."""
        self._stop_timer()
        self._discarding = True
        if self._busy:
            self.cycle.keep_alive = False
        else:
            self.timeout_keep_alive_handler()

    def _refuse(self, error: HttpError) -> None:
        """Responds to a request without complete headers, and closes the connection."""
        if self._busy or (self._headers_complete and not self._between_requests):
            # One response to each request: this one has or gets its own.
            self._end()
            return
        self._stop_timer()
        self._discarding = True
        body = msgspec.json.encode(Failure(error=str(error), code=error.code))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *SECURITY_HEADERS,
        ]
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", body]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)


def _headers_too_large() -> HttpError:
    return HttpError(431, "headers_too_large", f"headers too large: expected at most {MAX_HEADERS} bytes")
