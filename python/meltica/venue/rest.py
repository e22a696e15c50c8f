"""The REST side for clients: what everybody may ask, and what an account asks with its signature."""

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from meltica.api.envelope import Failure
from meltica.errors import OrderRefused
from meltica.http.errors import HttpError
from meltica.model.account import NewOrder
from meltica.model.enums import Side
from meltica.venue import auth, shapes
from meltica.venue.auth import Signed
from meltica.venue.messages import PATH

if TYPE_CHECKING:
    from meltica.simulator.desk import Desk
    from meltica.venue.exchange import Exchange

MAX_FILLS = 1_000
MAX_LEVELS = 5_000

_ID = re.compile(r"[0-9a-z]{1,18}")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")

AnyRequest = Request[Any, Any, Any]
Body = TypeVar("Body", bound=shapes.Asked)
Levels = Annotated[int, Parameter(ge=1, le=MAX_LEVELS)]
Count = Annotated[int, Parameter(ge=1, le=MAX_FILLS)]
Natural = Annotated[int, Parameter(ge=0, le=(1 << 63) - 1)]


def public(venue: "Exchange") -> list[HTTPRouteHandler]:
    """Returns the handlers of what needs no signature."""
    market = venue.market

    @get("/v1/time")
    async def time() -> shapes.Time:
        return await venue.line.request(
            lambda: shapes.Time(time=venue.clock.now(), market_time=market.now), changes=False
        )

    @get("/v1/instruments")
    async def instruments() -> shapes.Instruments:
        return await venue.line.request(
            lambda: shapes.Instruments(instruments=list(venue.instruments.values())), changes=False
        )

    @get("/v1/depth", media_type="application/json")
    async def depth(symbol: str, limit: Levels = 1_000) -> bytes:
        venue.check_symbol(symbol)
        return await venue.line.request(lambda: market.depth(symbol, limit), changes=False)

    @get(PATH)
    async def stream() -> Response[Failure]:
        text = f"expected a websocket handshake: connect a websocket client to ws://HOST:PORT{PATH}"
        return Response(
            Failure(error=text, code="upgrade_required"),
            status_code=426,
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )

    return [time, instruments, depth, stream]


def signed(venue: "Exchange") -> list[HTTPRouteHandler]:
    """Returns the handlers of what an account asks."""
    market = venue.market

    async def enter(request: AnyRequest) -> "tuple[str, Desk]":
        """Returns whose request it is, and the desk it goes to. Raises HttpError and RateLimited."""
        name = venue.keys.account(await _signed(request))
        venue.limit.spend(name)
        return name, venue.desks[name]

    @post("/v1/orders")
    async def submit(request: AnyRequest) -> shapes.Order:
        _, desk = await enter(request)
        asked = await _body(request, shapes.OrderAsked)
        await desk.submit(_new_order(asked))
        return _found(desk, asked.client_order_id)

    @get("/v1/orders")
    async def open_orders(request: AnyRequest) -> shapes.Orders:
        _, desk = await enter(request)
        records = await venue.line.request(desk.open_records, changes=False)
        return shapes.Orders(orders=[shapes.order(record) for record in records])

    @get("/v1/orders/{id:str}")
    async def order(request: AnyRequest, id: str) -> shapes.Order:
        _, desk = await enter(request)
        return await venue.line.request(lambda: _found(desk, id), changes=False)

    @patch("/v1/orders/{id:str}")
    async def amend(request: AnyRequest, id: str) -> shapes.Order:
        _, desk = await enter(request)
        asked = await _body(request, shapes.AmendAsked)
        if asked.quantity is None and asked.price is None:
            raise HttpError(400, "bad_request", "expected a quantity, a price or both, saw neither")
        quantity = None if asked.quantity is None else _number("quantity", asked.quantity)
        price = None if asked.price is None else _number("price", asked.price)
        await desk.amend("", id, quantity=quantity, price=price)
        return _found(desk, id)

    @delete("/v1/orders/{id:str}", status_code=200)
    async def cancel(request: AnyRequest, id: str) -> shapes.Order:
        _, desk = await enter(request)
        await desk.cancel("", id)
        return _found(desk, id)

    @delete("/v1/orders", status_code=200)
    async def cancel_all(request: AnyRequest) -> shapes.Cancelled:
        _, desk = await enter(request)
        return shapes.Cancelled(cancelled=await desk.cancel_all())

    @get("/v1/fills")
    async def fills(
        request: AnyRequest, since: Natural = 0, after: Natural = 0, limit: Count = MAX_FILLS
    ) -> shapes.Fills:
        name, _ = await enter(request)
        told = await venue.line.request(
            lambda: market.fills_since(after, time=since, limit=limit, account=name), changes=False
        )
        return shapes.Fills(fills=[shapes.fill(each) for each in told])

    @get("/v1/balances")
    async def balances(request: AnyRequest) -> shapes.Holdings:
        name, _ = await enter(request)
        owned = await venue.line.request(lambda: market.balances(account=name), changes=False)
        return shapes.Holdings(balances=shapes.holdings(owned))

    return [submit, open_orders, order, amend, cancel, cancel_all, fills, balances]


