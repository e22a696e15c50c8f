"""One synthetic market per symbol: a book in ticks and lots, and the trades that take from it. Seeded."""

import random
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

Side = dict[int, int]
Level = tuple[Decimal, Decimal]

LEVELS = (30, 60)
"""The fewest and the most levels of a side."""


@dataclass(frozen=True)
class Instrument:
    """A symbol with its scales: prices are multiples of `tick` in units of 10^-`price_digits`."""

    symbol: str
    """The canonical symbol."""
    price_digits: int
    quantity_digits: int
    mid: int
    """The first price, in units of 10^-price_digits."""
    tick: int = 1
    lot: int = 1_000
    """The usual quantity, in units of 10^-quantity_digits."""
    contract: str | None = None
    """Size of a contract in base; quantities are in contracts then."""

    @property
    def parts(self) -> tuple[str, str]:
        """The base and the quote."""
        base, quote = self.symbol.split("-")[:2]
        return base, quote

    def price(self, mantissa: int) -> str:
        """Returns a price with all its digits."""
        return digits(mantissa, self.price_digits)

    def quantity(self, mantissa: int) -> str:
        """Returns a quantity with all its digits."""
        return digits(mantissa, self.quantity_digits)

    def level(self, price: int, quantity: int) -> Level:
        """Returns a level as a strategy should see it, with the quantity in base."""
        size = Decimal(self.contract or "1")
        return Decimal(self.price(price)), Decimal(self.quantity(quantity)) * size


def digits(mantissa: int, places: int) -> str:
    """Returns `mantissa` x 10^-`places` as text, with all places."""
    if not places:
        return str(mantissa)
    whole, part = divmod(mantissa, 10**places)
    return f"{whole}.{part:0{places}d}"


def shortest(text: str) -> str:
    """Returns a number without the zeros at its end."""
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class Trade:
    """A trade; `side` is that of the taker."""

    id: int
    price: int
    quantity: int
    side: str
    ns: int


@dataclass(frozen=True)
class Book:
    """The levels of a moment, best first, as mantissas."""

    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, bids: Mapping[int, int], asks: Mapping[int, int], depth: int | None = None) -> "Book":
        """Returns the best `depth` levels of two sides, all by default."""
        return cls(tuple(sorted(bids.items(), reverse=True)[:depth]), tuple(sorted(asks.items())[:depth]))

    def top(self, depth: int) -> "Book":
        """Returns the best `depth` levels."""
        return Book(self.bids[:depth], self.asks[:depth])


@dataclass
class Changes:
    """The levels that changed since some moment, by side, with the new quantity; 0 is gone."""

    bids: Side = field(default_factory=Side)
    asks: Side = field(default_factory=Side)

    def add(self, other: "Changes") -> None:
        """Appends later changes."""
        self.bids.update(other.bids)
        self.asks.update(other.asks)

    def __bool__(self) -> bool:
        return bool(self.bids or self.asks)

    @classmethod
    def between(cls, old: Book, new: Book) -> "Changes":
        """Returns what leads from one book to another."""

        def side(old: Iterable[tuple[int, int]], new: Iterable[tuple[int, int]]) -> Side:
            before, after = dict(old), dict(new)
            gone = {price: 0 for price in before if price not in after}
            return gone | {price: q for price, q in after.items() if before.get(price) != q}

        return cls(side(old.bids, new.bids), side(old.asks, new.asks))


class Market:
    """One symbol. `step` moves the book and trades; each changed level takes one number of `update_id`."""

    def __init__(self, instrument: Instrument, rng: random.Random) -> None:
        self.instrument = instrument
        self.rng = rng
        self.bids: Side = {}
        self.asks: Side = {}
        self.update_id = rng.randrange(10**9, 10**10)
        self.trade_id = rng.randrange(10**6, 10**8)
        self.volume = 0
        self.last = instrument.mid
        self.candle = [instrument.mid] * 4 + [0]
        self.recent = deque[Trade](maxlen=3)
        tick = instrument.tick
        for i in range(45):
            self.bids[instrument.mid - tick * (1 + i)] = self._lots()
            self.asks[instrument.mid + tick * (1 + i)] = self._lots()

    @property
    def bid(self) -> int:
        """The best bid."""
        return max(self.bids)

    @property
    def ask(self) -> int:
        """The best ask."""
        return min(self.asks)

    def book(self, depth: int | None = None) -> Book:
        """Returns the best `depth` levels of now, all by default."""
        return Book.of(self.bids, self.asks, depth)

    def step(self, ns: int) -> tuple[Changes, list[Trade]]:
        """Moves the market on. Returns the changed levels and the trades."""
        before, trades = self.book(), list[Trade]()
        for _ in range(self.rng.randint(1, 6)):
            choice = self.rng.random()
            if choice < 0.25:
                trades.extend(self._take(ns))
            elif choice < 0.8:
                self._quote()
            else:
                self._remove()
        self._keep_depth()
        changes = Changes.between(before, self.book())
        self.update_id += len(changes.bids) + len(changes.asks)
        return changes, trades

    def restart_numbers(self) -> None:
        """Starts the numbers of updates again, at 1, as a venue does after maintenance."""
        self.update_id = 1

    def _lots(self) -> int:
        return max(1, int(self.rng.lognormvariate(0, 1) * self.instrument.lot))

    def _take(self, ns: int) -> list[Trade]:
        buys = self.rng.random() < 0.5
        side = self.asks if buys else self.bids
        left, trades = self._lots(), list[Trade]()
        while left and len(side) > LEVELS[0] // 2:
            best = min(side) if buys else max(side)
            quantity = min(left, side[best])
            left -= quantity
            side[best] -= quantity
            if not side[best]:
                del side[best]
            self.trade_id += 1
            self.last, self.volume = best, self.volume + quantity
            opened, high, low, _, volume = self.candle
            self.candle = [opened, max(high, best), min(low, best), best, volume + quantity]
            trades.append(Trade(self.trade_id, best, quantity, "Buy" if buys else "Sell", ns))
        self.recent.extend(trades)
        return trades

    def next_candle(self) -> list[int]:
        """Ends the candle: open, high, low, close and volume."""
        ended, self.candle = self.candle, [self.last] * 4 + [0]
        return ended

    def _quote(self) -> None:
        away = int(self.rng.expovariate(0.2))
        if self.rng.random() < 0.5:
            self.bids[max(self.ask - self.instrument.tick * (1 + away), self.instrument.tick)] = self._lots()
        else:
            self.asks[self.bid + self.instrument.tick * (1 + away)] = self._lots()

    def _remove(self) -> None:
        side = self.bids if self.rng.random() < 0.5 else self.asks
        if len(side) > LEVELS[0] // 2:
            del side[self.rng.choice(list(side))]

    def _keep_depth(self) -> None:
        tick = self.instrument.tick
        while len(self.bids) < LEVELS[0]:
            self.bids[max(min(self.bids) - tick * self.rng.randint(1, 3), tick)] = self._lots()
        while len(self.asks) < LEVELS[0]:
            self.asks[max(self.asks) + tick * self.rng.randint(1, 3)] = self._lots()
        while len(self.bids) > LEVELS[1]:
            del self.bids[min(self.bids)]
        while len(self.asks) > LEVELS[1]:
            del self.asks[max(self.asks)]
