"""The hub of a venue's streams: what it asks the market for, and that nothing of a stream stays behind."""

import asyncio
import json
from typing import Any

import pytest

from meltica.http.errors import HttpError
from meltica.venue.auth import Credentials, Keys, SkewedClock, sign
from meltica.venue.config import VenueSettings
from meltica.venue.exchange import Exchange
from meltica.venue.streams import MAX_CHANNELS, Hub


class Room:
    """A hub, and a market that notes what it is asked for."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, bool]] = []
        clock = SkewedClock(lambda: 1000)
        keys = Keys({name: Credentials(name, "s") for name in ("main", "other")}, clock)
        self.hub = Hub(self._want, self._refuse, keys, clock)

    def _want(self, channel: str, wanted: bool) -> None:
        self.wanted.append((channel, wanted))

    def _refuse(self, channel: str) -> HttpError | None:
        return HttpError(404, "unknown_symbol", "no") if channel == "trade:NO" else None


class Peer:
    """One client, as an ASGI server would have it."""

    def __init__(self, hub: Hub) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.reads = asyncio.Event()
        self.reads.set()
        self.incoming.put_nowait({"type": "websocket.connect"})
        scope: Any = {"type": "websocket", "client": ("127.0.0.1", 1)}
        self.task = asyncio.ensure_future(hub.serve(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        return await self.incoming.get()

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        self.sent.append(message)
        self.changed.set()

    async def op(self, **op: object) -> dict[str, Any]:
        """Says something; returns the next text that comes."""
        before = len(self.texts())
        self.incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(op)})
        return (await self.until(before + 1))[before]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Waits for so many texts."""
        while len(self.texts()) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        return self.texts()

    def texts(self) -> list[dict[str, Any]]:
        return [json.loads(each["text"]) for each in self.sent if each["type"] == "websocket.send"]

    async def leave(self) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(self.task, 10)


async def test_the_market_publishes_the_channels_of_all_clients() -> None:
    room = Room()
    one, other = Peer(room.hub), Peer(room.hub)
    await one.op(op="subscribe", id=1, channels=["trade:A", "trade:B", "trade:A"])
    await other.op(op="subscribe", id=1, channels=["trade:B"])
    await one.op(op="subscribe", id=2, channels=["trade:A"])
    assert room.wanted == [("trade:A", True), ("trade:B", True)]
    await one.op(op="unsubscribe", id=3, channels=["trade:A"])
    assert room.wanted[2:] == [("trade:A", False)]
    await one.leave()
    assert room.wanted[3:] == []
    await other.leave()
    assert room.wanted[3:] == [("trade:B", False)]
    assert room.hub.clients == []
    assert room.hub.connected == 2


async def test_frames_reach_their_subscribers_in_order() -> None:
    room = Room()
    one, other = Peer(room.hub), Peer(room.hub)
    await one.op(op="subscribe", id=1, channels=["trade:A", "trade:B"])
    await other.op(op="subscribe", id=1, channels=["trade:B"])
    for number in range(3):
        room.hub.publish("trade:A", json.dumps({"a": number}))
        room.hub.publish("trade:B", json.dumps({"b": number}))
    assert (await one.until(7))[1:] == [{key: n} for n in range(3) for key in "ab"]
    assert (await other.until(4))[1:] == [{"b": n} for n in range(3)]
    await one.leave()
    await other.leave()


async def test_only_the_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meltica.venue.streams.MAX_QUEUED", 5)
    room = Room()
    slow, quick = Peer(room.hub), Peer(room.hub)
    for peer in (slow, quick):
        await peer.op(op="subscribe", id=1, channels=["trade:A"])
    slow.reads.clear()
    for number in range(10):
        room.hub.publish("trade:A", json.dumps({"a": number}))
        await quick.until(number + 2)
    # Without a close frame: its end must not wait for it either.
    await asyncio.wait_for(slow.task, 10)
    assert room.hub.cut == 1
    assert [client.queued for client in room.hub.clients] == [0]
    await quick.leave()
    assert room.wanted == [("trade:A", True), ("trade:A", False)]


async def test_a_close_has_a_reason_and_drops_queued_frames() -> None:
    room = Room()
    peer, deaf = Peer(room.hub), Peer(room.hub)
    for each in (peer, deaf):
        await each.op(op="subscribe", id=1, channels=["trade:A"])
    deaf.reads.clear()
    room.hub.publish("trade:A", "{}")
    room.hub.close(1012, "the venue is disconnected")
    room.hub.publish("trade:A", "{}")
    await asyncio.wait_for(asyncio.gather(peer.task, deaf.task), 10)
    assert peer.sent[-1] == {"type": "websocket.close", "code": 1012, "reason": "the venue is disconnected"}
    assert len(deaf.sent) == 2
    assert room.hub.clients == []


async def test_the_number_of_channels_is_limited() -> None:
    room = Room()
    peer = Peer(room.hub)
    many = [f"trade:{number}" for number in range(MAX_CHANNELS)]
    answer = await peer.op(op="subscribe", id=1, channels=[*many, "trade:more"])
    assert answer["code"] == "too_many_channels"
    assert room.wanted == []
    assert (await peer.op(op="subscribe", id=2, channels=many))["op"] == "subscribed"
    assert (await peer.op(op="subscribe", id=3, channels=["trade:more"]))["code"] == "too_many_channels"
    await peer.leave()


async def test_a_stream_belongs_to_one_account() -> None:
    room = Room()
    peer = Peer(room.hub)
    login = {"op": "login", "time": 1000, "signature": sign("s", "1000", "GET", "/v1/stream")}
    assert (await peer.op(id=1, key="main", **login))["account"] == "main"
    assert "saw that of main" in (await peer.op(id=2, key="other", **login))["error"]
    await peer.op(op="subscribe", id=3, channels=["account"])
    assert room.wanted == [("account:main", True)]
    await peer.leave()


async def test_a_disconnect_between_two_polls_is_detected() -> None:
    behavior = {"disconnect_chance": 1, "disconnect_for": "1ms"}
    market = {"symbols": ["BTC-USDT"], "start": "2026-01-01T00:00:00Z", "venue_behavior": behavior}
    venue = Exchange(VenueSettings.model_validate({"market": market}))
    peer = Peer(venue.hub)
    assert (await peer.op(op="ping", id=1))["op"] == "pong"
    venue.market.advance(venue.market.now + 1_500_000_000)
    assert venue.market.connected
    venue.nudge()
    await asyncio.wait_for(peer.task, 10)
    assert peer.sent[-1]["code"] == 1012
    # Each is sent once.
    peer = Peer(venue.hub)
    assert (await peer.op(op="ping", id=1))["op"] == "pong"
    venue.nudge()
    assert (await peer.op(op="ping", id=2))["op"] == "pong"
    await peer.leave()
