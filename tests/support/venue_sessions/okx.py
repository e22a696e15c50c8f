"""OKX v5: spot and swaps. Books are chains of `prevSeqId` and `seqId`."""

import random
import zlib
from collections.abc import Iterator, Mapping
from itertools import zip_longest

from tests.support.venue_sessions.market import Book, Changes, Instrument, Market, Trade, shortest
from tests.support.venue_sessions.session import Message, Stream, dump

INSTRUMENTS = (
    Instrument("BTC-USDT", 1, 8, 618_376, lot=10_000_000),
    Instrument("W-USDT", 4, 2, 2_150, lot=30_000),
    Instrument("BTC-USDT-SWAP", 1, 2, 618_401, lot=300, contract="0.01"),
)


class Okx(Stream):
    """All channels of the venue on one connection, with checksums as it sent until June 2026."""

    checksums = True

    def __init__(self, markets: Mapping[str, Market], rng: random.Random) -> None:
        super().__init__(markets, rng)
        self.last = {symbol: market.update_id for symbol, market in markets.items()}
        self.steps = dict.fromkeys(markets, 0)

    def opened(self, ns: int) -> Iterator[Message]:
        for symbol in self.markets:
            for channel in ("books", "trades", "tickers", "bbo-tbt"):
                arg = {"channel": channel, "instId": symbol}
                yield Message(dump({"id": "1", "event": "subscribe", "arg": arg, "connId": "a4d3ae55"}))
        yield Message('{"event":"channel-conn-count","channel":"orders","connCount":"1","connId":"a4d3ae55"}')
        yield Message('{"event":"error","code":"60018","msg":"Wrong URL or channel:x","connId":"a4d3ae55"}')
        for market in self.markets.values():
            yield self.listing(market)

    def step(self, market: Market, ns: int, changes: Changes, trades: list[Trade]) -> Iterator[Message]:
        symbol, ms = market.instrument.symbol, str(ns // 1_000_000)
        n = self.steps[symbol] = self.steps[symbol] + 1
        if trades:
            yield self.trades(market, trades)
        if changes:
            yield self.update(market, ms, changes)
        yield self.push("bbo-tbt", market, [self.best(market, ms)])
        if n % 10 == 0:
            yield self.push("books5", market, [self.five(market, ms)])
            yield self.push("candle1m", market, [self.candle(market, ns, closed=n % 50 == 0)])
        if n % 25 == 0:
            yield self.push("tickers", market, [self.ticker(market, ms)])
            yield from self.derivative(market, ms)

    def snapshot(self, market: Market, ns: int) -> Message:
        self.last[market.instrument.symbol] = market.update_id
        ids = {"seqId": market.update_id, "prevSeqId": -1}
        book = market.book()
        changes = Changes(dict(book.bids), dict(book.asks))
        return self.books(market, "snapshot", str(ns // 1_000_000), changes, ids)

    def restarted(self, market: Market, ns: int) -> Iterator[Message]:
        yield self.update(market, str(ns // 1_000_000), Changes())

    def idle(self, ns: int) -> Iterator[Message]:
        yield Message("pong")
        for market in self.markets.values():
            yield self.update(market, str(ns // 1_000_000), Changes())
        if self.rng.random() < 0.2:
            notice = "The connection will soon be closed for a service upgrade. Please reconnect."
            yield Message(dump({"event": "notice", "code": "64008", "msg": notice, "connId": "a4d3ae55"}))

    def update(self, market: Market, ms: str, changes: Changes) -> Message:
        """Returns the next link of the chain."""
        symbol = market.instrument.symbol
        ids = {"seqId": market.update_id, "prevSeqId": self.last[symbol]}
        self.last[symbol] = market.update_id
        return self.books(market, "update", ms, changes, ids)

    def books(
        self, market: Market, action: str, ms: str, changes: Changes, ids: Mapping[str, int]
    ) -> Message:
        levels = {
            name: [self.level(market, level) for level in side.items()]
            for name, side in (("asks", changes.asks), ("bids", changes.bids))
        }
        checksum = book_checksum(market) if self.checksums else 0
        arg = {"channel": "books", "instId": market.instrument.symbol}
        data = {**levels, "ts": ms, "checksum": checksum, **ids}
        kind = "snapshot" if action == "snapshot" else "diff"
        frame = dump({"arg": arg, "action": action, "data": [data]})
        return Message(frame, market.instrument.symbol, kind, market.book())

    def level(self, market: Market, level: tuple[int, int]) -> list[str]:
        return [*texts(market, level), "0", "3"]

    def push(self, channel: str, market: Market, data: list[object]) -> Message:
        arg = {"channel": channel, "instId": market.instrument.symbol}
        return Message(dump({"arg": arg, "data": data}), market.instrument.symbol)

    def trades(self, market: Market, trades: list[Trade]) -> Message:
        symbol = market.instrument.symbol
        data = [
            {
                "instId": symbol,
                "tradeId": str(trade.id),
                "px": texts(market, (trade.price, trade.quantity))[0],
                "sz": texts(market, (trade.price, trade.quantity))[1],
                "side": trade.side.lower(),
                "ts": str(trade.ns // 1_000_000),
                "count": "1",
                "seqId": market.update_id,
            }
            for trade in trades
        ]
        frame = dump({"arg": {"channel": "trades", "instId": symbol}, "data": data})
        return Message(frame, symbol, "trades", trades=tuple(trades))

    def best(self, market: Market, ms: str) -> dict[str, object]:
        book = market.book(1)
        sides = {"asks": [self.level(market, book.asks[0])], "bids": [self.level(market, book.bids[0])]}
        return {**sides, "ts": ms, "seqId": market.update_id}

    def five(self, market: Market, ms: str) -> dict[str, object]:
        book = market.book(5)
        return {
            "asks": [self.level(market, level) for level in book.asks],
            "bids": [self.level(market, level) for level in book.bids],
            "instId": market.instrument.symbol,
            "ts": ms,
            "seqId": market.update_id,
        }

    def candle(self, market: Market, ns: int, *, closed: bool) -> list[str]:
        start = ns // 60_000_000_000 * 60_000
        opened, high, low, close, volume = market.candle
        prices = [texts(market, (price, 1))[0] for price in (opened, high, low, close)]
        traded = texts(market, (1, volume))[1]
        return [str(start), *prices, traded, traded, traded, str(int(closed))]

    def ticker(self, market: Market, ms: str) -> dict[str, object]:
        (bid, bid_size), (ask, ask_size) = (
            texts(market, side[0]) for side in (market.book().bids, market.book().asks)
        )
        last, volume = texts(market, (market.last, market.volume))
        kind = "SWAP" if market.instrument.contract else "SPOT"
        best = {"askPx": ask, "askSz": ask_size, "bidPx": bid, "bidSz": bid_size}
        day = {"open24h": last, "high24h": last, "low24h": last, "volCcy24h": volume, "vol24h": volume}
        first = {"instType": kind, "instId": market.instrument.symbol, "last": last, "lastSz": "1"}
        return {**first, **best, **day, "sodUtc0": "", "sodUtc8": last, "ts": ms}

    def derivative(self, market: Market, ms: str) -> Iterator[Message]:
        """Yields funding and mark price of a swap."""
        if market.instrument.contract:
            of = {"instType": "SWAP", "instId": market.instrument.symbol}
            later = str(int(ms) // 28_800_000 * 28_800_000 + 28_800_000)
            funding = {**of, "fundingRate": "-0.0001", "fundingTime": later, "nextFundingRate": "", "ts": ms}
            yield self.push("funding-rate", market, [funding])
            price = texts(market, (market.last, 1))[0]
            yield self.push("mark-price", market, [{**of, "markPx": price, "ts": ms}])

    def listing(self, market: Market) -> Message:
        scale = market.instrument
        base, quote = scale.parts
        swap = bool(scale.contract)
        data = {
            "instType": "SWAP" if swap else "SPOT",
            "instId": scale.symbol,
            "state": "live",
            **(
                {"baseCcy": "", "quoteCcy": "", "settleCcy": quote}
                if swap
                else {"baseCcy": base, "quoteCcy": quote}
            ),
            "ctVal": scale.contract or "",
            "ctMult": "1" if swap else "",
            "ctValCcy": base if swap else "",
            "tickSz": scale.price(1),
            "lotSz": scale.quantity(1),
            "minSz": scale.quantity(1),
            "ctType": "linear" if swap else "",
            "listTime": "1611916828000",
            "expTime": "",
        }
        arg = {"channel": "instruments", "instType": data["instType"]}
        return Message(dump({"arg": arg, "data": [data]}))


class OkxWithoutChecksums(Okx):
    """As since June 2026: the checksum is always 0."""

    checksums = False


def texts(market: Market, level: tuple[int, int]) -> tuple[str, str]:
    """Returns price and quantity in the venue's digits, which have no zeros at their end."""
    scale = market.instrument
    return shortest(scale.price(level[0])), shortest(scale.quantity(level[1]))


def book_checksum(market: Market) -> int:
    """Returns the signed CRC32 of the best 25 levels, bids and asks in turn."""
    return checksum(*_texts_of(market, market.book(25)))


def _texts_of(market: Market, book: Book) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return [texts(market, level) for level in book.bids], [texts(market, level) for level in book.asks]


def checksum(bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> int:
    """Returns the signed CRC32 of `bid:size:ask:size:...`; a side that ends leaves its place to the other."""
    pairs = zip_longest(bids[:25], asks[:25])
    text = ":".join(part for pair in pairs for level in pair if level for part in level)
    number = zlib.crc32(text.encode())
    return number - (1 << 32) if number >= 1 << 31 else number
