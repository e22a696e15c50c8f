"""The wire form of `fake`: the adapter of the simulated exchange, over its websocket and REST.

It is the example to copy for another venue. `docs/adapters.md` explains it, and `docs/venue.md` describes the
protocol.
"""

import hmac
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar
from urllib.parse import quote

from meltica.adapters import (
    VENUE_STATES,
    AccountCapabilities,
    Ack,
    AdapterSettings,
    Balance,
    CancelAllScope,
    Codec,
    ErrorBody,
    ErrorTable,
    Fill,
    FillMark,
    LastCheck,
    Liquidity,
    LiveAccount,
    LiveAdapter,
    LoopThread,
    NewOrder,
    OrderRefused,
    OrderSnapshot,
    OrderType,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    Request,
    Side,
    TimeInForce,
    Transfer,
    Unauthenticated,
    VenueError,
    VenueMessage,
    VenueUnavailable,
    WrongClock,
    unchecked,
)
from meltica.adapters.fake.codec import FAKE
from meltica.adapters.fake.settings import FakeSettings

CHANNELS = {"Trade": "trade", "Ticker": "ticker", "BookSnapshot": "depth", "KlineSummary": "candle"}
SNAPSHOT_LEVELS = 1_000
FILLS_PER_PAGE = 1_000

_SIDES = {"buy": Side.BUY, "sell": Side.SELL}
_STATES = {state.value: state for state in VENUE_STATES}
_ORDER_TYPES = {"limit": OrderType.LIMIT, "market": OrderType.MARKET}


class FakeWire(LiveAdapter):
    """The simulated exchange as a provider."""

    identifier: ClassVar[str] = "fake"
    display_name: ClassVar[str] = "Fake"
    venue: ClassVar[str] = "FAKE"
    description: ClassVar[str] = "A synthetic market that is served by another process."
    capabilities: ClassVar[tuple[str, ...]] = (
        "ORDERBOOK.SNAPSHOT",
        "TRADE",
        "TICKER",
        "EXECUTION.REPORT",
        "KLINE.SUMMARY",
        "INSTRUMENT.UPDATE",
        "ACCOUNT.BALANCE",
    )
    Settings: ClassVar[type[AdapterSettings]] = FakeSettings

    account_channels: ClassVar[tuple[str, ...]] = ("account",)
    rate: ClassVar[float] = 50.0
    errors: ClassVar[ErrorTable] = {
        "unknown_key": Unauthenticated,
        "bad_signature": Unauthenticated,
        "bad_time": WrongClock,
        "rate_limited": RateLimited,
        "unavailable": VenueUnavailable,
        "timeout": OutcomeUnknown,
        "unknown_order": OrderRefused,
    }

    def __init__(
        self, settings: AdapterSettings, endpoint: str, key: str | None = None, secret: str | None = None
    ) -> None:
        """`endpoint` is the address of the REST API, `http://127.0.0.1:8890`. Without a key, the adapter has
        only market data.
        """
        self._endpoint = endpoint.rstrip("/")
        self._key = key or ""
        self._secret = secret or ""
        super().__init__(settings)

    def rest_endpoint(self) -> str:
        """Returns the address of the REST API."""
        return self._endpoint

    async def market_url(self) -> str:
        """Returns the URL of the stream, which serves the account too."""
        return self._endpoint.replace("http", "ws", 1) + "/v1/stream"

    def codec(self) -> Codec:
        """Returns the codec of market data."""
        return FAKE

    def channels(self, kind: str, symbol: str) -> Iterable[str]:
        """Returns the channel of a kind and a symbol; all instruments share one channel."""
        if kind == "InstrumentUpdate":
            return ("instruments",)
        return (f"{CHANNELS[kind]}:{symbol}",) if kind in CHANNELS else ()

    def subscribe(self, id: int, channels: tuple[str, ...]) -> object:
        """Returns the message that subscribes to channels."""
        return {"op": "subscribe", "id": id, "channels": channels}

    def unsubscribe(self, id: int, channels: tuple[str, ...]) -> object:
        """Returns the message that unsubscribes from channels."""
        return {"op": "unsubscribe", "id": id, "channels": channels}

    def login(self, id: int, time: int) -> object:
        """Returns the login message."""
        signature = self._signature(f"{time}GET/v1/stream".encode())
        return {"op": "login", "id": id, "key": self._key, "time": time, "signature": signature}

    def ping(self, id: int) -> object:
        """Returns the ping message."""
        return {"op": "ping", "id": id}

    def parse_ack(self, message: VenueMessage) -> Ack | None:
        """Returns the acknowledgement in a message: each has an `op`."""
        match message:
            case {"op": "error", "id": int(id), "code": str(code), "error": str(text)}:
                kind = self.errors.get(code, VenueError)
                return Ack(id, kind(code, text) if issubclass(kind, VenueError) else VenueError(code, text))
            case {"op": _, "id": int(id)}:
                return Ack(id)
            case _:
                return None

    def market_message(self, message: VenueMessage) -> None:
        """Publishes instruments, which the codec declares as control messages."""
        if message.get("type") == "instrument":
            instrument = message["instrument"]
            self.producer.publish(
                "InstrumentUpdate",
                instrument["symbol"],
                {"instrument": instrument},
                venue_time=message["time"],
            )

    def account_message(self, message: VenueMessage) -> None:
        """Passes orders and balances to the account."""
        assert self.account is not None
        match message["type"]:
            case "order":
                self.account.publish_order(_order(message), _reported_fill(message))
            case "balance":
                self.account.publish_balance(message["currency"], _balance(message), _transfer(message))
            case other:
                raise ProtocolError("unknown_frame", f"expected an order or a balance, saw {other!r}")

    def sign(self, request: Request, time: int) -> Request:
        """Returns a request with key, time and signature."""
        signature = self._signature(f"{time}{request.method}{request.target}".encode() + request.body)
        headers = {"X-Venue-Key": self._key, "X-Venue-Time": str(time), "X-Venue-Signature": signature}
        return request._replace(headers=headers)

    def parse_error(self, body: object) -> ErrorBody | None:
        """Returns code and message of an error response."""
        match body:
            case {"status": "error", "code": str(code), "error": str(text)}:
                return ErrorBody(code, text)
            case _:
                return None

    async def fetch_time(self) -> int:
        """Returns the venue's wall-clock time, which signatures use."""
        return (await self.rest.call("GET", "/v1/time"))["time"]

    async def fetch_instruments(self) -> Sequence[Mapping[str, object]]:
        """Returns the listed instruments."""
        return (await self.rest.call("GET", "/v1/instruments"))["instruments"]

    async def fetch_snapshot(self, symbol: str) -> bytes:
        """Returns the snapshot of a book, undecoded."""
        return await self.rest.fetch("GET", "/v1/depth", {"symbol": symbol, "limit": SNAPSHOT_LEVELS})

    def make_account(self, loop: LoopThread) -> "FakeAccount | None":
        """Returns the account of the key; None without a key."""
        return FakeAccount(self, loop) if self._key else None

    def _signature(self, text: bytes) -> str:
        return hmac.digest(self._secret.encode(), text, "sha256").hex()


