"""The hub of a venue's streams: subscriptions at the market, and cleanup after each stream."""

import asyncio
import json
from typing import Any

import pytest

from meltica.http.errors import HttpError
from meltica.venue.auth import Credentials, Keys, SkewedClock, sign
from meltica.venue.config import VenueSettings
from meltica.venue.exchange import Exchange
from meltica.venue.streams import MAX_CHANNELS, Hub


class HubFixture:
    """A hub, and a market that records the channels it publishes."""

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
    """One client, as seen by an ASGI server."""

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
        """Sends an operation; returns the next text."""
        before = len(self.texts())
        self.incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(op)})
        return (await self.until(before + 1))[before]

    async def until(self, count: int) -> list[dict[str, Any]]:
        """Waits for a number of texts, and returns all."""
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
    fixture = HubFixture()
    one, other = Peer(fixture.hub), Peer(fixture.hub)
    await one.op(op="subscribe", id=1, channels=["trade:A", "trade:B", "trade:A"])
    await other.op(op="subscribe", id=1, channels=["trade:B"])
    await one.op(op="subscribe", id=2, channels=["trade:A"])
    assert fixture.wanted == [("trade:A", True), ("trade:B", True)]
    await one.op(op="unsubscribe", id=3, channels=["trade:A"])
    assert fixture.wanted[2:] == [("trade:A", False)]
    await one.leave()
    assert fixture.wanted[3:] == []
    await other.leave()
    assert fixture.wanted[3:] == [("trade:B", False)]
    assert fixture.hub.clients == []
    assert fixture.hub.connected == 2


async def test_frames_reach_their_subscribers_in_order() -> None:
    fixture = HubFixture()
    one, other = Peer(fixture.hub), Peer(fixture.hub)
    await one.op(op="subscribe", id=1, channels=["trade:A", "trade:B"])
    await other.op(op="subscribe", id=1, channels=["trade:B"])
    for number in range(3):
        fixture.hub.publish("trade:A", json.dumps({"a": number}))
        fixture.hub.publish("trade:B", json.dumps({"b": number}))
    assert (await one.until(7))[1:] == [{key: n} for n in range(3) for key in "ab"]
    assert (await other.until(4))[1:] == [{"b": n} for n in range(3)]
    await one.leave()
    await other.leave()


async def test_only_the_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meltica.venue.streams.MAX_QUEUED", 5)
    fixture = HubFixture()
    slow, quick = Peer(fixture.hub), Peer(fixture.hub)
    for peer in (slow, quick):
        await peer.op(op="subscribe", id=1, channels=["trade:A"])
    slow.reads.clear()
    for number in range(10):
        fixture.hub.publish("trade:A", json.dumps({"a": number}))
        await quick.until(number + 2)
    # Without a close frame, which the client would not read either.
    await asyncio.wait_for(slow.task, 10)
    assert fixture.hub.cut == 1
    assert [client.queued for client in fixture.hub.clients] == [0]
    await quick.leave()
    assert fixture.wanted == [("trade:A", True), ("trade:A", False)]


async def test_a_close_has_a_reason_and_drops_queued_frames() -> None:
    fixture = HubFixture()
    peer, stalled = Peer(fixture.hub), Peer(fixture.hub)
    for each in (peer, stalled):
        await each.op(op="subscribe", id=1, channels=["trade:A"])
    stalled.reads.clear()
    fixture.hub.publish("trade:A", "{}")
    fixture.hub.close(1012, "the venue is disconnected")
    fixture.hub.publish("trade:A", "{}")
    await asyncio.wait_for(asyncio.gather(peer.task, stalled.task), 10)
    assert peer.sent[-1] == {"type": "websocket.close", "code": 1012, "reason": "the venue is disconnected"}
    assert len(stalled.sent) == 2
    assert fixture.hub.clients == []


async def test_the_number_of_channels_is_limited() -> None:
    fixture = HubFixture()
    peer = Peer(fixture.hub)
    many = [f"trade:{number}" for number in range(MAX_CHANNELS)]
    response = await peer.op(op="subscribe", id=1, channels=[*many, "trade:more"])
    assert response["code"] == "too_many_channels"
    assert fixture.wanted == []
    assert (await peer.op(op="subscribe", id=2, channels=many))["op"] == "subscribed"
    assert (await peer.op(op="subscribe", id=3, channels=["trade:more"]))["code"] == "too_many_channels"
    await peer.leave()


async def test_a_stream_belongs_to_one_account() -> None:
    fixture = HubFixture()
    peer = Peer(fixture.hub)
    login = {"op": "login", "time": 1000, "signature": sign("s", "1000", "GET", "/v1/stream")}
    assert (await peer.op(id=1, key="main", **login))["account"] == "main"
    assert "saw that of main" in (await peer.op(id=2, key="other", **login))["error"]
    await peer.op(op="subscribe", id=3, channels=["account"])
    assert fixture.wanted == [("account:main", True)]
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
    # Each disconnect closes the streams once.
    peer = Peer(venue.hub)
    assert (await peer.op(op="ping", id=1))["op"] == "pong"
    venue.nudge()
    assert (await peer.op(op="ping", id=2))["op"] == "pong"
    await peer.leave()
