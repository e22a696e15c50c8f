"""Binance: combined streams of spot and of USD-M futures, and the depth snapshots of REST."""

import random
from collections.abc import Iterator, Mapping

from tests.support.venue_sessions.market import Book, Changes, Instrument, Market, Trade, digits
from tests.support.venue_sessions.session import Message, Stream, dump

INSTRUMENTS = (
    Instrument("BTC-USDT", 2, 5, 6_183_763),
    Instrument("ETH-USDT", 2, 4, 267_500, tick=5, lot=20_000),
    Instrument("DOGE-USDT", 5, 0, 20_215, lot=4_000),
)
PLACES = 8
"""Digits after the point, filled up with zeros."""


class Binance(Stream):
    """Spot."""

    restart_breaks = True
    flush = 2
    """Steps of one diff."""
    partials = False
    """Whether partial depth is subscribed too; its messages look like requested snapshots, or diffs."""

    def __init__(self, markets: Mapping[str, Market], rng: random.Random) -> None:
        super().__init__(markets, rng)
        self.steps = dict.fromkeys(markets, 0)
        self.last = {symbol: market.update_id for symbol, market in markets.items()}
        self.pending = {symbol: Changes() for symbol in markets}
        self.sent = {symbol: market.book() for symbol, market in markets.items()}
        self.past = {symbol: [(market.update_id, market.book())] for symbol, market in markets.items()}

    def opened(self, ns: int) -> Iterator[Message]:
        yield Message('{"result":null,"id":1}')
        yield Message('{"code":2,"msg":"Invalid request: unknown variant","id":2}')

    def step(self, market: Market, ns: int, changes: Changes, trades: list[Trade]) -> Iterator[Message]:
        symbol, ms = market.instrument.symbol, ns // 1_000_000
        n = self.steps[symbol] = self.steps[symbol] + 1
        for trade in trades:
            yield self.trade(market, trade)
        self.pending[symbol].add(changes)
        if n % self.flush == 0 and (pending := self.pending[symbol]):
            self.pending[symbol], self.sent[symbol] = Changes(), market.book()
            yield self.diff(market, ms, pending)
            self.last[symbol] = market.update_id
        self.past[symbol] = [*self.past[symbol][-1:], (market.update_id, market.book())]
        yield self.wrap(market, "bookTicker", self.best(market, ms))
        if n % 10 == 5 and self.partials:
            yield self.partial(market, ms)
        if n % 10 == 0:
            yield self.wrap(market, "kline_1m", self.kline(market, ms, closed=n % 50 == 0))
        if n % 25 == 0:
            yield self.wrap(market, "ticker", self.ticker(market, ms))
            yield from self.others(market, ms)

    def snapshot(self, market: Market, ns: int) -> Message:
        symbol = market.instrument.symbol
        last, book = self.past[symbol][self.rng.choice((0, -1))]
        after = book if last > self.last[symbol] else self.sent[symbol]
        frame = dump(self.rest(market, self.number(last), book))
        return Message(frame, symbol, "snapshot", after, requested=True)

    def restarted(self, market: Market, ns: int) -> Iterator[Message]:
        symbol = market.instrument.symbol
        self.last[symbol] = market.update_id
        self.pending[symbol] = Changes()
        yield from ()

    def idle(self, ns: int) -> Iterator[Message]:
        yield Message(
            dump({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": ns // 1_000_000}})
        )

    def number(self, update_id: int) -> int:
        return update_id

    def text(self, market: Market, price: int | None = None, quantity: int | None = None) -> str:
        """Returns a price or a quantity in the venue's digits."""
        scale = market.instrument
        value, places = (
            (price, scale.price_digits) if price is not None else (quantity, scale.quantity_digits)
        )
        return digits((value or 0) * 10 ** (PLACES - places), PLACES)

    def level(self, market: Market, level: tuple[int, int]) -> list[str]:
        return [self.text(market, level[0]), self.text(market, quantity=level[1])]

    def wrap(self, market: Market, stream: str, data: object) -> Message:
        name = f"{self.id(market).lower()}@{stream}"
        return Message(dump({"stream": name, "data": data}), market.instrument.symbol)

    def id(self, market: Market) -> str:
        return "".join(market.instrument.parts)

    def trade(self, market: Market, trade: Trade) -> Message:
        ms = trade.ns // 1_000_000
        data = {
            "e": "trade",
            "E": ms,
            "s": self.id(market),
            "t": trade.id,
            "p": self.text(market, trade.price),
        }
        data |= {
            "q": self.text(market, quantity=trade.quantity),
            "T": ms,
            "m": trade.side == "Sell",
            "M": True,
        }
        frame = dump({"stream": f"{self.id(market).lower()}@trade", "data": data})
        return Message(frame, market.instrument.symbol, "trades", trades=(trade,))

    def diff(self, market: Market, ms: int, changes: Changes) -> Message:
        symbol = market.instrument.symbol
        data: dict[str, object] = {"e": "depthUpdate", "E": ms, "s": self.id(market)}
        data |= self.ids(self.last[symbol], market.update_id)
        data |= {
            key: [self.level(market, level) for level in side.items()]
            for key, side in (("b", changes.bids), ("a", changes.asks))
        }
        frame = dump({"stream": f"{self.id(market).lower()}@depth@100ms", "data": data})
        return Message(frame, symbol, "diff", self.sent[symbol])

    def ids(self, before: int, last: int) -> dict[str, object]:
        """Returns the numbers of a diff."""
        return {"U": before + 1, "u": last}

    def rest(self, market: Market, last: int, book: Book) -> dict[str, object]:
        return {
            "lastUpdateId": last,
            "bids": [self.level(market, level) for level in book.bids],
            "asks": [self.level(market, level) for level in book.asks],
        }

    def best(self, market: Market, ms: int) -> dict[str, object]:
        bid, ask = market.bid, market.ask
        return {
            "u": self.number(market.update_id),
            "s": self.id(market),
            "b": self.text(market, bid),
            "B": self.text(market, quantity=market.bids[bid]),
            "a": self.text(market, ask),
            "A": self.text(market, quantity=market.asks[ask]),
        }

    def partial(self, market: Market, ms: int) -> Message:
        book = self.rest(market, self.number(market.update_id), market.book(20))
        return self.wrap(market, "depth20@100ms", book)

    def ticker(self, market: Market, ms: int) -> dict[str, object]:
        best = self.best(market, ms)
        del best["u"]
        last = self.text(market, market.last)
        day = {"p": "-12.50", "P": "-0.020", "w": last, "x": last, "c": last, "Q": "1", "o": last, "h": last}
        day |= {
            "l": last,
            "v": self.text(market, quantity=market.volume),
            "q": "9.0",
            "O": ms - 86_400_000,
            "C": ms,
        }
        return {**best, **day, "e": "24hrTicker", "E": ms, "F": 0, "L": 18150, "n": 18151}

    def kline(self, market: Market, ms: int, *, closed: bool) -> dict[str, object]:
        start = ms // 60_000 * 60_000
        opened, high, low, close, volume = market.candle
        prices = {k: self.text(market, p) for k, p in zip("oclh", (opened, close, low, high), strict=True)}
        k = {"t": start, "T": start + 59_999, "s": self.id(market), "i": "1m", "f": 100, "L": 200, **prices}
        k |= {
            "v": self.text(market, quantity=volume),
            "n": 100,
            "x": closed,
            "q": "1.0",
            "V": "0.5",
            "Q": "0.5",
        }
        return {"e": "kline", "E": ms, "s": self.id(market), "k": k}

    def others(self, market: Market, ms: int) -> Iterator[Message]:
        """Yields what only some subscriptions have: the array of all small tickers."""
        last = self.text(market, market.last)
        day = {"c": last, "o": last, "h": last, "l": last, "v": self.text(market, quantity=market.volume)}
        mini = {"e": "24hrMiniTicker", "E": ms, "s": self.id(market), **day, "q": "9.0"}
        yield Message(dump({"stream": "!miniTicker@arr", "data": [mini]}))


class BinanceUsdm(Binance):
    """USD-M futures: numbers jump, and each diff names the last one of the diff before."""

    def number(self, update_id: int) -> int:
        return update_id * 7

    def ids(self, before: int, last: int) -> dict[str, object]:
        return {"U": before * 7 + 4, "u": last * 7, "pu": before * 7}

    def partial(self, market: Market, ms: int) -> Message:
        book, last = market.book(20), market.update_id
        data: dict[str, object] = {"e": "depthUpdate", "E": ms, "T": ms - 1, "s": self.id(market)}
        data |= self.ids(last - 1, last)
        data |= {
            k: [self.level(market, level) for level in side]
            for k, side in (("b", book.bids), ("a", book.asks))
        }
        return self.wrap(market, "depth20@100ms", data)

    def text(self, market: Market, price: int | None = None, quantity: int | None = None) -> str:
        scale = market.instrument
        return scale.price(price) if price is not None else scale.quantity(quantity or 0)

    def rest(self, market: Market, last: int, book: Book) -> dict[str, object]:
        ms = max(market.recent[-1].ns if market.recent else 0, 1_767_268_800_000_000_000) // 1_000_000
        first = {"lastUpdateId": last, "E": ms, "T": ms - 1}
        return first | {k: v for k, v in super().rest(market, last, book).items() if k != "lastUpdateId"}

    def best(self, market: Market, ms: int) -> dict[str, object]:
        return {"e": "bookTicker", **super().best(market, ms), "T": ms - 1, "E": ms}

    def ticker(self, market: Market, ms: int) -> dict[str, object]:
        day = super().ticker(market, ms)
        return {key: value for key, value in day.items() if key not in ("b", "B", "a", "A", "x", "T")}

    def trade(self, market: Market, trade: Trade) -> Message:
        ms = trade.ns // 1_000_000
        data = {
            "e": "aggTrade",
            "E": ms,
            "a": trade.id,
            "s": self.id(market),
            "p": self.text(market, trade.price),
        }
        quantity = self.text(market, quantity=trade.quantity)
        data |= {
            "q": quantity,
            "nq": quantity,
            "f": trade.id,
            "l": trade.id,
            "T": ms,
            "m": trade.side == "Sell",
        }
        frame = dump({"stream": f"{self.id(market).lower()}@aggTrade", "data": data})
        return Message(frame, market.instrument.symbol, "trades", trades=(trade,))

    def others(self, market: Market, ms: int) -> Iterator[Message]:
        mark = self.text(market, market.last)
        data = {"e": "markPriceUpdate", "E": ms, "s": self.id(market), "p": mark, "i": mark, "P": mark}
        data |= {"r": "-0.00030000", "T": ms // 28_800_000 * 28_800_000 + 28_800_000}
        yield self.wrap(market, "markPrice@1s", data)