class FakeAccount(LiveAccount):
    """An account at the fake venue."""

    capabilities: ClassVar[AccountCapabilities] = AccountCapabilities(
        amend=True, cancel_all=CancelAllScope.ACCOUNT, reduce_only=False, dead_man=False, account_fills=True
    )
    # The window for the time of a request, the longest delay of a request at the venue, and 3 s.
    arrives_within: ClassVar[float] = 5.0 + 10.0 + 3.0

    def __init__(self, venue: FakeWire, loop: LoopThread) -> None:
        super().__init__(loop)
        self._venue = venue

    async def send_order(self, order: NewOrder, last_check: LastCheck) -> OrderSnapshot:
        """Sends an order."""
        body: dict[str, Any] = {
            "clientOrderId": order.client_order_id,
            "symbol": order.symbol,
            "side": order.side.value.lower(),
            "orderType": order.order_type.value.lower(),
            "quantity": f"{order.quantity:f}",
            "timeInForce": order.time_in_force,
            "postOnly": order.post_only,
        }
        if order.price is not None:
            body["price"] = f"{order.price:f}"
        return _order(await self._send("POST", "/v1/orders", body, last_check=last_check))

    async def send_cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:  # noqa: ARG002
        """Cancels an open order."""
        return _order(await self._send("DELETE", _path(client_order_id)))

    async def send_cancel_all(self, symbol: str | None) -> None:
        """Cancels all open orders of a symbol, or of the account."""
        await self._send("DELETE", "/v1/orders", params=None if symbol is None else {"symbol": symbol})

    async def send_amend(
        self,
        symbol: str,  # noqa: ARG002
        client_order_id: str,
        quantity: Decimal | None,
        price: Decimal | None,
        last_check: LastCheck,
    ) -> OrderSnapshot:
        """Changes an open order."""
        changes = {"quantity": quantity, "price": price}
        body = {key: f"{value:f}" for key, value in changes.items() if value is not None}
        return _order(await self._send("PATCH", _path(client_order_id), body, last_check=last_check))

    async def fetch_order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:  # noqa: ARG002
        """Returns an order, open or ended."""
        try:
            return _order(await self._query(_path(client_order_id)))
        except OrderRefused as error:
            if error.reason == "unknown_order":
                return None
            raise

    async def fetch_open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns all open orders."""
        return [_order(order) for order in (await self._query("/v1/orders"))["orders"]]

    async def fetch_fills(self, symbol: str | None, mark: FillMark) -> Sequence[Fill]:  # noqa: ARG002
        """Returns all fills from a mark on, page by page."""
        since, after = mark.time, "0"
        if mark.execution_id is not None:
            since, after = 0, str(int(mark.execution_id) - 1)
        fills: list[Fill] = []
        while True:
            params = {"since": since, "after": after, "limit": FILLS_PER_PAGE}
            page = [_fill(fill) for fill in (await self._query("/v1/fills", params))["fills"]]
            fills += page
            if len(page) < FILLS_PER_PAGE:
                return fills
            after = page[-1].execution_id

    async def fetch_balances(self) -> Mapping[str, Balance]:
        """Returns the balances of the account."""
        balances = (await self._query("/v1/balances"))["balances"]
        return {balance["currency"]: _balance(balance) for balance in balances}

    async def fetch_time(self) -> int:
        """Returns the market's time, which is not the wall clock's."""
        return (await self._venue.rest.call("GET", "/v1/time"))["marketTime"]

    async def _query(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        return await self._venue.rest.call("GET", path, params, signed=True)

    async def _send(
        self,
        method: str,
        path: str,
        body: object = None,
        params: Mapping[str, str] | None = None,
        last_check: LastCheck = unchecked,
    ) -> Any:
        return await self._venue.rest.call(
            method, path, params, body=body, signed=True, changes=True, last_check=last_check
        )


def _path(client_order_id: str) -> str:
    return f"/v1/orders/{quote(client_order_id, safe='')}"


def _order(message: VenueMessage) -> OrderSnapshot:
    return OrderSnapshot(
        client_order_id=message.get("clientOrderId", ""),
        venue_order_id=message.get("venueOrderId"),
        symbol=message["symbol"],
        side=_SIDES[message["side"]],
        state=_STATES[message["state"]],
        order_type=_ORDER_TYPES[message["orderType"]],
        quantity=Decimal(message["quantity"]),
        filled_quantity=Decimal(message["filledQuantity"]),
        time_in_force=TimeInForce(message["timeInForce"]),
        price=_decimal(message, "price"),
        remaining_quantity=_decimal(message, "remainingQuantity"),
        average_price=_decimal(message, "averagePrice"),
        fee=_decimal(message, "fee"),
        fee_currency=message.get("feeCurrency"),
        reason=message.get("reason"),
        time=message["time"],
    )


def _reported_fill(message: VenueMessage) -> Fill | None:
    """Returns the fill that a report of an order describes."""
    if "executionId" not in message:
        return None
    return Fill(
        execution_id=message["executionId"],
        time=message["time"],
        symbol=message["symbol"],
        client_order_id=message.get("clientOrderId", ""),
        venue_order_id=message["venueOrderId"],
        side=_SIDES[message["side"]],
        price=Decimal(message["lastPrice"]),
        quantity=Decimal(message["lastQuantity"]),
        fee=Decimal(message["lastFee"]),
        fee_currency=message["lastFeeCurrency"],
        liquidity=Liquidity(message["liquidity"]),
    )


def _fill(message: VenueMessage) -> Fill:
    return Fill(
        execution_id=message["executionId"],
        time=message["time"],
        symbol=message["symbol"],
        client_order_id=message.get("clientOrderId", ""),
        venue_order_id=message["venueOrderId"],
        side=_SIDES[message["side"]],
        price=Decimal(message["price"]),
        quantity=Decimal(message["quantity"]),
        fee=Decimal(message["fee"]),
        fee_currency=message["feeCurrency"],
        liquidity=Liquidity(message["liquidity"]),
        trade_id=str(message["tradeId"]),
    )


def _balance(message: VenueMessage) -> Balance:
    return Balance(Decimal(message["total"]), Decimal(message["available"]), message["time"])


def _transfer(message: VenueMessage) -> Transfer | None:
    """Returns the deposit or withdrawal that a balance reports."""
    id = message.get("transferId")
    return None if id is None else Transfer(id, Decimal(message["change"]))


def _decimal(message: VenueMessage, key: str) -> Decimal | None:
    text = message.get(key)
    return None if text is None else Decimal(text)
