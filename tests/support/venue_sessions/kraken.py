"""Kraken's websocket v2: windows of a stated depth without numbers, each message with a checksum."""

import random
import zlib
from collections.abc import Iterator, Mapping

from tests.support.venue_sessions.market import Book, Changes, Instrument, Market, Trade
from tests.support.venue_sessions.session import Message, Number, Stream, dump, rfc3339

INSTRUMENTS = (
    Instrument("BTC-USD", 1, 8, 618_376, lot=10_000_000),
    Instrument("ETH-EUR", 2, 8, 267_512, lot=200_000_000),
    Instrument("SHIB-USD", 8, 5, 1_234, lot=900_000_000_000),
)


class Kraken(Stream):
    """Books of 10 levels, which the checksum covers whole."""

    depth = 10

    def __init__(self, markets: Mapping[str, Market], rng: random.Random) -> None:
        super().__init__(markets, rng)
        self.view = {symbol: market.book(self.depth) for symbol, market in markets.items()}
        self.steps = dict.fromkeys(markets, 0)

    def opened(self, ns: int) -> Iterator[Message]:
        status = {
            "version": "2.0.9",
            "system": "online",
            "api_version": "v2",
            "connection_id": 12393906104898154338,
        }
        yield Message(dump({"channel": "status", "type": "update", "data": [status]}))
        for symbol in self.markets:
            result = {
                "channel": "book",
                "depth": self.depth,
                "snapshot": True,
                "symbol": symbol.replace("-", "/"),
            }
            times = {"time_in": rfc3339(ns, 6), "time_out": rfc3339(ns + 90_000, 6)}
            yield Message(
                dump({"method": "subscribe", "result": result, "success": True, **times, "req_id": 1})
            )
        error = {
            "method": "subscribe",
            "success": False,
            "error": "Currency pair not supported X/Y",
            "req_id": 1,
        }
        yield Message(dump(error))
        yield self.listing()
        for market in self.markets.values():
            if market.recent:
                yield self.trades(market, list(market.recent), "snapshot")

    def step(self, market: Market, ns: int, changes: Changes, trades: list[Trade]) -> Iterator[Message]:
        symbol = market.instrument.symbol
        n = self.steps[symbol] = self.steps[symbol] + 1
        if trades:
            yield self.trades(market, trades)
        before, shown = self.view[symbol], market.book(self.depth)
        change = Changes.between(before, shown)
        # A level that left the window is not deleted: the client cuts its book.
        change.bids = {p: q for p, q in change.bids.items() if q or p not in market.bids}
        change.asks = {p: q for p, q in change.asks.items() if q or p not in market.asks}
        self.view[symbol] = shown
        if change:
            yield self.books(market, ns, "update", change)
        if n % 3 == 0:
            yield self.ticker(market, ns, "snapshot" if n == 3 else "update")
        if n % 10 == 0:
            yield self.candle(market, ns, "update")

    def snapshot(self, market: Market, ns: int) -> Message:
        book = self.view[market.instrument.symbol] = market.book(self.depth)
        return self.books(market, ns, "snapshot", Changes(dict(book.bids), dict(book.asks)))

    def idle(self, ns: int) -> Iterator[Message]:
        yield Message('{"channel":"heartbeat"}')
        times = {"time_in": rfc3339(ns, 6), "time_out": rfc3339(ns + 60_000, 6)}
        yield Message(dump({"method": "pong", "req_id": 7, **times}))

    def id(self, market: Market) -> str:
        return market.instrument.symbol.replace("-", "/")

    def price(self, market: Market, price: int) -> Number:
        return Number(market.instrument.price(price))

    def quantity(self, market: Market, quantity: int) -> Number:
        return Number(market.instrument.quantity(quantity))

    def books(self, market: Market, ns: int, kind: str, changes: Changes) -> Message:
        symbol = market.instrument.symbol
        sides = {
            name: [{"price": self.price(market, p), "qty": self.quantity(market, q)} for p, q in side.items()]
            for name, side in (("bids", changes.bids), ("asks", changes.asks))
        }
        data = {
            "symbol": self.id(market),
            **sides,
            "checksum": book_checksum(market.instrument, self.view[symbol]),
        }
        data["timestamp"] = rfc3339(ns, 6)
        frame = dump({"channel": "book", "type": kind, "data": [data]})
        return Message(frame, symbol, "snapshot" if kind == "snapshot" else "diff", self.view[symbol])

    def trades(self, market: Market, trades: list[Trade], kind: str = "update") -> Message:
        data = [
            {
                "symbol": self.id(market),
                "side": trade.side.lower(),
                "price": self.price(market, trade.price),
                "qty": self.quantity(market, trade.quantity),
                "ord_type": "limit",
                "trade_id": trade.id,
                "timestamp": rfc3339(trade.ns, 6),
            }
            for trade in trades
        ]
        frame = dump({"channel": "trade", "type": kind, "data": data})
        role = "trades" if kind == "update" else "history"
        return Message(frame, market.instrument.symbol, role, trades=tuple(trades))

    def ticker(self, market: Market, ns: int, kind: str) -> Message:
        bid, ask, last = market.bid, market.ask, self.price(market, market.last)
        data = {
            "symbol": self.id(market),
            "bid": self.price(market, bid),
            "bid_qty": self.quantity(market, market.bids[bid]),
            "ask": self.price(market, ask),
            "ask_qty": self.quantity(market, market.asks[ask]),
            "last": last,
            "volume": self.quantity(market, market.volume),
            "vwap": last,
            "low": last,
            "high": last,
            "change": Number("-0.5"),
            "change_pct": Number("-0.01"),
            "timestamp": rfc3339(ns, 6),
        }
        return Message(dump({"channel": "ticker", "type": kind, "data": [data]}), market.instrument.symbol)

    def candle(self, market: Market, ns: int, kind: str) -> Message:
        start = ns // 60_000_000_000 * 60_000_000_000
        opened, high, low, close, volume = market.candle
        names = zip(("open", "high", "low", "close"), (opened, high, low, close), strict=True)
        data = {
            "symbol": self.id(market),
            **{name: self.price(market, price) for name, price in names},
            "trades": 4,
            "volume": self.quantity(market, volume),
            "vwap": self.price(market, close),
            "interval_begin": rfc3339(start, 9),
            "interval": 1,
            "timestamp": rfc3339(start + 60_000_000_000, 6),
        }
        frame = dump({"channel": "ohlc", "type": kind, "timestamp": rfc3339(ns, 9), "data": [data]})
        return Message(frame, market.instrument.symbol)

    def listing(self) -> Message:
        pairs = [
            {
                "symbol": self.id(market),
                "base": market.instrument.parts[0],
                "quote": market.instrument.parts[1],
                "status": "online",
                "qty_precision": market.instrument.quantity_digits,
                "qty_increment": self.quantity(market, 1),
                "price_precision": market.instrument.price_digits,
                "price_increment": self.price(market, 1),
                "qty_min": self.quantity(market, 1000),
                "cost_precision": 5,
                "cost_min": Number("0.5"),
                "marginable": False,
                "has_index": True,
            }
            for market in self.markets.values()
        ]
        return Message(
            dump({"channel": "instrument", "type": "snapshot", "data": {"assets": [], "pairs": pairs}})
        )


class KrakenDeep(Kraken):
    """Books of 25 levels, of which the checksum covers 10."""

    depth = 25


class KrakenWithoutZeros(Kraken):
    """Numbers as a JSON library writes them: without the zeros at their end, and with exponents."""

    def price(self, market: Market, price: int) -> Number:
        return Number(repr(float(market.instrument.price(price))))

    def quantity(self, market: Market, quantity: int) -> Number:
        return Number(repr(float(market.instrument.quantity(quantity))))


def book_checksum(scale: Instrument, book: Book) -> int:
    """Returns the checksum of a book."""
    return checksum(
        *([(scale.price(p), scale.quantity(q)) for p, q in side] for side in (book.asks, book.bids))
    )


def checksum(asks: list[tuple[str, str]], bids: list[tuple[str, str]]) -> int:
    """Returns the CRC32 of 10 asks, then 10 bids: digits without the point and without zeros before them."""
    levels = [*asks[:10], *bids[:10]]
    text = "".join(number.replace(".", "").lstrip("0") for level in levels for number in level)
    return zlib.crc32(text.encode())
