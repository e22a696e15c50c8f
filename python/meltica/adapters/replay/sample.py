"""Generates a small Binance session for trials: deterministic, in the venue's own format.

It has two symbols, each with a depth snapshot, diffs every 100 ms, a book ticker and trades. Prices follow a
seeded random walk, and the books are consistent, so a replay reports no gap and no error.
"""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

START_NS = 1_735_732_800_000_000_000
"""2025-01-01T12:00:00Z."""
STEP_NS = 100_000_000
LEVELS = 50
STEPS = 900


@dataclass
class SampleMarket:
    """One symbol: its book in ticks and lots, and its messages."""

    name: str
    mid: int
    tick_digits: int
    lot: int
    rng: random.Random
    bids: dict[int, int] = field(default_factory=dict[int, int])
    asks: dict[int, int] = field(default_factory=dict[int, int])
    update_id: int = 1_000_000
    trade_id: int = 500_000

    def __post_init__(self) -> None:
        for i in range(LEVELS):
            self.bids[self.mid - 1 - i] = self.lots()
            self.asks[self.mid + 1 + i] = self.lots()

    def lots(self) -> int:
        """Returns the size of an order, in lots."""
        return max(1, int(self.rng.lognormvariate(0, 1) * self.lot))

    def price(self, ticks: int) -> str:
        """Returns a price in the venue's format."""
        whole, part = divmod(ticks, 10**self.tick_digits)
        return f"{whole}.{part:0{self.tick_digits}d}".ljust(len(str(whole)) + 9, "0")

    def quantity(self, lots: int) -> str:
        """Returns a quantity in the venue's format."""
        return f"{lots // 100_000}.{lots % 100_000:05d}000"

    def level(self, ticks: int, lots: int) -> list[str]:
        """Returns a level in the venue's format."""
        return [self.price(ticks), self.quantity(lots)]

    def snapshot(self) -> dict[str, object]:
        """Returns the REST depth snapshot."""
        return {
            "lastUpdateId": self.update_id,
            "bids": [self.level(p, q) for p, q in sorted(self.bids.items(), reverse=True)],
            "asks": [self.level(p, q) for p, q in sorted(self.asks.items())],
        }

    def step(self, now_ms: int) -> Iterator[tuple[str, dict[str, object]]]:
        """Yields the messages of 100 ms: trades, the diff of the book, and the new best prices."""
        for _ in range(self.rng.choice((0, 0, 1, 1, 2))):
            yield "trade", self._trade(now_ms)
        before = {**self.bids}, {**self.asks}
        self._move()
        first, self.update_id = self.update_id + 1, self.update_id + self.rng.randint(1, 9)
        yield (
            "depth@100ms",
            {
                "e": "depthUpdate",
                "E": now_ms,
                "s": self.name,
                "U": first,
                "u": self.update_id,
                "b": self._changes(before[0], self.bids),
                "a": self._changes(before[1], self.asks),
            },
        )
        bid, ask = max(self.bids), min(self.asks)
        (b, bq), (a, aq) = self.level(bid, self.bids[bid]), self.level(ask, self.asks[ask])
        yield "bookTicker", {"u": self.update_id, "s": self.name, "b": b, "B": bq, "a": a, "A": aq}

    def _trade(self, now_ms: int) -> dict[str, object]:
        self.trade_id += 1
        sell = self.rng.random() < 0.5
        price = max(self.bids) if sell else min(self.asks)
        return {
            "e": "trade",
            "E": now_ms,
            "s": self.name,
            "t": self.trade_id,
            "p": self.price(price),
            "q": self.quantity(self.lots()),
            "T": now_ms - 1,
            "m": sell,
            "M": True,
        }

    def _move(self) -> None:
        """Moves the mid price by a few ticks, keeps both sides `LEVELS` deep, and changes some sizes."""
        self.mid += self.rng.choice((-3, -1, 0, 0, 0, 1, 3))
        self.bids = {p: q for p, q in self.bids.items() if self.mid - LEVELS <= p < self.mid}
        self.asks = {p: q for p, q in self.asks.items() if self.mid < p <= self.mid + LEVELS}
        for i in range(1, LEVELS + 1):
            for side, price in ((self.bids, self.mid - i), (self.asks, self.mid + i)):
                if price not in side or self.rng.random() < 0.08:
                    side[price] = self.lots()

    def _changes(self, before: dict[int, int], after: dict[int, int]) -> list[list[str]]:
        removed = [self.level(p, 0) for p in before if p not in after]
        return removed + [self.level(p, q) for p, q in after.items() if before.get(p) != q]


def lines(seed: int = 7, steps: int = STEPS) -> Iterator[bytes]:
    """Yields the recording: `<receive ns> <frame>`, without line ends."""
    rng = random.Random(seed)
    markets = [
        SampleMarket("BTCUSDT", 9_412_345, 2, 20_000, random.Random(rng.random())),
        SampleMarket("ETHUSDT", 334_512, 2, 300_000, random.Random(rng.random())),
    ]
    now = START_NS

    def line(market: SampleMarket, stream: str, data: dict[str, object]) -> bytes:
        nonlocal now
        now += rng.randint(20_000, 900_000)
        frame = {"stream": f"{market.name.lower()}@{stream}", "data": data}
        return f"{now} {json.dumps(frame, separators=(',', ':'))}".encode()

    for step in range(steps):
        now = max(now, START_NS + step * STEP_NS)
        for market in markets:
            for stream, data in market.step(now // 1_000_000):
                yield line(market, stream, data)
            if step == 2:
                # As at a real venue, the snapshot arrives after the first diffs.
                yield line(market, "depth", market.snapshot())


def write(path: Path, seed: int = 7, steps: int = STEPS) -> int:
    """Writes the sample, gzip, and returns its number of frames. The same seed gives the same bytes."""
    count = 0
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for line in lines(seed, steps):
            file.write(line + b"\n")
            count += 1
    return count
