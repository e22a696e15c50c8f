"""The request gate in front of a small application: what the tests over a gateway cannot provoke."""

import logging
from typing import Any, cast

import msgspec
import pytest
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from meltica.http.clients import ClientRules
from meltica.http.errors import HttpError
from meltica.http.request_gate import RequestCounts, RequestGate

HOST = (b"host", b"localhost")
RULES = ClientRules(hosts=frozenset({"gateway.example"}))


class Client:
    """Sends one scope through a gate and keeps the messages of the response."""

    def __init__(self, app: Any, level: int = logging.INFO) -> None:
        self.requests = RequestCounts()
        self.sent: list[dict[str, Any]] = []
        self._gate = RequestGate(cast(ASGIApp, app), RULES, self.requests, level=level)

    async def request(self, *headers: tuple[bytes, bytes], type: str = "http", **scope: Any) -> None:
        whole = {
            "type": type,
            "method": "GET",
            "path": "/x",
            "query_string": b"",
            "headers": [HOST, *headers],
            **scope,
        }
        await self._gate(cast(Scope, whole), self._receive, self._send)

    async def _receive(self) -> Any:
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(cast(dict[str, Any], message))

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> dict[str, Any]:
        return msgspec.json.decode(self.sent[1]["body"])


async def respond(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}", "more_body": False})


async def test_an_error_after_the_response_has_begun_is_raised() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise KeyError("x")

    client = Client(broken)
    with pytest.raises(KeyError):
        await client.request()
    assert [message["type"] for message in client.sent] == ["http.response.start"]
    assert client.requests == {("GET", "unknown", 200): 1}


async def test_a_client_that_disconnects_before_its_body_has_arrived() -> None:
    client = Client(respond)
    headers = (b"content-type", b"application/json"), (b"content-length", b"2")
    await client.request(*headers, method="POST")
    assert (client.status, client.body["code"]) == (400, "bad_request")
    assert client.body["error"] == "body not received: the client disconnected"


async def test_a_configured_host_is_allowed() -> None:
    client = Client(respond)
    await client.request(headers=[(b"host", b"Gateway.Example:8880")])
    assert client.status == 200


async def test_other_scopes_reach_the_application() -> None:
    scopes: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope["type"])

    await Client(app).request(type="lifespan")
    assert scopes == ["lifespan"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ((), 503, "unavailable"),
        (((b"origin", b"https://evil.example"),), 403, "cross_origin"),
        (((b"host", b"localhost"),), 400, "bad_request"),
    ],
)
async def test_a_refused_websocket_gets_an_http_response(
    headers: tuple[tuple[bytes, bytes], ...], status: int, code: str
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise HttpError(503, "unavailable", "the venue is disconnected")

    client = Client(app)
    await client.request(*headers, type="websocket")
    assert [message["type"] for message in client.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert (client.status, client.body["code"]) == (status, code)


@pytest.mark.parametrize(("method", "level"), [("GET", logging.DEBUG), ("POST", logging.WARNING)])
async def test_the_log_level_is_that_of_the_method(
    method: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "meltica.http"):
        await Client(respond, level=logging.WARNING).request(method=method)
    assert [record.levelno for record in caplog.records] == [level]
