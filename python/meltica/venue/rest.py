"""The venue's REST routes: public ones, signed ones of an account, and those of the operator."""

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from meltica.api.envelope import Failure
from meltica.errors import OrderRefused
from meltica.http.errors import HttpError
from meltica.http.request_gate import TAKES_BODY
from meltica.model.enums import Side
from meltica.model.orders import NewOrder, OrderSnapshot, is_client_order_id
from meltica.venue import auth, schemas
from meltica.venue.auth import Signed
from meltica.venue.limits import PostCounts
from meltica.venue.messages import PATH

if TYPE_CHECKING:
    from meltica.simulator.account import SimulatedAccount
    from meltica.venue.exchange import Exchange

MAX_FILLS = 1_000
MAX_LEVELS = 5_000

AnyRequest = Request[Any, Any, Any]
Body = TypeVar("Body", bound=schemas.RequestBody)
Levels = Annotated[int, Parameter(ge=1, le=MAX_LEVELS)]
Count = Annotated[int, Parameter(ge=1, le=MAX_FILLS)]
Counted = Annotated[int, Parameter(ge=1)]
Natural = Annotated[int, Parameter(ge=0, le=(1 << 63) - 1)]


def public(venue: "Exchange") -> list[HTTPRouteHandler]:
    """Returns the routes without a signature."""
    market = venue.market

    @get("/v1/time")
    async def time() -> schemas.Time:
        return await venue.network.query(lambda: schemas.Time(time=venue.clock.now(), market_time=market.now))

    @get("/v1/instruments")
    async def instruments() -> schemas.Instruments:
        return await venue.network.query(
            lambda: schemas.Instruments(instruments=list(venue.instruments.values()))
        )

    @get("/v1/depth", media_type="application/json")
    async def depth(symbol: str, limit: Levels = 1_000) -> bytes:
        venue.check_symbol(symbol)
        return await venue.network.query(lambda: market.depth(symbol, limit))

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
    """Returns the routes of an account, which need a signature."""

    async def authenticate(request: AnyRequest) -> "SimulatedAccount":
        """Returns the account that signed a request. Raises HttpError and RateLimited."""
        name = venue.keys.account(await _signed(request))
        venue.limit.spend(name)
        return venue.accounts[name]

    @post("/v1/orders", opt={TAKES_BODY: True})
    async def submit(request: AnyRequest) -> schemas.OrderJson:
        _count(venue.posts, await request.body())
        account = await authenticate(request)
        order = _new_order(await _body(request, schemas.OrderRequest))
        return schemas.order(await account.submit(order))

    @get("/v1/orders")
    async def open_orders(request: AnyRequest) -> schemas.Orders:
        account = await authenticate(request)
        return schemas.Orders(orders=[schemas.order(order) for order in await account.open_orders()])

    @get("/v1/orders/{id:str}")
    async def order(request: AnyRequest, id: str) -> schemas.OrderJson:
        account = await authenticate(request)
        return _found(await account.order("", id), id)

    @patch("/v1/orders/{id:str}", opt={TAKES_BODY: True})
    async def amend(request: AnyRequest, id: str) -> schemas.OrderJson:
        account = await authenticate(request)
        changes = await _body(request, schemas.AmendRequest)
        if changes.quantity is None and changes.price is None:
            raise HttpError(400, "bad_request", "expected a quantity, a price or both, saw neither")
        quantity = None if changes.quantity is None else schemas.number("quantity", changes.quantity)
        price = None if changes.price is None else schemas.number("price", changes.price)
        return schemas.order(await account.amend("", id, quantity=quantity, price=price))

    @delete("/v1/orders/{id:str}", status_code=200)
    async def cancel(request: AnyRequest, id: str) -> schemas.OrderJson:
        account = await authenticate(request)
        return schemas.order(await account.cancel("", id))

    @delete("/v1/orders", status_code=200)
    async def cancel_all(request: AnyRequest, symbol: str | None = None) -> schemas.Cancelled:
        account = await authenticate(request)
        if symbol is not None:
            venue.check_symbol(symbol)
        return schemas.Cancelled(cancelled=await account.cancel_each(symbol))

    @get("/v1/fills")
    async def fills(
        request: AnyRequest, since: Natural = 0, after: Natural = 0, limit: Count = MAX_FILLS
    ) -> schemas.Fills:
        account = await authenticate(request)
        page = await account.fills_page(since=since, after=after, limit=limit)
        return schemas.Fills(fills=[schemas.fill(fill) for fill in page])

    @get("/v1/balances")
    async def balances(request: AnyRequest) -> schemas.Balances:
        account = await authenticate(request)
        return schemas.Balances(balances=schemas.balance_list(await account.balances()))

    return [submit, open_orders, order, amend, cancel, cancel_all, fills, balances]


