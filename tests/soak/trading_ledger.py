"""Compares what a gateway has in its database with the ledger of the venue, exactly."""

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

from meltica.model.symbols import currencies
from tests.support.venues import Venue

PAGE = 1000

State = tuple[str, Decimal]
"""State and filled quantity of an order."""


class Execution(NamedTuple):
    """A fill, as both sides have it."""

    order: str
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str


class Books(NamedTuple):
    """What the database of a gateway says of one live provider."""

    orders: dict[str, dict[str, Any]]
    fills: dict[str, Execution]
    positions: dict[tuple[str, str], Decimal]
    """Instance and symbol -> quantity."""
    entries: dict[str, Decimal]
    """Currency -> what belongs to no instance."""


def read_books(dsn: str) -> Books:
    """Reads the database."""
    with psycopg.connect(dsn) as connection:
        connection.read_only = True
        orders: dict[str, dict[str, Any]] = {
            row[0]: dict(zip(("state", "filled", "symbol", "side", "cost", "reason"), row[1:], strict=True))
            for row in connection.execute(
                "select client_order_id, state, filled_quantity, symbol, side, filled_cost, reason "
                "from meltica.orders where mode = 'live'"
            )
        }
        fills = {
            row[0]: Execution(*row[1:])
            for row in connection.execute(
                "select execution_id, client_order_id, symbol, side, f.price, f.quantity, fee, fee_currency "
                "from meltica.fills f join meltica.orders o on o.id = f.order_id where mode = 'live'"
            )
        }
        positions = {
            (row[0], row[1]): row[2]
            for row in connection.execute(
                "select instance, symbol, quantity from meltica.positions where mode = 'live'"
            )
        }
        entries = {
            row[0]: row[1]
            for row in connection.execute(
                "select currency, sum(amount) from meltica.ledger_entries where mode = 'live' group by 1"
            )
        }
    return Books(orders, fills, positions, entries)


def venue_fills(venue: Venue) -> list[dict[str, Any]]:
    """Returns all fills of the account at the venue."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = venue.done("GET", f"/v1/fills?since=0&after={after}&limit={PAGE}")["fills"]
        found += page
        if len(page) < PAGE:
            return found
        after = page[-1]["executionId"]


def disagreements(dsn: str, venue: Venue, agreed: dict[str, State]) -> Iterator[str]:
    """Yields where the database and the venue differ. Neither may change meanwhile.

    `agreed` has the states of orders in which both have agreed, which the venue is not asked for again.
    """
    books = read_books(dsn)
    theirs = {
        fill["executionId"]: Execution(
            fill["clientOrderId"],
            fill["symbol"],
            fill["side"].capitalize(),
            Decimal(fill["price"]),
            Decimal(fill["quantity"]),
            Decimal(fill["fee"]),
            fill["feeCurrency"],
        )
        for fill in venue_fills(venue)
        if fill.get("clientOrderId")
    }
    for id in sorted(theirs.keys() | books.fills.keys(), key=int):
        if theirs.get(id) != books.fills.get(id):
            yield f"fill {id}: the venue has {theirs.get(id)}, the database {books.fills.get(id)}"
    yield from _order_faults(books, venue, agreed)
    yield from _position_faults(books)
    yield from _balance_faults(books, venue)
    twice = venue.get("/v1/requests?least=2")["posts"]
    if twice:
        yield f"client order ids that were sent more than once: {twice}"


def _order_faults(books: Books, venue: Venue, agreed: dict[str, State]) -> Iterator[str]:
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for fill in books.fills.values():
        quantities[fill.order] += fill.quantity
        costs[fill.order] += fill.quantity * fill.price
    for id, order in books.orders.items():
        if order["state"] not in ("FILLED", "CANCELLED", "REJECTED", "EXPIRED"):
            yield f"order {id} has not ended: {order}"
        if (order["filled"], order["cost"]) != (quantities[id], costs[id]):
            yield f"order {id}: its fills add up to {quantities[id]} for {costs[id]}: {order}"
        ours = order["state"], order["filled"]
        if agreed.get(id) == ours:
            continue
        answer = venue.ask("GET", f"/v1/orders/{id}")
        if answer.status_code == 404:
            if order["state"] not in ("REJECTED", "CANCELLED"):
                yield f"order {id}: the venue does not have it: {order}"
            continue
        theirs = answer.json()
        state = (theirs["state"], Decimal(theirs["filledQuantity"]))
        if state == ours:
            agreed[id] = ours
        else:
            yield f"order {id}: the venue says {state}: {order}"
    for open_order in venue.done("GET", "/v1/orders")["orders"]:
        if "clientOrderId" in open_order:
            yield f"the venue has an open order of ours: {open_order}"


def _position_faults(books: Books) -> Iterator[str]:
    filled: dict[str, Decimal] = defaultdict(Decimal)
    for fill in books.fills.values():
        base = currencies(fill.symbol)[0]
        filled[fill.symbol] += fill.quantity if fill.side == "Buy" else -fill.quantity
        if fill.fee_currency == base:
            filled[fill.symbol] -= fill.fee
    held: dict[str, Decimal] = defaultdict(Decimal)
    for (_, symbol), quantity in books.positions.items():
        held[symbol] += quantity
    for symbol in filled.keys() | held.keys():
        if filled[symbol] != held[symbol]:
            yield f"{symbol}: positions add up to {held[symbol]}, fills to {filled[symbol]}"


def _balance_faults(books: Books, venue: Venue) -> Iterator[str]:
    """The venue's total is what belongs to no instance, and what the fills of instances changed."""
    explained: dict[str, Decimal] = defaultdict(Decimal, books.entries)
    for fill in books.fills.values():
        base, quote = currencies(fill.symbol)
        sign = 1 if fill.side == "Buy" else -1
        explained[base] += sign * fill.quantity
        explained[quote] -= sign * fill.quantity * fill.price
        explained[fill.fee_currency] -= fill.fee
    totals = {
        each["currency"]: Decimal(each["total"]) for each in venue.done("GET", "/v1/balances")["balances"]
    }
    for currency in sorted(totals.keys() | explained.keys()):
        if totals.get(currency, Decimal(0)) != explained[currency]:
            yield f"{currency}: the venue has {totals.get(currency)}, explained are {explained[currency]}"
