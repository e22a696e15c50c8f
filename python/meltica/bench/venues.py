"""Benchmarks of the frames of venues with books: in the core, with orjson, and into a book in plain Python.

Each venue has one book of 50 levels a side, 2,000 diffs of 10 changed levels a side, and a trade after each
second diff. The same market is written in the format of each.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.bybit.codec import BYBIT
from meltica.adapters.codec import Codec
from meltica.adapters.coinbase.codec import COINBASE
from meltica.adapters.kraken.codec import KRAKEN
from meltica.adapters.okx.codec import OKX
from meltica.bench.frames import loaded
from meltica.bench.timing import medians

DIFFS = 2000
CHANGED = 10
"""Levels of a side that a diff changes."""
LEVELS = 50

Texts = list[tuple[str, str]]
"""Levels as price and quantity."""


@dataclass(frozen=True)
class Move:
    """One message about the market: changed levels or a trade."""

    number: int
    """Counts the updates of the book."""
    bids: Texts
    asks: Texts
    trade: tuple[str, str] | None = None
    whole: bool = False
    """Whether the levels are the whole book."""
    message: int = 0
    """Counts the messages."""


def moves(*, trades: bool) -> Iterator[Move]:
    """Yields the snapshot, then the diffs, and the trades if asked for."""
    rng = random.Random(7)
    bids = {61_837.5 - i / 2: rng.randint(1, 10**8) for i in range(LEVELS)}
    asks = {61_838.0 + i / 2: rng.randint(1, 10**8) for i in range(LEVELS)}

    def texts(side: dict[float, int], prices: list[float]) -> Texts:
        return [(f"{price:.1f}", f"{side[price] // 10**8}.{side[price] % 10**8:08d}") for price in prices]

    yield Move(1, texts(bids, list(bids)), texts(asks, list(asks)), whole=True)
    message = 0
    for number in range(2, DIFFS + 2):
        changed = [rng.sample(list(side), CHANGED) for side in (bids, asks)]
        for side, prices in zip((bids, asks), changed, strict=True):
            side.update((price, rng.randint(1, 10**8)) for price in prices)
        message += 1
        yield Move(number, texts(bids, changed[0]), texts(asks, changed[1]), message=message)
        if trades and number % 2:
            message += 1
            yield Move(number, [], [], trade=("61838.0", "0.00271800"), message=message)


def _binance(move: Move) -> object:
    if move.trade:
        price, quantity = move.trade
        trade = {
            "e": "trade",
            "E": 1_723_161_255_343,
            "s": "BTCUSDT",
            "t": move.number,
            "p": price,
            "q": quantity,
        }
        data: dict[str, object] = {**trade, "T": 1_723_161_255_342, "m": True, "M": True}
        return {"stream": "btcusdt@trade", "data": data}
    if move.whole:
        book: dict[str, object] = {"lastUpdateId": move.number, "bids": move.bids, "asks": move.asks}
        return {"stream": "btcusdt@depth@100ms", "data": book}
    ids = {"e": "depthUpdate", "E": 1_723_161_255_308, "s": "BTCUSDT", "U": move.number, "u": move.number}
    return {"stream": "btcusdt@depth@100ms", "data": {**ids, "b": move.bids, "a": move.asks}}


def _okx(move: Move) -> object:
    stamp = "1723161255343"
    if move.trade:
        price, quantity = move.trade
        of = {"instId": "BTC-USDT", "tradeId": str(move.number), "px": price, "sz": quantity, "side": "sell"}
        arg = {"channel": "trades", "instId": "BTC-USDT"}
        return {"arg": arg, "data": [{**of, "ts": stamp, "count": "1", "seqId": move.number}]}
    levels = {
        "asks": [[*level, "0", "1"] for level in move.asks],
        "bids": [[*level, "0", "1"] for level in move.bids],
    }
    ids = {
        "ts": stamp,
        "checksum": 0,
        "seqId": move.number,
        "prevSeqId": -1 if move.whole else move.number - 1,
    }
    action = "snapshot" if move.whole else "update"
    return {"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": action, "data": [{**levels, **ids}]}


def _bybit(move: Move) -> object:
    stamp = 1_723_161_255_343
    if move.trade:
        price, quantity = move.trade
        trade = {"T": stamp, "s": "BTCUSDT", "S": "Sell", "v": quantity, "p": price, "L": "MinusTick"}
        data = [{**trade, "i": f"{move.number:036d}", "BT": False}]
        return {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": stamp, "data": data}
    book = {"s": "BTCUSDT", "b": move.bids, "a": move.asks, "u": move.number, "seq": move.number}
    kind = "snapshot" if move.whole else "delta"
    return {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": stamp, "data": book, "cts": stamp - 2}


def _kraken(move: Move) -> object:
    """Numbers are not texts. Without a checksum, whose cost is a row of its own."""
    stamp = "2024-08-08T23:54:15.343210Z"
    if move.trade:
        price, quantity = (orjson.Fragment(number) for number in move.trade)
        trade = {"symbol": "BTC/USDT", "side": "sell", "price": price, "qty": quantity, "ord_type": "limit"}
        data = [{**trade, "trade_id": move.number, "timestamp": stamp}]
        return {"channel": "trade", "type": "update", "data": data}

    def side(levels: Texts) -> list[dict[str, orjson.Fragment]]:
        return [{"price": orjson.Fragment(p), "qty": orjson.Fragment(q)} for p, q in levels]

    book = {"symbol": "BTC/USDT", "bids": side(move.bids), "asks": side(move.asks), "timestamp": stamp}
    return {"channel": "book", "type": "snapshot" if move.whole else "update", "data": [book]}


def _coinbase(move: Move) -> object:
    stamp = "2024-08-08T23:54:15.343210Z"
    event: dict[str, object]
    if move.trade:
        price, quantity = move.trade
        trade = {"product_id": "BTC-USDT", "trade_id": str(move.number), "price": price, "size": quantity}
        event = {"type": "update", "trades": [{**trade, "time": stamp, "side": "SELL"}]}
    else:
        updates = [
            {"side": side, "event_time": stamp, "price_level": price, "new_quantity": quantity}
            for side, levels in (("bid", move.bids), ("offer", move.asks))
            for price, quantity in levels
        ]
        kind = "snapshot" if move.whole else "update"
        event = {"type": kind, "product_id": "BTC-USDT", "updates": updates}
    channel = "market_trades" if move.trade else "l2_data"
    head = {"channel": channel, "client_id": "", "timestamp": stamp, "sequence_num": move.message}
    return {**head, "events": [event]}


FORMATS: dict[str, tuple[Codec, Callable[[Move], object]]] = {
    "binance": (BINANCE, _binance),
    "okx": (OKX, _okx),
    "bybit": (BYBIT, _bybit),
    "kraken": (KRAKEN, _kraken),
    "coinbase": (COINBASE, _coinbase),
}
"""By venue: the codec, and a message in its format."""


class VenueFrames:
    """The frames of one venue, by the name of its codec."""

    def __init__(self, name: str) -> None:
        self.name = name
        snapshot, *self.frames = self._written(trades=True)
        self.before = [snapshot]
        self.diffs = self._written(trades=False)[1:]

    def decoded(self) -> tuple[float, float]:
        """Returns the ns per frame from bytes to dispatched events, and orjson's as the budget."""
        return self._decoded(self.frames), self.loaded()

    def depth(self) -> float:
        """Returns the ns per level from bytes to dispatched books, without frames of trades."""
        return self._decoded(self.diffs) / (2 * CHANGED)

    def loaded(self) -> float:
        """Returns the ns per frame from bytes to Python objects with orjson."""
        return loaded(self.frames)

    def python(self) -> float:
        """Returns the ns per frame from bytes to trades and the sorted top of a book of Python floats."""
        frames = self.frames[:600]

        def run() -> Iterator[float]:
            book: list[dict[float, float]] = [{}, {}]
            _apply(book, self.name, orjson.loads(self.before[0]))
            for frame in frames:
                started = time.perf_counter_ns()
                if _apply(book, self.name, orjson.loads(frame)):
                    _top = sorted(book[0].items(), reverse=True)[:25], sorted(book[1].items())[:25]
                yield time.perf_counter_ns() - started

        return sum(medians(run)) / len(frames)

    def _written(self, *, trades: bool) -> list[bytes]:
        _, write = FORMATS[self.name]
        return [orjson.dumps(write(move)) for move in moves(trades=trades)]

    def _decoded(self, frames: list[bytes]) -> float:
        codec, _ = FORMATS[self.name]
        return _core.benchmark_frames(_core.Codec(codec), frames, self.before)