def operator(venue: "Exchange") -> list[HTTPRouteHandler]:
    """Returns the operator's routes. The venue's faults do not apply to them."""

    @get("/v1/ledger")
    async def ledger() -> schemas.Ledger:
        return venue.ledger()

    @get("/v1/clients")
    async def clients() -> schemas.Clients:
        hub = venue.hub
        return schemas.Clients(
            clients=[
                schemas.ClientJson(
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

    @get("/v1/requests")
    async def requests(least: Counted = 1) -> schemas.Requests:
        posts = venue.posts
        return schemas.Requests(posts=posts.of_at_least(least), total=posts.total, forgotten=posts.forgotten)

    @post("/v1/faults", status_code=200, opt={TAKES_BODY: True})
    async def faults(request: AnyRequest) -> schemas.Faults:
        venue.operator.fault(await _body(request, schemas.FaultRequest))
        return venue.operator.faults()

    @get("/v1/faults")
    async def current_faults() -> schemas.Faults:
        return venue.operator.faults()

    return [ledger, clients, requests, faults, current_faults, *_interventions(venue)]


def _interventions(venue: "Exchange") -> list[HTTPRouteHandler]:
    """Returns the routes by which the operator acts on one account."""

    @post("/v1/accounts/{name:str}/transfers", opt={TAKES_BODY: True})
    async def transfer(request: AnyRequest, name: str) -> schemas.TransferJson:
        return venue.operator.transfer(name, await _body(request, schemas.TransferRequest))

    @post("/v1/accounts/{name:str}/orders", opt={TAKES_BODY: True})
    async def place(request: AnyRequest, name: str) -> schemas.PlacedOrder:
        return venue.operator.place(name, await _body(request, schemas.ForeignOrderRequest))

    @delete("/v1/accounts/{name:str}/orders/{symbol:str}/{id:str}")
    async def cancel(name: str, symbol: str, id: str) -> None:
        venue.operator.cancel(name, symbol, id)

    @post("/v1/accounts/{name:str}/forget", status_code=204, opt={TAKES_BODY: True})
    async def forget(request: AnyRequest, name: str) -> None:
        venue.operator.forget(name, await _body(request, schemas.ForgetRequest))

    @post("/v1/accounts/{name:str}/older-balance", status_code=204, opt={TAKES_BODY: True})
    async def older_balance(request: AnyRequest, name: str) -> None:
        venue.operator.send_older_balance(name, await _body(request, schemas.OlderBalanceRequest))

    return [transfer, place, cancel, forget, older_balance]


class _Numbered(msgspec.Struct, rename="camel"):
    client_order_id: str


def _count(posts: PostCounts, body: bytes) -> None:
    """Counts an order by its client order id, whatever else is wrong with it."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        id = msgspec.json.decode(body, type=_Numbered).client_order_id
        if is_client_order_id(id):
            posts.count(id)


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
    """Returns the body of a request. Raises HttpError when it does not have the form of `kind`."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise HttpError(400, "bad_request", f"the body does not fit: {error}") from None


def _new_order(body: schemas.OrderRequest) -> NewOrder:
    id = body.client_order_id
    if not is_client_order_id(id):
        raise HttpError(
            400, "bad_request", f"`clientOrderId`: expected 1 to 18 of 0-9 and a-z, saw {id[:80]!r}"
        )
    if (body.price is not None) != (body.order_type == "limit"):
        actual = "no price" if body.price is None else "a price"
        raise HttpError(
            400, "bad_request", f"expected a price only for limit orders, saw {body.order_type}, {actual}"
        )
    return NewOrder(
        client_order_id=id,
        symbol=body.symbol,
        side=Side.BUY if body.side == "buy" else Side.SELL,
        quantity=schemas.number("quantity", body.quantity),
        price=None if body.price is None else schemas.number("price", body.price),
        time_in_force=body.time_in_force,
        post_only=body.post_only,
    )


def _found(order: OrderSnapshot | None, id: str) -> schemas.OrderJson:
    if order is None:
        raise OrderRefused(
            "unknown_order", f"expected the client order id of an order of this account, saw {id[:80]!r}"
        )
    return schemas.order(order)
