"""Connections over real sockets, against a scripted server."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meltica._core import Codec, Core, FeedOutcome
from meltica.adapters.fake.codec import FAKE
from meltica.adapters.live.connection import Connection
from meltica.adapters.live.session import (
    Ack,
    Down,
    Login,
    Phase,
    Ping,
    Session,
    Subscribe,
    Timing,
    Unsubscribe,
)
from meltica.errors import Unauthenticated, VenueError, VenueUnavailable
from tests.support.scripted import Stream, until

QUICK = Timing(min_pause=0.01, max_pause=0.05)


class Client:
    """A minimal stream handler that records its calls."""

    def __init__(self, *, pings: bool = True) -> None:
        self.producer = Core().producer("test", Codec(FAKE))
        self.outcomes: list[FeedOutcome] = []
        self.others: list[dict[str, Any]] = []
        self.events: list[str] = []
        self.downs: list[Down] = []
        self._pings = pings

    def encode(self, action: Login | Subscribe | Unsubscribe | Ping) -> str | None:
        match action:
            case Subscribe(id, channels) | Unsubscribe(id, channels):
                return json.dumps({"op": type(action).__name__.lower(), "id": id, "channels": channels})
            case Login(id):
                return json.dumps({"op": "login", "id": id})
            case Ping(id):
                return json.dumps({"op": "ping", "id": id}) if self._pings else None

    def feed(self, frame: bytes) -> FeedOutcome:
        self.outcomes.append(self.producer.feed(frame))
        return self.outcomes[-1]

    def on_message(self, frame: bytes) -> Ack | None:
        message = json.loads(frame)
        self.others.append(message)
        if "ok" in message:
            if not isinstance(message["ok"], int):
                raise ValueError("a request has a number")
            return Ack(message["ok"], None if message.get("code") is None else VenueError(message["code"]))
        return None

    def on_ready(self) -> None:
        self.events.append("ready")

    def on_subscribed(self, channels: tuple[str, ...]) -> None:
        self.events.append(" ".join(channels))

    def on_disconnected(self, down: Down) -> None:
        self.events.append("down")
        self.downs.append(down)


async def acknowledge_all(server: Stream, message: dict[str, Any]) -> None:
    """Acknowledges every request."""
    await server.send({"ok": message["id"]})


@asynccontextmanager
async def connected(
    server: Stream, client: Client, timing: Timing = QUICK, *channels: str, login: bool = False
) -> AsyncGenerator[Connection]:
    async def url() -> str:
        return server.url

    session = Session(timing, login=login)
    connection = Connection("test", url, session, client, client.feed)
    connection.set_channels(frozenset(channels))
    running = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        running.cancel()
        await asyncio.wait([running])


TRADE = b'{"type":"trade","symbol":"BTC-USDT","time":1,"id":%d,"side":"buy","price":"1","quantity":"2"}'


async def test_only_control_and_unmatched_frames_reach_the_handler() -> None:
    client = Client()
    async with Stream(acknowledge_all) as server, connected(server, client, QUICK, "a") as connection:
        await connection.wait_settled(frozenset("a"))
        await server.send(TRADE % 1, {"op": "news"}, TRADE % 2, b"{", b'{"type":"trade"}', {"ok": 99})
        await until(lambda: len(client.others) == 3, "frames")
        assert client.others == [{"ok": 1}, {"op": "news"}, {"ok": 99}]
        assert [(o.decoded, o.control, o.unmatched, o.bad) for o in client.outcomes] == [
            (0, 0, 1, 0),
            (1, 0, 0, 0),
            (0, 1, 0, 0),
            (1, 0, 0, 0),
            (0, 0, 0, 1),
            (0, 0, 0, 1),
            (0, 0, 1, 0),
        ]
        assert client.producer.stats()["errors"] != {}
        assert client.events == ["ready", "a"]
        assert connection.frames == 7
        assert connection.last_error is None


async def test_a_shutdown_sends_a_close_frame() -> None:
    client = Client()
    async with Stream(acknowledge_all) as server:
        async with connected(server, client, QUICK, "a") as connection:
            await connection.wait_settled(frozenset("a"))
        await until(lambda: server.codes, "the close frame")
        assert server.codes == [1001]


async def test_channels_are_subscribed_again_after_a_loss() -> None:
    client = Client()
    async with Stream(acknowledge_all) as server, connected(server, client, QUICK, "a", "b") as connection:
        await connection.wait_settled(frozenset("ab"))
        connection.set_channels(frozenset("bc"))
        await connection.wait_settled(frozenset("abc"))
        await server.cut()
        await until(lambda: client.events.count("b c") == 1, "both again")
        assert [down.was_up for down in client.downs] == [True]
        assert "1012" in client.downs[0].reason
        assert server.opened == 2


async def test_a_rejected_handshake_is_retried() -> None:
    client = Client()
    async with Stream(acknowledge_all) as server:
        server.refuse = True
        async with connected(server, client, QUICK, "a") as connection:
            await until(lambda: len(client.downs) == 3, "three attempts")
            assert connection.last_error is not None
            assert "503" in connection.last_error
            server.refuse = False
            await connection.wait_settled(frozenset("a"))
            assert connection.last_error is None


async def test_an_error_while_getting_the_url_is_retried() -> None:
    client = Client()

    async def url() -> str:
        raise VenueUnavailable("unavailable", "session key not granted")

    connection = Connection("test", url, Session(QUICK), client)
    running = asyncio.create_task(connection.run())
    await until(lambda: len(client.downs) == 2, "two attempts")
    assert "session key not granted" in client.downs[0].reason
    running.cancel()
    await asyncio.wait([running])


async def test_a_frame_that_cannot_be_handled_closes_only_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    async with Stream(acknowledge_all) as server, connected(server, client, QUICK, "a") as connection:
        await connection.wait_settled(frozenset("a"))
        await server.send(b'{"ok":"a number is expected"}')
        await until(lambda: server.opened == 2, "another connection")
        await connection.wait_settled(frozenset("a"))
        assert "frame not handled" in client.downs[0].reason
    assert "a request has a number" in caplog.text


@pytest.mark.parametrize("pings", [True, False], ids=["message", "websocket"])
async def test_a_pong_keeps_a_silent_connection(pings: bool) -> None:
    client = Client(pings=pings)
    timing = Timing(ping_after=0.02, pong_timeout=5, min_pause=0.01)
    async with Stream(acknowledge_all) as server, connected(server, client, timing) as connection:
        await until(lambda: connection.session.phase is Phase.UP, "a connection")
        if pings:
            await until(lambda: [m["op"] for m in server.received].count("ping") >= 3, "pings")
        else:
            # A pong does not count as a frame; three idle periods pass without one.
            ended = asyncio.get_running_loop().time() + 0.1
            await until(lambda: asyncio.get_running_loop().time() > ended, "some time")
        assert connection.session.phase is Phase.UP
        assert client.downs == []


async def test_silence_after_a_ping_closes_the_connection() -> None:
    client = Client()

    async def mute(server: Stream, message: dict[str, Any]) -> None:
        pass

    timing = Timing(ping_after=0.02, pong_timeout=0.02, min_pause=0.01)
    async with Stream(mute) as server, connected(server, client, timing):
        await until(lambda: client.downs, "the loss")
        assert "none after a ping" in client.downs[0].reason
        await until(lambda: server.opened == 2, "another connection")


async def test_a_refused_login_is_reported_and_retried() -> None:
    client = Client()
    client.on_message = lambda frame: Ack(json.loads(frame)["ok"], Unauthenticated("bad_signature"))  # type: ignore[method-assign]
    async with Stream(acknowledge_all) as server, connected(server, client, QUICK, login=True) as connection:
        await until(lambda: len(client.downs) == 2, "two attempts")
        assert isinstance(client.downs[0].error, Unauthenticated)
        assert connection.session.phase is not Phase.UP


async def test_a_refused_channel_does_not_affect_the_others() -> None:
    client = Client()

    async def refuse(server: Stream, message: dict[str, Any]) -> None:
        code = "unknown_symbol" if "bad" in message["channels"] else None
        await server.send({"ok": message["id"], "code": code})

    async with Stream(refuse) as server, connected(server, client, QUICK, "a", "bad", "c") as connection:
        await connection.wait_settled(frozenset({"a", "bad", "c"}))
        assert connection.session.confirmed == {"a", "c"}
        assert connection.session.refused["bad"].code == "unknown_symbol"


async def test_frames_of_a_closed_connection_are_not_read() -> None:
    """A cancellation is not enough, because a task that never waits is not cancelled."""
    client = Client()

    async def flood(server: Stream, message: dict[str, Any]) -> None:
        if message["id"] == 1:
            await server.send({"ok": 1, "code": "no"}, *[TRADE % n for n in range(100)])

    async with Stream(flood) as server, connected(server, client, QUICK, login=True):
        await until(lambda: server.opened == 2, "another connection")
        assert [outcome.decoded for outcome in client.outcomes if outcome.decoded] == []


async def test_cancelling_closes_the_connection_promptly() -> None:
    client = Client()
    closed = asyncio.Event()

    async def mute(server: Stream, message: dict[str, Any]) -> None:
        # Neither replies nor reads, so a close handshake would wait.
        assert server.socket is not None
        server.socket.transport.pause_reading()
        await server.socket.wait_closed()
        closed.set()

    async with Stream(mute) as server:
        async with connected(server, client, QUICK, "a"):
            await until(lambda: server.received, "the request")
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5
        assert client.downs == []
        assert server.socket is not None
        server.socket.transport.resume_reading()
        await closed.wait()
