"""The limits of the HTTP server: headers, time, connections and upgrades."""

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.types import HTTPScope, Receive, Scope, Send
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from meltica.http import protocol
from meltica.http.address import bind
from meltica.http.clients import ClientRules
from meltica.http.request_gate import RequestCounts, RequestGate
from meltica.http.responses import SECURITY_HEADERS
from meltica.http.server import HttpServer
from meltica.http.tls import Certificate
from meltica.persistence.postgres.server import wait_until
from tests.support import venues
from tests.support.certificates import Pair
from tests.support.gateway import Running

REQUEST = b"GET /x HTTP/1.1\r\nHost: localhost\r\n"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass(frozen=True)
class Client:
    token: str | None


async def _client(scope: HTTPScope) -> Client:
    return Client(next((text.decode() for name, text in scope["headers"] if name == b"authorization"), None))


class Server:
    """A server on a loop of its own; its application answers `/slow` when `gate` is set."""

    def __init__(self, certificate: Certificate | None = None, trusted: ssl.SSLContext | None = None) -> None:
        self.trusted = trusted
        self.loop = asyncio.new_event_loop()
        self.gate = threading.Event()
        self.working = threading.Event()
        self.counts = RequestCounts()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        gate = RequestGate(self._respond, ClientRules(), self.counts, authenticate=_client)
        self.http = HttpServer(gate, bind("127.0.0.1", 0), certificate=certificate)
        asyncio.run_coroutine_threadsafe(self.http.start(), self.loop).result(10)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            return
        size = 2
        if scope["path"] == "/slow":
            self.working.set()
            await self.loop.run_in_executor(None, self.gate.wait)
        elif scope["path"] == "/large":
            size = 32 << 20
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * size, "more_body": False})

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.http.address)

    def connect(self) -> socket.socket:
        plain = socket.create_connection(self.http.address, timeout=20)
        if self.trusted is None:
            return plain
        return self.trusted.wrap_socket(plain, server_hostname="localhost")

    def close(self) -> None:
        self.gate.set()
        asyncio.run_coroutine_threadsafe(self.http.stop(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@pytest.fixture(name="server", params=["plain"])
def _server(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Server]:
    if request.param == "encrypted":
        pair = Pair(tmp_path)
        pair.write()
        server = Server(Certificate(pair.chain, pair.key), pair.trusted())
    else:
        server = Server()
    yield server
    server.close()


BOTH = pytest.mark.parametrize("server", ["plain", "encrypted"], indirect=True)
"""For tests of limits that depend on how a connection ends."""


def read(connection: socket.socket) -> bytes:
    """Reads until the server closes the connection."""
    parts: list[bytes] = []
    with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def failure(response: bytes) -> tuple[int, str, str]:
    """Returns status, code and text of the only response on a connection."""
    head, _, body = response.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"connection: close" in lines
    assert all(name + b": " + text in lines for name, text in SECURITY_HEADERS)
    answer: dict[str, Any] = json.loads(body)
    assert answer["status"] == "error"
    return int(head.split()[1]), answer["code"], answer["error"]


def padded(size: int) -> bytes:
    """Returns a request with so many bytes of headers."""
    begun = REQUEST + b"X: "
    # A header counts as name, value and four; the request line as its path.
    counted = len(b"/x") + len(b"Hostlocalhost") + 4 + len(b"X") + 4
    return begun + b"a" * (size - counted) + b"\r\n\r\n"


@BOTH
def test_the_largest_headers_are_served_and_larger_ones_refused(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(padded(protocol.MAX_HEADERS))
        assert connection.recv(12) == b"HTTP/1.1 200"
    with server.connect() as connection:
        connection.sendall(padded(protocol.MAX_HEADERS + 1))
        assert failure(read(connection)) == (
            431,
            "headers_too_large",
            "headers too large: expected at most 65536 bytes",
        )


@pytest.mark.parametrize("parts", [1, 40])
def test_headers_without_an_end_are_refused(server: Server, parts: int) -> None:
    with server.connect() as connection:
        connection.sendall(REQUEST)
        for _ in range(parts):
            connection.sendall(b"X: " + b"a" * (70_000 // parts) + (b"\r\n" if parts > 1 else b""))
        assert failure(read(connection))[:2] == (431, "headers_too_large")


@BOTH
def test_a_request_after_another_one_in_the_same_piece_has_limits_of_its_own(server: Server) -> None:
    large = padded(40_000)
    with server.connect() as connection:
        connection.sendall(large + large + REQUEST + b"Connection: close\r\n\r\n")
        assert read(connection).count(b"HTTP/1.1 200 OK") == 3


def test_trailers_are_limited(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        with contextlib.suppress(OSError):
            for _ in range(30_000):
                connection.sendall(b"X: y\r\n" * 100)
        assert b"HTTP/1.1 200" not in read(connection)


@pytest.mark.parametrize("sent", [b"", b"\r\n", REQUEST, b"GET"])
def test_slow_headers_end_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    # What is sent must arrive within the time, also from a busy machine.
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 1.0 if sent.strip() else 0.2)
    with server.connect() as connection:
        connection.sendall(sent)
        response = read(connection)
    if sent in (b"", b"\r\n"):
        assert response == b""
    else:
        assert failure(response) == (408, "headers_timeout", "headers not received within 1 s")


def test_empty_lines_do_not_keep_an_idle_connection_open(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 1.0)
    with server.connect() as connection:
        connection.sendall(REQUEST + b"\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        connection.sendall(b"\r\n")
        read(connection)


def test_an_idle_connection_is_closed_although_its_client_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "IDLE_SECONDS", 0.2)
    with contextlib.closing(Server()) as server, server.connect() as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wait_until(lambda: server.counts["GET", "unknown", 200] == 1, 10)
        assert wait_until(lambda: server.http.connections == 0, 10)


def test_a_byte_at_a_time_does_not_extend_the_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 1.0)
    with server.connect() as connection:
        connection.sendall(REQUEST)
        connection.settimeout(0.02)
        response = b""
        while not response:
            connection.sendall(b"X: y\r\n")
            with contextlib.suppress(TimeoutError):
                response = connection.recv(1 << 16)
        assert failure(response)[1] == "headers_timeout"


@BOTH
def test_a_request_that_takes_long_is_not_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 1.0)
    with server.connect() as connection, server.connect() as other:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\nGET /x HT")
        assert server.working.wait(10)
        # The time of the other connection began later, and so did that of the second request.
        other.sendall(b"GET")
        assert b"headers_timeout" in read(other)
        server.gate.set()
        response = read(connection)
        assert response.startswith(b"HTTP/1.1 200 OK")
        assert response.count(b"HTTP/1.1") == 1


@BOTH
def test_idle_connections_make_room_for_new_ones(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(server.connect()) for _ in range(3)]
        fresh = stack.enter_context(server.connect())
        # The first one has waited longest.
        assert read(idle[0]) == b""
        for connection in (*idle[1:], fresh):
            connection.sendall(REQUEST + b"\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"


@BOTH
def test_more_requests_than_connections_get_a_503(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 1)
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(server.connect())
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert server.working.wait(10)
        with server.connect() as connection:
            connection.sendall(REQUEST + b"\r\n")
            assert failure(read(connection)) == (
                503,
                "too_many_connections",
                "too many connections: at most 1 are served at a time; retry later",
            )
        server.gate.set()
        assert read(busy).startswith(b"HTTP/1.1 200 OK")
        busy.close()
        assert wait_until(lambda: server.http.connections == 0, 10)
        with server.connect() as connection:
            connection.sendall(REQUEST + b"\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
    assert server.counts["GET", "unknown", 503] == 1


def test_one_token_leaves_half_of_the_connections_to_others(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 4)
    begun = REQUEST + b"Authorization: a\r\n"
    with server.connect() as slow, server.connect() as stalled, server.connect() as third:
        slow.sendall(begun.replace(b"/x", b"/slow") + b"Connection: close\r\n\r\n")
        assert server.working.wait(10)
        # A request whose body has not arrived counts too.
        stalled.sendall(begun.replace(b"GET", b"POST") + b"Content-Type: application/json\r\n")
        stalled.sendall(b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert stalled.recv(1 << 16).startswith(b"HTTP/1.1 100")
        third.sendall(begun + b"Connection: close\r\n\r\n")
        assert failure(read(third)) == (
            429,
            "too_many_requests",
            "too many requests: at most 2 of one token are in progress; wait, or use another token",
        )
        for other in (b"Authorization: b\r\n", b""):
            with server.connect() as fresh:
                fresh.sendall(REQUEST + other + b"\r\n")
                assert fresh.recv(12) == b"HTTP/1.1 200"
        stalled.close()
        assert wait_until(lambda: server.counts["POST", "unknown", 400] == 1, 10)
        with server.connect() as fresh:
            fresh.sendall(begun + b"\r\n")
            assert fresh.recv(12) == b"HTTP/1.1 200"
        server.gate.set()
        assert read(slow).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("soft", "expected"), [(100, 50), (4096, protocol.MAX_CONNECTIONS), (-1, protocol.MAX_CONNECTIONS)]
)
def test_few_file_descriptors_permit_few_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, expected: int
) -> None:
    def limits(resource: int) -> tuple[int, int]:
        return soft, -1

    monkeypatch.setattr(protocol.resource, "getrlimit", limits)
    assert protocol.max_connections() == expected


@BOTH
def test_what_is_not_http_is_a_400(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with server.connect() as connection:
        connection.sendall(b"GARBAGE\r\n\r\n")
        assert failure(read(connection)) == (400, "bad_request", "not a valid HTTP request")
    assert not warnings(caplog)


@pytest.mark.parametrize("path", ["/x", "/stream?symbol=a"])
def test_a_websocket_is_not_found(server: Server, caplog: pytest.LogCaptureFixture, path: str) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n" % path.encode() + HANDSHAKE)
        status, code, text = failure(read(connection))
        assert (status, code) == (404, "unknown_path")
        assert text == f"websockets are not served at {path.partition('?')[0]}"
    assert not warnings(caplog)


def test_another_upgrade_is_ignored(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with server.connect() as connection:
        connection.sendall(REQUEST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
        assert read(connection).startswith(b"HTTP/1.1 200 OK")
    assert not warnings(caplog)


def test_the_control_plane_has_no_websockets(control: Running, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/", "/health/live", "/nope"):
        with pytest.raises(InvalidStatus, match="404"):
            connect(control.url.replace("http", "ws") + path)
    assert not warnings(caplog)
    assert control.client.get("/health/live").status_code == 200


def test_a_venue_has_the_limits_too(tmp_path: Path) -> None:
    with venues.serving(tmp_path) as venue:
        with pytest.raises(InvalidStatus) as refused:
            connect(venue.address.replace("http", "ws") + "/nope")
        response = refused.value.response
        assert response.status_code == 404
        assert json.loads(response.body or b"")["code"] == "not_found"
        answer = httpx.get(venue.address + "/v1/time", headers={"x": "a" * (protocol.MAX_HEADERS + 1)})
        assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
        address = httpx.URL(venue.address)
        with socket.create_connection((address.host, address.port or 0)) as connection:
            connection.sendall(b"GET /v1/time HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n")
            connection.sendall(b"Upgrade: websocket\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 400"
    text = venue.log.read_text().lower()
    assert '"level":"info"' in text.replace(" ", "")
    assert not [line for line in text.splitlines() if '"warning"' in line or '"error"' in line]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
