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
    """What a venue's own file would be."""

    def __init__(self, *, pings: bool = True) -> None:
        self.producer = Core().producer("test", Codec(FAKE))
        self.outcomes: list[FeedOutcome] = []
        self.others: list[dict[str, Any]] = []
        self.happened: list[str] = []
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
        self.happened.append("ready")

    def on_subscribed(self, channels: tuple[str, ...]) -> None:
        self.happened.append(" ".join(channels))

    def on_disconnected(self, down: Down) -> None:
        self.happened.append("down")
        self.downs.append(down)


async def agree(server: Stream, message: dict[str, Any]) -> None:
    """A script that agrees to everything."""
    await server.send({"ok": message["id"]})


@asynccontextmanager
async def connected(
    server: Stream, client: Client, timing: Timing = QUICK, *channels: str, login: bool = False
) -> AsyncGenerator[Connection]:
    async def url() -> str:
        return server.url

    session = Session(timing, login=login)
    connection = Connection("test", url, session, client, client.feed)
    connection.want(frozenset(channels))
    running = asyncio.create_task(connection.run())
    try:
        yield connection
    finally:
        running.cancel()
        await asyncio.wait([running])


TRADE = b'{"type":"trade","symbol":"BTC-USDT","time":1,"id":%d,"side":"buy","price":"1","quantity":"2"}'


async def test_only_control_and_unmatched_frames_reach_the_handler() -> None:
    client = Client()
    async with Stream(agree) as server, connected(server, client, QUICK, "a") as connection:
        await connection.settled(frozenset("a"))
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
        assert client.happened == ["ready", "a"]
        assert connection.frames == 7
        assert connection.last_error is None


async def test_whoever_leaves_says_so() -> None:
    client = Client()
    async with Stream(agree) as server:
        async with connected(server, client, QUICK, "a") as connection:
            await connection.settled(frozenset("a"))
        await until(lambda: server.codes, "the end of the connection")
        assert server.codes == [1001]


async def test_a_lost_connection_comes_back_as_it_was() -> None:
    client = Client()
    async with Stream(agree) as server, connected(server, client, QUICK, "a", "b") as connection:
        await connection.settled(frozenset("ab"))
        connection.want(frozenset("bc"))
        await connection.settled(frozenset("abc"))
        await server.cut()
        await until(lambda: client.happened.count("b c") == 1, "both again")
        assert [down.was_up for down in client.downs] == [True]
        assert "1012" in client.downs[0].reason
        assert server.opened == 2


async def test_a_venue_that_turns_us_away_is_asked_again() -> None:
    client = Client()
    async with Stream(agree) as server:
        server.refuse = True
        async with connected(server, client, QUICK, "a") as connection:
            await until(lambda: len(client.downs) == 3, "three attempts")
            assert connection.last_error is not None
            assert "503" in connection.last_error
            server.refuse = False
            await connection.settled(frozenset("a"))
            assert connection.last_error is None


async def test_where_to_connect_may_fail_too() -> None:
    client = Client()

    async def nowhere() -> str:
        raise VenueUnavailable("unavailable", "no key of a session")

    connection = Connection("test", nowhere, Session(QUICK), client)
    running = asyncio.create_task(connection.run())
    await until(lambda: len(client.downs) == 2, "two attempts")
    assert "no key of a session" in client.downs[0].reason
    running.cancel()
    await asyncio.wait([running])


async def test_a_frame_that_cannot_be_taken_costs_the_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    async with Stream(agree) as server, connected(server, client, QUICK, "a") as connection:
        await connection.settled(frozenset("a"))
        await server.send(b'{"ok":"a number is expected"}')
        await until(lambda: server.opened == 2, "another connection")
        await connection.settled(frozenset("a"))
        assert "a frame could not be taken" in client.downs[0].reason
    assert "a request has a number" in caplog.text


@pytest.mark.parametrize("pings", [True, False], ids=["message", "websocket"])
async def test_silence_is_pinged_and_an_answer_is_enough(pings: bool) -> None:
    client = Client(pings=pings)
    timing = Timing(ping_after=0.02, pong_timeout=5, min_pause=0.01)
    async with Stream(agree) as server, connected(server, client, timing) as connection:
        await until(lambda: connection.session.phase is Phase.UP, "a connection")
        if pings:
            await until(lambda: [m["op"] for m in server.heard].count("ping") >= 3, "pings")
        else:
            # A pong does not count as a frame; three idle periods pass without one.
            ended = asyncio.get_running_loop().time() + 0.1
            await until(lambda: asyncio.get_running_loop().time() > ended, "some time")
        assert connection.session.phase is Phase.UP
        assert client.downs == []


async def test_silence_after_a_ping_is_an_end() -> None:
    client = Client()

    async def mute(server: Stream, message: dict[str, Any]) -> None:
        pass

    timing = Timing(ping_after=0.02, pong_timeout=0.02, min_pause=0.01)
    async with Stream(mute) as server, connected(server, client, timing):
        await until(lambda: client.downs, "its end")
        assert "none after a ping" in client.downs[0].reason
        await until(lambda: server.opened == 2, "another connection")


async def test_a_refused_login_is_told_and_tried_again() -> None:
    client = Client()
    client.on_message = lambda frame: Ack(json.loads(frame)["ok"], Unauthenticated("bad_signature"))  # type: ignore[method-assign]
    async with Stream(agree) as server, connected(server, client, QUICK, login=True) as connection:
        await until(lambda: len(client.downs) == 2, "two attempts")
        assert isinstance(client.downs[0].error, Unauthenticated)
        assert connection.session.phase is not Phase.UP


async def test_what_the_venue_refuses_is_told_and_the_rest_comes() -> None:
    client = Client()

    async def refuse(server: Stream, message: dict[str, Any]) -> None:
        code = "unknown_symbol" if "bad" in message["channels"] else None
        await server.send({"ok": message["id"], "code": code})

    async with Stream(refuse) as server, connected(server, client, QUICK, "a", "bad", "c") as connection:
        await connection.settled(frozenset({"a", "bad", "c"}))
        assert connection.session.confirmed == {"a", "c"}
        assert connection.session.refused["bad"].code == "unknown_symbol"


async def test_what_a_closed_connection_still_has_is_not_read() -> None:
    """A cancellation alone would not do: a task that never has to wait is not cancelled."""
    client = Client()

    async def flood(server: Stream, message: dict[str, Any]) -> None:
        if message["id"] == 1:
            await server.send({"ok": 1, "code": "no"}, *[TRADE % n for n in range(100)])

    async with Stream(flood) as server, connected(server, client, QUICK, login=True):
        await until(lambda: server.opened == 2, "another connection")
        assert [outcome.decoded for outcome in client.outcomes if outcome.decoded] == []


async def test_the_end_closes_the_connection_at_once() -> None:
    client = Client()
    closed = asyncio.Event()

    async def mute(server: Stream, message: dict[str, Any]) -> None:
        # Never answers, and reads no more: a polite close would wait for it.
        assert server.socket is not None
        server.socket.transport.pause_reading()
        await server.socket.wait_closed()
        closed.set()

    async with Stream(mute) as server:
        async with connected(server, client, QUICK, "a"):
            await until(lambda: server.heard, "the request")
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 5
        assert client.downs == []
        assert server.socket is not None
        server.socket.transport.resume_reading()
        await closed.wait()