def _apply(book: list[dict[float, float]], venue: str, message: Any) -> bool:
    """Applies a message to a book, as a client in plain Python does. Returns whether it has levels."""
    sides = _SIDES[venue](message)
    if sides is None:
        return False
    for side, levels in zip(book, sides, strict=True):
        for price, quantity in levels:
            if amount := float(quantity):
                side[float(price)] = amount
            else:
                side.pop(float(price), None)
    return True


def _sides_of_binance(message: Any) -> Any:
    data = message.get("data", message)
    return (data["bids"], data["asks"]) if "bids" in data else (data["b"], data["a"]) if "b" in data else None


def _sides_of_okx(message: Any) -> Any:
    if message["arg"]["channel"] != "books":
        return None
    return [[level[:2] for level in message["data"][0][side]] for side in ("bids", "asks")]


def _sides_of_bybit(message: Any) -> Any:
    if not message["topic"].startswith("orderbook"):
        return None
    return message["data"]["b"], message["data"]["a"]


def _sides_of_kraken(message: Any) -> Any:
    if message["channel"] != "book":
        return None
    (book,) = message["data"]
    return [[(level["price"], level["qty"]) for level in book[side]] for side in ("bids", "asks")]


def _sides_of_coinbase(message: Any) -> Any:
    if message["channel"] != "l2_data":
        return None
    sides: dict[str, Texts] = {"bid": [], "offer": []}
    for event in message["events"]:
        for level in event["updates"]:
            sides[level["side"]].append((level["price_level"], level["new_quantity"]))
    return sides.values()


_SIDES: dict[str, Callable[[Any], Any]] = {
    "binance": _sides_of_binance,
    "okx": _sides_of_okx,
    "bybit": _sides_of_bybit,
    "kraken": _sides_of_kraken,
    "coinbase": _sides_of_coinbase,
}
