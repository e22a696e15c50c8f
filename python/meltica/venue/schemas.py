"""The JSON of the venue's REST, which `docs/venue.md` documents.

Prices, quantities and amounts are strings. An absent field is left out, never null.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from meltica.api.envelope import JsonObject, Schema
from meltica.http.errors import HttpError
from meltica.model import balances, enums, fills, orders

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")

SideText = Literal["buy", "sell"]
OrderTypeText = Literal["limit", "market"]


class RequestBody(Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of a request. Unknown keys are refused."""


class OrderRequest(RequestBody, frozen=True, kw_only=True):
    """`POST /v1/orders`."""

    client_order_id: str
    symbol: str
    side: SideText
    order_type: OrderTypeText
    quantity: str
    price: str | None = None
    time_in_force: enums.TimeInForce = enums.TimeInForce.GTC
    post_only: bool = False


class AmendRequest(RequestBody, frozen=True, kw_only=True):
    """`PATCH /v1/orders/{id}`."""

    quantity: str | None = None
    price: str | None = None


class SkippedFrames(RequestBody, frozen=True, kw_only=True):
    """Depth frames to lose."""

    symbol: str
    frames: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class ForeignOrderRequest(RequestBody, frozen=True, kw_only=True):
    """`POST /v1/accounts/{name}/orders`: an order of another client, without a client order id."""

    symbol: str
    side: SideText
    order_type: OrderTypeText
    quantity: str
    price: str | None = None
    time_in_force: enums.TimeInForce = enums.TimeInForce.GTC
    post_only: bool = False


class TransferRequest(RequestBody, frozen=True, kw_only=True):
    """`POST /v1/accounts/{name}/transfers`: a deposit, or a withdrawal with a negative amount."""

    currency: str
    amount: str


class ForgetRequest(RequestBody, frozen=True, kw_only=True):
    """`POST /v1/accounts/{name}/forget`."""

    client_order_id: str


class OlderBalanceRequest(RequestBody, frozen=True, kw_only=True):
    """`POST /v1/accounts/{name}/older-balance`."""

    currency: str


