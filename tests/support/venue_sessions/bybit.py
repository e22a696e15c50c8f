"""Bybit v5, spot and linear: windows of 50 levels with numbers that grow by one, and partial tickers."""

import random
from collections.abc import Iterator, Mapping

from tests.support.venue_sessions.market import Changes, Instrument, Market, Trade
from tests.support.venue_sessions.session import Message, Stream, dump

INSTRUMENTS = (
    Instrument("BTC-USDT", 2, 6, 6_183_763, tick=10, lot=100_000),
    Instrument("ETH-USDT", 2, 5, 267_512, lot=200_000),
    Instrument("1000PEPE-USDT", 7, 0, 121_500, lot=40_000),
)
DEPTH = 50


class BybitSpot(Stream):
    """The category `spot`."""

    def __init__(self, markets: Mapping[str, Market], rng: random.Random) -> None:
        super().__init__(markets, rng)
        self.last = {symbol: market.update_id for symbol, market in markets.items()}
        self.view = {symbol: market.book(DEPTH) for symbol, market in markets.items()}
        self.steps = dict.fromkeys(markets, 0)

    def opened(self, ns: int) -> Iterator[Message]:
        yield Message(
            '{"success":true,"ret_msg":"subscribe","conn_id":"cd7f4a7f","req_id":"1","op":"subscribe"}'
        )
        yield Message(
            '{"success":false,"ret_msg":"error:handler not found,topic:orderbook.500.BTCUSDT",'
            '"conn_id":"cd7f4a7f","req_id":"2","op":"subscribe"}'
        )

    def step(self, market: Market, ns: int, changes: Changes, trades: list[Trade]) -> Iterator[Message]:
        symbol, ms = market.instrument.symbol, ns // 1_000_000
        n = self.steps[symbol] = self.steps[symbol] + 1
        if trades:
            yield self.trades(market, ms, trades)
        shown = market.book(DEPTH)
        if change := Changes.between(self.view[symbol], shown):
            self.view[symbol], self.last[symbol] = shown, self.last[symbol] + 1
            yield self.orderbook(market, ms, "delta", change)
        if n % 4 == 0:
            yield self.best(market, ms)
        if n % 5 == 1:
            yield from self.tickers(market, ms)
        if n % 10 == 0:
            yield self.kline(market, ms, closed=n % 50 == 0)

    def snapshot(self, market: Market, ns: int) -> Message:
        book = self.view[market.instrument.symbol] = market.book(DEPTH)
        return self.orderbook(market, ns // 1_000_000, "snapshot", Changes(dict(book.bids), dict(book.asks)))

    def restarted(self, market: Market, ns: int) -> Iterator[Message]:
        self.last[market.instrument.symbol] = 1
        yield self.snapshot(market, ns)

    def idle(self, ns: int) -> Iterator[Message]:
        yield Message('{"success":true,"ret_msg":"pong","conn_id":"cd7f4a7f","req_id":"","op":"ping"}')
        yield Message('{"op":"pong","args":["1675418560633"],"conn_id":"cd7f4a7f"}')

    def id(self, market: Market) -> str:
        return "".join(market.instrument.parts)

    def level(self, market: Market, level: tuple[int, int]) -> list[str]:
        return [market.instrument.price(level[0]), market.instrument.quantity(level[1]) if level[1] else "0"]

    def head(self, topic: str, ms: int, kind: str) -> dict[str, object]:
        return {"topic": topic, "ts": ms, "type": kind}

    def orderbook(self, market: Market, ms: int, kind: str, changes: Changes, depth: int = DEPTH) -> Message:
        symbol = market.instrument.symbol
        data = {
            "s": self.id(market),
            "b": [self.level(market, level) for level in sorted(changes.bids.items(), reverse=True)],
            "a": [self.level(market, level) for level in sorted(changes.asks.items())],
            "u": self.last[symbol],
            "seq": market.update_id,
        }
        frame = dump(
            {**self.head(f"orderbook.{depth}.{self.id(market)}", ms, kind), "data": data, "cts": ms - 2}
        )
        role = "snapshot" if kind == "snapshot" else "diff"
        return Message(frame, symbol, role, self.view[symbol])

    def best(self, market: Market, ms: int) -> Message:
        book = market.book(1)
        levels = Changes(dict(book.bids), dict(book.asks))
        frame = self.orderbook(market, ms, "snapshot", levels, depth=1).frame
        return Message(frame, market.instrument.symbol)

    def trades(self, market: Market, ms: int, trades: list[Trade]) -> Message:
        data = [
            {
                "i": self.trade_id(trade),
                "T": trade.ns // 1_000_000,
                "p": market.instrument.price(trade.price),
                "v": market.instrument.quantity(trade.quantity),
                "S": trade.side,
                "s": self.id(market),
                "BT": False,
                "RPI": False,
                "seq": market.update_id,
            }
            for trade in trades
        ]
        frame = dump({**self.head(f"publicTrade.{self.id(market)}", ms, "snapshot"), "data": data})
        return Message(frame, market.instrument.symbol, "trades", trades=tuple(trades))

    def trade_id(self, trade: Trade) -> str:
        return str(2_290_000_000_000_000_000 + trade.id)

    def tickers(self, market: Market, ms: int) -> Iterator[Message]:
        last, volume = market.instrument.price(market.last), market.instrument.quantity(market.volume)
        day = {"highPrice24h": last, "lowPrice24h": last, "prevPrice24h": last, "volume24h": volume}
        data = {
            "symbol": self.id(market),
            "lastPrice": last,
            **day,
            "turnover24h": "9.1",
            "price24hPcnt": "0.01",
        }
        data["usdIndexPrice"] = "" if len(self.id(market)) > 8 else last
        head = {"topic": f"tickers.{self.id(market)}", "ts": ms, "type": "snapshot", "cs": market.update_id}
        yield Message(dump({**head, "data": data}), market.instrument.symbol)

    def kline(self, market: Market, ms: int, *, closed: bool) -> Message:
        start = ms // 60_000 * 60_000
        opened, high, low, close, volume = market.candle
        names = zip(("open", "close", "high", "low"), (opened, close, high, low), strict=True)
        prices = {name: market.instrument.price(price) for name, price in names}
        data = {"start": start, "end": start + 59_999, "interval": "1", **prices}
        data |= {
            "volume": market.instrument.quantity(volume),
            "turnover": "1.5",
            "confirm": closed,
            "timestamp": ms,
        }
        head = {"topic": f"kline.1.{self.id(market)}", "data": [data], "ts": ms, "type": "snapshot"}
        return Message(dump(head), market.instrument.symbol)


class BybitLinear(BybitSpot):
    """The category `linear`."""

    def __init__(self, markets: Mapping[str, Market], rng: random.Random) -> None:
        super().__init__(markets, rng)
        self.shown: dict[str, dict[str, object]] = {}

    def trade_id(self, trade: Trade) -> str:
        return f"{trade.id:08x}-7c1d-5b2e-9a3f-{trade.id:012x}"

    def head(self, topic: str, ms: int, kind: str) -> dict[str, object]:
        # Deeper linear topics have `ts` after `type`.
        return {"topic": topic, "type": kind, "ts": ms}

    def tickers(self, market: Market, ms: int) -> Iterator[Message]:
        price, quantity = market.instrument.price, market.instrument.quantity
        last, bid, ask = price(market.last), market.bid, market.ask
        data: dict[str, object] = {"symbol": self.id(market), "tickDirection": "PlusTick", "lastPrice": last}
        data |= {"volume24h": quantity(market.volume), "openInterest": "40021.1", "fundingRate": "-0.000212"}
        data |= {
            "markPrice": price(market.last),
            "indexPrice": price(market.last),
            "fundingIntervalHour": "8",
        }
        data |= {"nextFundingTime": str(ms // 28_800_000 * 28_800_000 + 28_800_000)}
        data |= {"bid1Price": price(bid), "bid1Size": quantity(market.bids[bid])}
        data |= {"ask1Price": price(ask), "ask1Size": quantity(market.asks[ask])}
        before = self.shown.get(self.id(market))
        self.shown[self.id(market)] = data
        changed = {k: v for k, v in data.items() if k == "symbol" or before is None or before[k] != v}
        head = {"topic": f"tickers.{self.id(market)}", "type": "delta" if before else "snapshot"}
        yield Message(
            dump({**head, "data": changed, "cs": market.update_id, "ts": ms}), market.instrument.symbol
        )
