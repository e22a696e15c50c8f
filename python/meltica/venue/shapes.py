"""The JSON of the venue's REST, as `docs/venue.md` tells it.

Prices, quantities and amounts are texts. What is absent is never null.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from meltica.api.envelope import JsonObject, Schema

if TYPE_CHECKING:
    from meltica.simulator.types import AccountFill, Balance


class Asked(Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends. Keys that nobody knows are refused."""


class OrderAsked(Asked, frozen=True, kw_only=True):
    """`POST /v1/orders`."""

    client_order_id: str
    symbol: str
    side: Literal["buy", "sell"]
    order_type: Literal["limit", "market"]
    quantity: str
    price: str | None = None
    time_in_force: Literal["GTC", "IOC", "FOK"] = "GTC"
    post_only: bool = False


class AmendAsked(Asked, frozen=True, kw_only=True):
    """`PATCH /v1/orders/{id}`."""

    quantity: str | None = None
    price: str | None = None


class SkipAsked(Asked, frozen=True, kw_only=True):
    """Depth frames that are to be lost."""

    symbol: str
    frames: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class FaultsAsked(Asked, frozen=True, kw_only=True):
    """`POST /v1/faults`."""

    behavior: JsonObject | None = None
    disconnect: str | Literal[True] | None = None
    skip_depth: SkipAsked | None = None
    quiet: bool | None = None
    """Whether the strangers rest."""
    clock_skew: Annotated[int, Meta(ge=-(10**12), le=10**12)] | None = None
    """What the wall's clock is off by, as the venue has it; ms."""
    rate_limit: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    """Signed requests a second of each key; 0 is no limit."""


class Time(Schema, frozen=True, kw_only=True):
    """The venue's clocks."""

    time: int
    """The wall's, ms: what requests are signed with."""
    market_time: int
    """The market's, ns: what everything that happens is stamped with."""


class Instruments(Schema, frozen=True, kw_only=True):
    """What is traded."""

    instruments: list[JsonObject]


class Order(Schema, frozen=True, kw_only=True):
    """An order, open or ended."""

    client_order_id: str
    venue_order_id: str | UnsetType = UNSET
    symbol: str
    state: Literal["ACK", "PARTIAL", "FILLED", "CANCELLED", "REJECTED", "EXPIRED"]
    side: Literal["buy", "sell"]
    order_type: Literal["limit", "market"]
    time_in_force: Literal["GTC", "IOC", "FOK"]
    price: str | UnsetType = UNSET
    quantity: str
    filled_quantity: str
    remaining_quantity: str
    average_price: str | UnsetType = UNSET
    fee: str
    fee_currency: str
    reason: str | UnsetType = UNSET
    time: int
    """Of its last change, the market's ns."""


class Orders(Schema, frozen=True, kw_only=True):
    """Open orders, oldest first."""

    orders: list[Order]


class Cancelled(Schema, frozen=True, kw_only=True):
    """The orders that were cancelled, by the account's ids."""

    cancelled: list[str]


class Fill(Schema, frozen=True, kw_only=True):
    """One fill of the account."""

    number: int
    time: int
    symbol: str
    client_order_id: str
    venue_order_id: str
    trade_id: int
    side: Literal["buy", "sell"]
    price: str
    quantity: str
    fee: str
    fee_currency: str
    maker: bool


class Fills(Schema, frozen=True, kw_only=True):
    """Fills, oldest first."""

    fills: list[Fill]


class Holding(Schema, frozen=True, kw_only=True):
    """What an account owns of a currency."""

    currency: str
    total: str
    available: str


class Holdings(Schema, frozen=True, kw_only=True):
    """What an account owns."""

    balances: list[Holding]


class LedgerAccount(Schema, frozen=True, kw_only=True):
    """One account in the ledger."""

    name: str
    balances: list[Holding]
    open_orders: list[Order]


class Ledger(Schema, frozen=True, kw_only=True):
    """Where all the money is."""

    time: int
    accounts: list[LedgerAccount]
    outside: dict[str, str]
    """What the strangers have gained, by currency; what accounts began with came from them."""
    fees: dict[str, str]
    """What the venue has earned."""
    sums: dict[str, str]
    """Accounts, strangers and fees together: zero, or money came from nowhere."""
    fills: int


class Client(Schema, frozen=True, kw_only=True):
    """One open stream."""

    id: int
    address: str
    account: str | UnsetType = UNSET
    channels: list[str]
    sent: int
    """Frames since it connected."""
    queued: int
    """Frames that wait until it reads."""


class Clients(Schema, frozen=True, kw_only=True):
    """The open streams, and what became of others."""

    clients: list[Client]
    connected: int
    """How many there were since the start."""
    cut: int
    """How many were cut because they did not read."""


class Faults(Schema, frozen=True, kw_only=True):
    """What goes wrong."""

    connected: bool
    behavior: JsonObject
    quiet: bool
    clock_skew: int
    rate_limit: float


def text(number: Decimal) -> str:
    """Returns a decimal in plain digits, no more than it needs."""
    return format(number.normalize(), "f")


def order(record: Mapping[str, Any]) -> Order:
    """Returns an order out of the venue's record."""
    return Order(
        client_order_id=record["clientOrderId"],
        venue_order_id=record.get("venueOrderId", UNSET),
        symbol=record["symbol"],
        state=record["state"],
        side=record["side"].lower(),
        order_type=record["orderType"].lower(),
        time_in_force=record["timeInForce"],
        price=record.get("price", UNSET),
        quantity=record["quantity"],
        filled_quantity=record["filledQuantity"],
        remaining_quantity=record["remainingQuantity"],
        average_price=record.get("averagePrice", UNSET),
        fee=record["fee"],
        fee_currency=record["feeCurrency"],
        reason=record.get("reason", UNSET),
        time=record["time"],
    )


def fill(told: "AccountFill") -> Fill:
    """Returns a fill as it is sent."""
    return Fill(
        number=told.number,
        time=told.time,
        symbol=told.symbol,
        client_order_id=told.client_order_id,
        venue_order_id=told.venue_order_id,
        trade_id=told.trade_id,
        side="buy" if told.side == "Buy" else "sell",
        price=text(told.price),
        quantity=text(told.quantity),
        fee=text(told.fee),
        fee_currency=told.fee_currency,
        maker=told.maker,
    )


def holdings(owned: "Mapping[str, Balance]") -> list[Holding]:
    """Returns balances as they are sent."""
    return [
        Holding(currency=currency, total=text(held.total), available=text(held.available))
        for currency, held in owned.items()
    ]