class Fees(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fee rates of all symbols."""

    maker: str
    taker: str
    currency: str = "quote"
    """`quote`, `base`, `received`, or a currency of the symbols."""
    price: str | UnsetType = UNSET
    """Price in quote of a currency of the symbols."""


class LostAnswersRequest(RequestBody, frozen=True, kw_only=True):
    """Requests about orders whose answers are lost."""

    method: Literal["POST", "PATCH", "DELETE"]
    count: Annotated[int, Meta(ge=0, le=1_000_000)] = 1
    carried_out: str = "0s"
    """The delay after which the venue carries them out, or `never`."""


class FaultRequest(RequestBody, frozen=True, kw_only=True):
    """`POST /v1/faults`."""

    behavior: JsonObject | None = None
    disconnect: str | Literal[True] | None = None
    skip_depth: SkippedFrames | None = None
    quiet: bool | None = None
    """Whether the background traders pause."""
    clock_skew: Annotated[int, Meta(ge=-(10**12), le=10**12)] | None = None
    """The error of the venue's wall clock, in milliseconds."""
    rate_limit: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    """Signed requests per second of each key; 0 for no limit."""
    fees: Fees | None = None
    """The fees of later trades."""
    mute: bool | None = None
    """Whether the account streams send nothing."""
    withhold_fills: bool | None = None
    """Whether new fills are neither reported nor listed."""
    fills_after_end: bool | None = None
    """Whether a fill that leaves its order open is reported after the order's end."""
    lose_answers: LostAnswersRequest | None = None


class Time(Schema, frozen=True, kw_only=True):
    """The venue's clocks."""

    time: int
    """The wall clock in milliseconds, which requests are signed with."""
    market_time: int
    """The market's time in nanoseconds, which orders, fills and events carry."""


class Instruments(Schema, frozen=True, kw_only=True):
    """The instruments of the venue."""

    instruments: list[JsonObject]


class OrderJson(Schema, frozen=True, kw_only=True):
    """An order, open or ended."""

    client_order_id: str | UnsetType = UNSET
    """Absent for an order of another client."""
    venue_order_id: str | UnsetType = UNSET
    symbol: str
    state: enums.OrderState
    side: SideText
    order_type: OrderTypeText
    time_in_force: enums.TimeInForce | UnsetType = UNSET
    price: str | UnsetType = UNSET
    quantity: str
    filled_quantity: str
    remaining_quantity: str | UnsetType = UNSET
    average_price: str | UnsetType = UNSET
    fee: str | UnsetType = UNSET
    fee_currency: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    time: int | UnsetType = UNSET
    """The market's time of the last change, in nanoseconds."""


class Orders(Schema, frozen=True, kw_only=True):
    """Open orders, oldest first."""

    orders: list[OrderJson]


class Cancelled(Schema, frozen=True, kw_only=True):
    """The client order ids of the cancelled orders."""

    cancelled: list[str]


class FillJson(Schema, frozen=True, kw_only=True):
    """One fill of the account."""

    execution_id: str
    """Counts the venue's fills from 1."""
    time: int
    symbol: str
    client_order_id: str | UnsetType = UNSET
    venue_order_id: str
    trade_id: int
    """Counts the symbol's trades from 1."""
    side: SideText
    price: str
    quantity: str
    fee: str
    fee_currency: str
    liquidity: enums.Liquidity


class Fills(Schema, frozen=True, kw_only=True):
    """Fills, oldest first."""

    fills: list[FillJson]


class BalanceJson(Schema, frozen=True, kw_only=True):
    """How much of one currency an account owns."""

    currency: str
    total: str
    available: str
    time: int
    """The market's time as of which the amounts are true, in nanoseconds."""


class Balances(Schema, frozen=True, kw_only=True):
    """The balances of an account."""

    balances: list[BalanceJson]


class LedgerAccount(Schema, frozen=True, kw_only=True):
    """One account in the ledger."""

    name: str
    balances: list[BalanceJson]
    open_orders: list[OrderJson]


class Ledger(Schema, frozen=True, kw_only=True):
    """The balances of all accounts, of the background traders and of the venue."""

    time: int
    accounts: list[LedgerAccount]
    outside: dict[str, str]
    """Currency -> what the background traders gained. Initial balances of accounts are their loss."""
    fees: dict[str, str]
    """Currency -> fees of the venue."""
    sums: dict[str, str]
    """Currency -> sum of accounts, background traders and fees; always zero."""
    fills: int


class ClientJson(Schema, frozen=True, kw_only=True):
    """One open stream."""

    id: int
    address: str
    account: str | UnsetType = UNSET
    channels: list[str]
    sent: int
    """Frames sent since the client connected."""
    queued: int
    """Frames that wait for the client to read."""


class Clients(Schema, frozen=True, kw_only=True):
    """The open streams, and counters of all streams."""

    clients: list[ClientJson]
    connected: int
    """Number of streams since the start."""
    cut: int
    """Number of streams that were closed because the client did not read."""


class Faults(Schema, frozen=True, kw_only=True):
    """The current faults."""

    connected: bool
    behavior: JsonObject
    quiet: bool
    clock_skew: int
    rate_limit: float
    fees: Fees
    mute: bool
    withhold_fills: bool
    fills_after_end: bool
    lost_answers: dict[str, int]
    """How many answers are still to be lost, by method."""


class PlacedOrder(Schema, frozen=True, kw_only=True):
    """An order of another client of an account."""

    symbol: str
    venue_order_id: str


class TransferJson(Schema, frozen=True, kw_only=True):
    """A deposit or a withdrawal."""

    transfer_id: str
    currency: str
    amount: str


class Requests(Schema, frozen=True, kw_only=True):
    """The orders that clients have sent."""

    posts: dict[str, int]
    """Client order id -> number of `POST /v1/orders` with it, refused ones included."""
    total: int
    forgotten: int
    """How many client order ids were forgotten, the oldest first."""


def number(name: str, text: str) -> Decimal:
    """Parses the number of a request. Raises HttpError."""
    if _NUMBER.fullmatch(text) is None:
        raise HttpError(400, "bad_request", f"`{name}`: expected a number such as 0.25, saw {text[:80]!r}")
    return Decimal(text)


def text(number: Decimal) -> str:
    """Returns a decimal in plain digits, without trailing zeros."""
    return format(number.normalize(), "f")


def order(snapshot: orders.OrderSnapshot) -> OrderJson:
    """Returns the JSON of an order."""
    force = snapshot.time_in_force
    return OrderJson(
        client_order_id=snapshot.client_order_id or UNSET,
        venue_order_id=_or_unset(snapshot.venue_order_id),
        symbol=snapshot.symbol,
        state=snapshot.state,
        side=_SIDES[snapshot.side],
        order_type=_ORDER_TYPES[snapshot.order_type],
        time_in_force=UNSET if force is None else force,
        price=_digits(snapshot.price),
        quantity=format(snapshot.quantity, "f"),
        filled_quantity=format(snapshot.filled_quantity, "f"),
        remaining_quantity=_digits(snapshot.remaining_quantity),
        average_price=_digits(snapshot.average_price),
        fee=_digits(snapshot.fee),
        fee_currency=_or_unset(snapshot.fee_currency),
        reason=_or_unset(snapshot.reason),
        time=UNSET if snapshot.time is None else snapshot.time,
    )


def fill(one: fills.Fill) -> FillJson:
    """Returns the JSON of a fill."""
    assert one.liquidity is not None, "the simulated venue knows the maker and the taker"
    assert one.trade_id is not None, "every fill of the simulated venue is a side of a trade"
    return FillJson(
        execution_id=one.execution_id,
        time=one.time,
        symbol=one.symbol,
        client_order_id=one.client_order_id or UNSET,
        venue_order_id=one.venue_order_id,
        trade_id=int(one.trade_id),
        side=_SIDES[one.side],
        price=text(one.price),
        quantity=text(one.quantity),
        fee=text(one.fee),
        fee_currency=one.fee_currency,
        liquidity=one.liquidity,
    )


def balance_list(by_currency: Mapping[str, balances.Balance]) -> list[BalanceJson]:
    """Returns the JSON of balances."""
    return [
        BalanceJson(
            currency=currency,
            total=text(balance.total),
            available=text(balance.available),
            time=balance.time,
        )
        for currency, balance in by_currency.items()
    ]


_SIDES: dict[enums.Side, SideText] = {enums.Side.BUY: "buy", enums.Side.SELL: "sell"}
_ORDER_TYPES: dict[enums.OrderType, OrderTypeText] = {
    enums.OrderType.LIMIT: "limit",
    enums.OrderType.MARKET: "market",
}


def _digits(number: Decimal | None) -> str | UnsetType:
    """Returns a decimal in plain digits, with all its decimals."""
    return UNSET if number is None else format(number, "f")


def _or_unset(value: str | None) -> str | UnsetType:
    return UNSET if value is None else value
