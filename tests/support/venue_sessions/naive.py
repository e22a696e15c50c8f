"""Books built by the venues' documented rules, in plain Python: the check that sessions keep to these rules.

`apply` takes one frame and returns the books that it changed: a dict of texts per side, or None for a book
that the rules call broken. It returns nothing for a frame that concerns no book.
"""

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.support.venue_sessions import kraken, okx

Sides = tuple[dict[str, str], dict[str, str]]
Outcome = dict[str, Sides | None]


@dataclass
class _Book:
    """A book with its number; `sides` is None while it waits for a snapshot."""

    sides: Sides | None = None
    last: int = 0
    waiting: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def replace(self, bids: list[Any], asks: list[Any], last: int = 0) -> None:
        self.sides, self.last = ({}, {}), last
        self.change(bids, asks)

    def change(self, bids: list[Any], asks: list[Any]) -> None:
        assert self.sides is not None
        for side, levels in zip(self.sides, (bids, asks), strict=True):
            for price, quantity, *_ in levels:
                side[price] = quantity
                if Decimal(quantity) == 0:
                    del side[price]

    def cut(self, depth: int) -> None:
        assert self.sides is not None
        for side, best_first in zip(self.sides, (True, False), strict=True):
            for price in sorted(side, key=Decimal, reverse=best_first)[depth:]:
                del side[price]

    def best(self, depth: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Returns the best levels of bids and asks."""
        assert self.sides is not None
        bids, asks = self.sides
        return sorted(bids.items(), key=_price, reverse=True)[:depth], sorted(asks.items(), key=_price)[
            :depth
        ]


def _price(level: tuple[str, str]) -> Decimal:
    return Decimal(level[0])


class Builder:
    """The books of one connection."""

    def __init__(self) -> None:
        self.books: dict[str, _Book] = {}
        self.checksums = 0

    def book(self, symbol: str) -> _Book:
        return self.books.setdefault(symbol, _Book())

    def apply(self, frame: str, requested: str | None = None) -> Outcome:
        """Applies one frame; `requested` is the symbol of an answer."""
        raise NotImplementedError

    def known(self, symbol: str) -> Outcome:
        return {symbol: self.book(symbol).sides}

    def broke(self, symbol: str) -> Outcome:
        self.book(symbol).sides = None
        return {symbol: None}


class Binance(Builder):
    """Diffs that wait for a snapshot, `U` = last + 1; with `pu` (USD-M), `pu` = last."""

    def apply(self, frame: str, requested: str | None = None) -> Outcome:
        whole = json.loads(frame)
        data: Any = whole.get("data", whole)
        if requested:
            book = self.book(requested)
            book.replace(data["bids"], data["asks"], data["lastUpdateId"])
            waiting, book.waiting = book.waiting, []
            joined = False
            for diff in waiting:
                if diff["u"] <= book.last:
                    continue
                first_joins = not joined and diff["U"] <= book.last + 1
                if not (first_joins or diff.get("pu", diff["U"] - 1) == book.last):
                    return self.broke(requested)
                joined = True
                book.change(diff["b"], diff["a"])
                book.last = diff["u"]
            return self.known(requested)
        if "@depth@" in whole.get("stream", ""):
            return self.diff(data, canonical(data["s"]))
        return {}

    def diff(self, data: dict[str, Any], symbol: str) -> Outcome:
        book = self.book(symbol)
        if book.sides is None:
            book.waiting.append(data)
            return {}
        if data["u"] <= book.last:
            if data["u"] < book.last - 1000:
                return self.broke(symbol)
            return self.known(symbol)
        joins = data["U"] <= book.last + 1 if "pu" not in data else data["pu"] <= book.last
        if not joins:
            outcome = self.broke(symbol)
            book.waiting.append(data)
            return outcome
        book.change(data["b"], data["a"])
        book.last = data["u"]
        return self.known(symbol)


class Okx(Builder):
    """`prevSeqId` is the number that the book has, also when `seqId` is lower; -1 in a snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: dict[str, set[tuple[int, int]]] = {}

    def apply(self, frame: str, requested: str | None = None) -> Outcome:
        if frame == "pong":
            return {}
        whole: Any = json.loads(frame)
        if "data" not in whole or whole["arg"]["channel"] != "books":
            return {}
        symbol, (data,) = whole["arg"]["instId"], whole["data"]
        book = self.book(symbol)
        if whole["action"] == "snapshot":
            assert data["prevSeqId"] == -1
            book.replace(data["bids"], data["asks"], data["seqId"])
        elif book.sides is None:
            return {}
        elif data["prevSeqId"] == book.last:
            book.change(data["bids"], data["asks"])
            book.last = data["seqId"]
        elif (data["prevSeqId"], data["seqId"]) in self.pairs.get(symbol, set()):
            return self.known(symbol)
        else:
            return self.broke(symbol)
        self.pairs.setdefault(symbol, set()).add((data["prevSeqId"], data["seqId"]))
        if data["checksum"]:
            if okx.checksum(*book.best(25)) != data["checksum"]:
                return self.broke(symbol)
            self.checksums += 1
        return self.known(symbol)


class Bybit(Builder):
    """A snapshot replaces whatever its number; deltas have `u` = last + 1."""

    def apply(self, frame: str, requested: str | None = None) -> Outcome:
        whole = json.loads(frame)
        if not str(whole.get("topic", "")).startswith("orderbook.50."):
            return {}
        data = whole["data"]
        symbol = canonical(data["s"])
        book = self.book(symbol)
        if whole["type"] == "snapshot":
            book.replace(data["b"], data["a"], data["u"])
        elif book.sides is None:
            return {}
        elif data["u"] == book.last + 1:
            book.change(data["b"], data["a"])
            book.last = data["u"]
        elif data["u"] > book.last:
            return self.broke(symbol)
        return self.known(symbol)


class Kraken(Builder):
    """No numbers: changes, a cut to the depth, and the checksum."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0

    def apply(self, frame: str, requested: str | None = None) -> Outcome:
        whole = json.loads(frame, parse_float=str, parse_int=str)
        if whole.get("method") == "subscribe" and whole["success"]:
            self.depth = int(whole["result"]["depth"])
        if whole.get("channel") != "book":
            return {}
        (data,) = whole["data"]
        symbol = data["symbol"].replace("/", "-")
        book = self.book(symbol)
        bids, asks = ([(level["price"], level["qty"]) for level in data[side]] for side in ("bids", "asks"))
        if whole["type"] == "snapshot":
            book.replace(bids, asks)
        elif book.sides is None:
            return {}
        else:
            book.change(bids, asks)
            book.cut(self.depth)
        best_bids, best_asks = book.best(10)
        if kraken.checksum(best_asks, best_bids) != int(data["checksum"]):
            return self.broke(symbol)
        self.checksums += 1
        return self.known(symbol)


class Coinbase(Builder):
    """One number per connection: a jump breaks all books, a number that is not higher is a repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.number: int | None = None

    def apply(self, frame: str, requested: str | None = None) -> Outcome:
        whole = json.loads(frame)
        number = whole.get("sequence_num")
        if number is None:
            return {}
        if self.number is not None and number <= self.number:
            return {}
        outcome: Outcome = {}
        if self.number is not None and number > self.number + 1:
            for symbol in self.books:
                outcome |= self.broke(symbol)
        self.number = number
        for event in whole["events"] if whole["channel"] == "l2_data" else ():
            book = self.book(event["product_id"])
            sides: dict[str, list[tuple[str, str]]] = {"bid": [], "offer": []}
            for update in event["updates"]:
                sides[update["side"]].append((update["price_level"], update["new_quantity"]))
            if event["type"] == "snapshot":
                book.replace(sides["bid"], sides["offer"])
            elif book.sides is not None:
                book.change(sides["bid"], sides["offer"])
            else:
                continue
            outcome |= self.known(event["product_id"])
        return outcome


def canonical(text: str) -> str:
    """Returns the canonical symbol of a text without separator whose quote is USDT."""
    return f"{text.removesuffix('USDT')}-USDT"