def operator(venue: "Exchange") -> list[HTTPRouteHandler]:
    """Returns the handlers of who runs the venue. Nothing happens to these on their way."""

    @get("/v1/ledger")
    async def ledger() -> shapes.Ledger:
        return venue.ledger()

    @get("/v1/clients")
    async def clients() -> shapes.Clients:
        hub = venue.hub
        return shapes.Clients(
            clients=[
                shapes.Client(
                    id=client.id,
                    address=client.address,
                    account=client.account or msgspec.UNSET,
                    channels=list(client.channels),
                    sent=client.sent,
                    queued=client.queued,
                )
                for client in hub.clients
            ],
            connected=hub.connected,
            cut=hub.cut,
        )

    @post("/v1/faults", status_code=200)
    async def faults(request: AnyRequest) -> shapes.Faults:
        venue.fault(await _body(request, shapes.FaultsAsked))
        return venue.faults()

    @get("/v1/faults")
    async def present_faults() -> shapes.Faults:
        return venue.faults()

    return [ledger, clients, faults, present_faults]


async def _signed(request: AnyRequest) -> Signed:
    query = request.scope["query_string"]
    path = request.scope["raw_path"] + (b"?" + query if query else b"")
    headers = request.headers
    return Signed(
        headers.get(auth.KEY_HEADER),
        headers.get(auth.TIME_HEADER),
        headers.get(auth.SIGNATURE_HEADER),
        request.method,
        path.decode("latin-1"),
        await request.body(),
    )


async def _body(request: AnyRequest, kind: type[Body]) -> Body:
    """Returns a request's body. Raises HttpError with what does not fit."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise HttpError(400, "bad_request", f"the body does not fit: {error}") from None


def _new_order(asked: shapes.OrderAsked) -> NewOrder:
    if _ID.fullmatch(asked.client_order_id) is None:
        seen = repr(asked.client_order_id[:80])
        raise HttpError(400, "bad_request", f"`clientOrderId`: expected 1 to 18 of 0-9 and a-z, saw {seen}")
    if (asked.price is not None) != (asked.order_type == "limit"):
        seen = "no price" if asked.price is None else "a price"
        raise HttpError(
            400,
            "bad_request",
            f"expected a price for limit orders alone, saw {asked.order_type}, {seen}",
        )
    return NewOrder(
        client_order_id=asked.client_order_id,
        symbol=asked.symbol,
        side=Side.BUY if asked.side == "buy" else Side.SELL,
        quantity=_number("quantity", asked.quantity),
        price=None if asked.price is None else _number("price", asked.price),
        time_in_force=asked.time_in_force,
        post_only=asked.post_only,
    )


def _number(name: str, text: str) -> Decimal:
    if _NUMBER.fullmatch(text) is None:
        raise HttpError(400, "bad_request", f"`{name}`: expected a number such as 0.25, saw {text[:80]!r}")
    return Decimal(text)


def _found(desk: "Desk", id: str) -> shapes.Order:
    record = desk.record(id)
    if record is None:
        raise OrderRefused(
            "unknown_order", f"expected the client id of an order of this account, saw {id[:80]!r}"
        )
    return shapes.order(record)
