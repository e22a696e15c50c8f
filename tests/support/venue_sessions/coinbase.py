"""Coinbase Advanced Trade: whole books without numbers, and a number per connection over all channels."""

import random
from collections.abc import Iterator, Mapping

from tests.support.venue_sessions.market import Changes, Instrument, Market, Trade
from tests.support.venue_sessions.session import Message, Stream, dump, rfc3339

INSTRUMENTS = (
    Instrument("BTC-USD", 2, 8, 6_183_763, lot=10_000_000),
    Instrument("T-USD", 5, 1, 1_615, lot=50_000),
    Instrument("ETH-BTC", 5, 8, 4_326, lot=200_000_000),
)


class Coinbase(Stream):
    """All channels on one connection."""

    breaks_all = True

    def __init__(self, markets: Mapping[str, Market], rng: random.Random) -> None:
        super().__init__(markets, rng)
        self.number = -1
        self.heartbeats = 3000
        self.steps = dict.fromkeys(markets, 0)
        self.subscribed = dict.fromkeys(markets, False)

    def opened(self, ns: int) -> Iterator[Message]:
        ids = list(self.markets)
        channels = {"level2": ids, "market_trades": ids, "ticker": ids, "heartbeats": ["heartbeats"]}
        yield Message(self.frame("subscriptions", ns, [{"subscriptions": channels}]))
        yield Message('{"type":"error","message":"failure to subscribe"}')
        for market in self.markets.values():
            trades = tuple(reversed(market.recent))
            event = {"type": "snapshot", "trades": [self.trade(market, trade) for trade in trades]}
            symbol = market.instrument.symbol
            yield Message(self.frame("market_trades", ns, [event]), symbol, "history", trades=trades)

    def step(self, market: Market, ns: int, changes: Changes, trades: list[Trade]) -> Iterator[Message]:
        symbol = market.instrument.symbol
        n = self.steps[symbol] = self.steps[symbol] + 1
        if trades:
            event = {"type": "update", "trades": [self.trade(market, trade) for trade in reversed(trades)]}
            frame = self.frame("market_trades", ns, [event])
            yield Message(frame, symbol, "trades", trades=tuple(reversed(trades)))
        if changes and self.subscribed[symbol]:
            frame = self.frame("l2_data", ns, [self.level2(market, ns, "update", changes)])
            yield Message(frame, symbol, "diff", market.book())
        if n % 3 == 0:
            yield Message(self.frame("ticker", ns, [self.ticker(market)]), symbol)
        if n % 10 == 0:
            yield Message(self.frame("candles", ns, [self.candle(market, ns)]), symbol)

    def snapshot(self, market: Market, ns: int) -> Message:
        symbol, book = market.instrument.symbol, market.book()
        self.subscribed[symbol] = True
        event = self.level2(market, ns, "snapshot", Changes(dict(book.bids), dict(book.asks)))
        return Message(self.frame("l2_data", ns, [event]), symbol, "snapshot", book)

    def idle(self, ns: int) -> Iterator[Message]:
        self.heartbeats += 1
        current = rfc3339(ns, 6).replace("T", " ").rstrip("Z") + " +0000 UTC m=+91717.525857105"
        event = {"current_time": current, "heartbeat_counter": self.heartbeats}
        yield Message(self.frame("heartbeats", ns, [event]))

    def frame(self, channel: str, ns: int, events: list[object]) -> str:
        self.number += 1
        head = {"channel": channel, "client_id": "", "timestamp": rfc3339(ns, 9), "sequence_num": self.number}
        return dump({**head, "events": events})

    def level2(self, market: Market, ns: int, kind: str, changes: Changes) -> dict[str, object]:
        scale, at = market.instrument, rfc3339(ns - 2_000_000, 6)
        updates = [
            {"side": name, "event_time": at, "price_level": scale.price(p), "new_quantity": amount(scale, q)}
            for name, side in (("bid", changes.bids), ("offer", changes.asks))
            for p, q in side.items()
        ]
        return {"type": kind, "product_id": scale.symbol, "updates": updates}

    def trade(self, market: Market, trade: Trade) -> dict[str, object]:
        scale = market.instrument
        return {
            "product_id": scale.symbol,
            "trade_id": str(trade.id),
            "price": scale.price(trade.price),
            "size": scale.quantity(trade.quantity),
            "time": rfc3339(trade.ns, 6),
            "side": trade.side.upper(),
        }

    def ticker(self, market: Market) -> dict[str, object]:
        scale, bid, ask = market.instrument, market.bid, market.ask
        last = scale.price(market.last)
        day = {"volume_24_h": scale.quantity(market.volume), "low_24_h": last, "high_24_h": last}
        day |= {"low_52_w": last, "high_52_w": last, "price_percent_chg_24_h": "-0.5"}
        best = {"best_bid": scale.price(bid), "best_ask": scale.price(ask)}
        best |= {"best_bid_quantity": scale.quantity(market.bids[bid])}
        best |= {"best_ask_quantity": scale.quantity(market.asks[ask])}
        ticker = {"type": "ticker", "product_id": scale.symbol, "price": last, **day, **best}
        return {"type": "update", "tickers": [ticker]}

    def candle(self, market: Market, ns: int) -> dict[str, object]:
        opened, high, low, close, volume = market.candle
        names = zip(("high", "low", "open", "close"), (high, low, opened, close), strict=True)
        prices = {name: market.instrument.price(price) for name, price in names}
        start = str(ns // 300_000_000_000 * 300)
        traded = {"volume": market.instrument.quantity(volume), "product_id": market.instrument.symbol}
        return {"type": "update", "candles": [{"start": start, **prices, **traded}]}


def amount(scale: Instrument, quantity: int) -> str:
    """Returns a quantity as the venue writes it: `0` for a level that is gone."""
    return scale.quantity(quantity) if quantity else "0"
