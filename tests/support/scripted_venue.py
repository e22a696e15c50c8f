"""A scripted venue for tests of a live adapter: the wire form of `fake`."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, cast

from meltica._core import ExecReport
from meltica.adapters.fake.settings import FakeSettings
from meltica.adapters.fake.wire import FakeWire
from meltica.adapters.live.session import Timing
from meltica.model.enums import Side
from meltica.model.orders import NewOrder
from meltica.testing import Rig
from tests.support.scripted import Http, ReceivedRequest, Reply, Stream, error, reply

INSTRUMENT = {
    "symbol": "BTC-USDT",
    "type": "spot",
    "baseCurrency": "BTC",
    "quoteCurrency": "USDT",
    "venue": "FAKE",
}
T0 = 1_700_000_000_000_000_000


class Wire(FakeWire):
    """The wire form with short pauses and a separate stream."""

    timing: ClassVar[Timing] = Timing(min_pause=0.01, max_pause=0.05, refused_pause=0.05)
    route_timeout: ClassVar[float] = 5.0
    rate: ClassVar[float] = 0.0
    stream = ""

    async def market_url(self) -> str:
        return self.stream


def order(id: str, state: str = "ACK", filled: str = "0", time: int = T0, **more: object) -> dict[str, Any]:
    """Returns the JSON of an order."""
    return {
        "clientOrderId": id,
        "venueOrderId": f"x{id}",
        "symbol": "BTC-USDT",
        "state": state,
        "side": "buy",
        "orderType": "limit",
        "timeInForce": "GTC",
        "price": "100",
        "quantity": "2",
        "filledQuantity": filled,
        "remainingQuantity": str(2 - int(filled)),
        "fee": "0",
        "feeCurrency": "USDT",
        "time": time,
        **more,
    }


def fill(number: int, id: str, time: int) -> dict[str, Any]:
    """Returns the JSON of a fill."""
    return {
        "executionId": str(number),
        "time": time,
        "symbol": "BTC-USDT",
        "clientOrderId": id,
        "venueOrderId": f"x{id}",
        "tradeId": number,
        "side": "buy",
        "price": "100",
        "quantity": "2",
        "fee": "0.1",
        "feeCurrency": "USDT",
        "liquidity": "maker",
    }


@dataclass
class Venue:
    """The state of the scripted venue, and its two servers."""

    http: Http
    stream: Stream
    orders: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    fills: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    balances: dict[str, str] = field(default_factory=lambda: {"USDT": "1000"})
    instruments: list[dict[str, Any]] = field(default_factory=lambda: [dict(INSTRUMENT)])
    last: int = 10
    """Update id of the book."""
    now: int = T0
    on_order: Callable[[dict[str, Any]], Reply] | None = None
    private: Any = None
    """The account's socket; the market's is the other."""
    market: Any = None

    def count(self, path: str) -> int:
        """Returns the number of requests for a path."""
        return sum(request.target.startswith(path) for request in self.http.requests)

    def answer(self, request: ReceivedRequest) -> Reply:
        path, _, query = request.target.partition("?")
        match request.method, path:
            case "GET", "/v1/time":
                return reply({"time": self.now // 10**6, "marketTime": self.now})
            case "GET", "/v1/instruments":
                return reply({"instruments": self.instruments})
            case "GET", "/v1/balances":
                held = [
                    {"currency": c, "total": t, "available": t, "time": self.now}
                    for c, t in self.balances.items()
                ]
                return reply({"balances": held})
            case "GET", "/v1/orders":
                open_orders = [o for o in self.orders.values() if o["state"] in ("ACK", "PARTIAL")]
                return reply({"orders": open_orders})
            case "DELETE", "/v1/orders":
                return reply({"cancelled": []})
            case "GET", "/v1/fills":
                since = int(dict(pair.split("=") for pair in query.split("&"))["since"])
                return reply({"fills": [f for f in self.fills if f["time"] >= since]})
            case "GET", "/v1/depth":
                return reply(
                    {
                        "type": "depthSnapshot",
                        "symbol": "BTC-USDT",
                        "last": self.last,
                        "bids": [["99", "1"]],
                        "asks": [["101", "1"]],
                        "time": T0,
                    }
                )
            case "POST", "/v1/orders":
                body = json.loads(request.body)
                if self.on_order is not None:
                    return self.on_order(body)
                self.orders[body["clientOrderId"]] = order(body["clientOrderId"])
                return reply(self.orders[body["clientOrderId"]], 201)
            case _:
                existing = self.orders.get(path.rpartition("/")[2])
                return error(404, "unknown_order") if existing is None else reply(existing)

    async def script(self, stream: Stream, message: dict[str, Any]) -> None:
        if message["op"] == "login":
            self.private = stream.socket
        elif "depth:BTC-USDT" in message.get("channels", ()):
            self.market = stream.socket
        await stream.send({"op": "done", "id": message["id"]})

    async def send_private(self, message: object) -> None:
        """Sends a frame on the account's stream."""
        await self.private.send(json.dumps(message))

    async def diff(self, first: int, last: int) -> None:
        """Sends a change of the book."""
        head = {"type": "depth", "symbol": "BTC-USDT", "first": first, "last": last}
        frame = {**head, "bids": [["99", str(last)]], "asks": [], "time": T0}
        await self.market.send(json.dumps(frame, separators=(",", ":")))


@asynccontextmanager
async def venue() -> AsyncGenerator[Venue]:
    fake: Venue | None = None

    async def script(stream: Stream, message: dict[str, Any]) -> None:
        assert fake is not None
        await fake.script(stream, message)

    async with Http() as http, Stream(script) as stream:
        fake = Venue(http, stream)
        http.answer = fake.answer
        yield fake


@asynccontextmanager
async def running(venue: Venue, *, key: str | None = "main", of: type[Wire] = Wire) -> AsyncGenerator[Rig]:
    """Runs an adapter on its own thread, as the gateway does."""
    adapter = of(FakeSettings(), venue.http.endpoint, key, "secret")
    adapter.stream = venue.stream.url
    rig = Rig(adapter)
    await asyncio.to_thread(rig.__enter__)
    try:
        yield rig
    finally:
        await asyncio.to_thread(rig.close)
        assert rig.error is None


@asynccontextmanager
async def trading(of: type[Wire] = Wire) -> AsyncGenerator[tuple[Venue, Rig]]:
    async with venue() as fake, running(fake, of=of) as rig:
        await asyncio.to_thread(rig.subscribe, ("ExecReport", None))
        yield fake, rig


def buy(id: str) -> NewOrder:
    return NewOrder(id, "BTC-USDT", Side.BUY, Decimal(2), Decimal(100))


def reported(rig: Rig) -> list[tuple[str, str, Decimal]]:
    """Returns the reports of orders: id, state and filled quantity."""
    reports = [cast(ExecReport, event) for event in rig.since(0, "ExecReport")]
    return [(r.client_order_id, r.state, r.filled_quantity_decimal) for r in reports]
