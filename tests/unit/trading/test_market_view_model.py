"""The market of risk against a naive model: any events and changes of what is watched, read at any time."""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meltica._core import Core
from meltica.model.enums import Side
from meltica.trading import clock
from meltica.trading.market_view import MarketFeed
from meltica.trading.risk.market import Quote

KEYS = [(provider, symbol) for provider in ("model-p", "model-q") for symbol in ("BTC-USDT", "ETH-USDT")]
Key = tuple[str, str]
Levels = list[tuple[Decimal, Decimal]]

prices = st.decimals("0.01", "9.99", places=2)
quantities = st.decimals("0.0001", "5", places=4)
sides = st.dictionaries(prices, quantities, max_size=4)
keys = st.sampled_from(KEYS)


@dataclass
class State:
    """What is known of a watched symbol."""

    prices: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    book: tuple[Levels, Levels] | None = None
    crossed: bool = False


class Model:
    """Quotes by plain rules."""

    def __init__(self) -> None:
        self.states: dict[Key, State] = {}
        self.counts = defaultdict[tuple[Key, str], int](int)
        """How many events of a kind were ever dispatched."""
        self.restarted: dict[Key, int] = {}

    def watch(self, watched: set[Key]) -> None:
        """Watches other symbols."""
        self.states = {key: self.states.get(key) or State() for key in watched}

    def publish(self, key: Key, kind: str, payload: dict[str, Any]) -> None:
        """Takes an event that was published."""
        state = self.states.get(key)
        if state is None:
            return
        if kind == "Trade":
            self.counts[key, kind] += 1
            state.prices["last"] = payload["price"]
            return
        top = payload
        if kind == "BookSnapshot":
            sides = {"bid": payload["bids"], "ask": payload["asks"]}
            top = {name: side[0][0] for name, side in sides.items() if side}
        crossed = "bid" in top and "ask" in top and top["bid"] >= top["ask"]
        if kind == "BookSnapshot" and crossed:
            self.mark_stale(key, is_lost=False)
            state.crossed = True
            return
        self.counts[key, kind] += 1
        state.crossed = crossed
        last = {"last": state.prices["last"]} if "last" in state.prices else {}
        state.prices = last | ({k: v for k, v in top.items() if k == "last"} if crossed else top)
        if kind == "BookSnapshot":
            state.book = payload["bids"], payload["asks"]

    def mark_stale(self, key: Key, *, is_lost: bool) -> None:
        """Takes a notice."""
        state = self.states[key]
        state.book = None
        state.prices = {} if is_lost else {k: v for k, v in state.prices.items() if k == "last"}

    def restart(self, provider: str) -> None:
        """Takes a disconnect: symbols with new events since the last one are stale."""
        for key in KEYS:
            events = sum(self.counts[key, kind] for kind in ("BookSnapshot", "Trade", "Ticker"))
            if key[0] == provider and self.restarted.get(key, 0) != events:
                self.restarted[key] = events
                if key in self.states:
                    self.mark_stale(key, is_lost=True)

    def check(self, market: MarketFeed) -> None:
        """Compares all quotes and depths."""
        for key in KEYS:
            quote = market.quote(*key)
            state = self.states.get(key)
            if state is None:
                assert quote is None
                state = State()
            quote = quote or Quote()
            assert {
                name: price for name in ("bid", "ask", "last") if (price := getattr(quote, name)) is not None
            } == state.prices
            assert quote.crossed is state.crossed
            assert not quote.of_book or state.book is not None
            assert max(quote.top_time, quote.last_time, quote.connection_time) <= clock.now()
            for side, place in ((Side.BUY, 1), (Side.SELL, 0)):
                for limit in map(Decimal, ("2", "5.55", "9.99")):
                    expected: Decimal | int | None = None
                    if state.book is not None:
                        expected = sum(
                            quantity
                            for price, quantity in state.book[place]
                            if (price <= limit if side is Side.BUY else price >= limit)
                        )
                    assert market.depth(*key, side, limit) == expected


def _levels(side: dict[Decimal, Decimal], *, descending: bool) -> Levels:
    return sorted(side.items(), reverse=descending)


def _json(value: Levels | Decimal) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    return [{"price": str(price), "quantity": str(quantity)} for price, quantity in value]


def _book(bids: dict[Decimal, Decimal], asks: dict[Decimal, Decimal]) -> dict[str, Levels]:
    return {"bids": _levels(bids, descending=True), "asks": _levels(asks, descending=False)}


books = st.builds(_book, sides, sides)
tickers = st.dictionaries(st.sampled_from(["bid", "ask", "last"]), prices)
trades = st.fixed_dictionaries({"price": prices, "quantity": quantities})
Action = tuple[str, Any, Any]
"""A kind and the symbol and payload of its event, or a change."""
actions: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("BookSnapshot"), keys, books),
    st.tuples(st.just("Ticker"), keys, tickers),
    st.tuples(st.just("Trade"), keys, trades),
    st.tuples(st.just("restart"), keys, st.none()),
    st.tuples(st.just("watch"), st.sets(keys), st.none()),
    st.tuples(st.just("check"), st.none(), st.none()),
)


@given(st.lists(actions, max_size=60))
def test_the_market_is_that_of_a_naive_model(taken: list[Action]) -> None:
    core, model = Core(), Model()
    producers = {provider: core.producer(provider) for provider, _ in KEYS}
    market = MarketFeed(core)
    market.watch(KEYS)
    model.watch(set(KEYS))
    for name, target, payload in taken:
        if name == "watch":
            market.watch(target)
            model.watch(target)
        elif name == "restart":
            producers[target[0]].restart()
            model.restart(target[0])
        elif name == "check":
            model.check(market)
        else:
            extra = {"tradeId": "1"} if name == "Trade" else {}
            suffix = "Price" if name == "Ticker" else ""
            event = extra | {key + suffix: _json(value) for key, value in payload.items()}
            producers[target[0]].publish(name, target[1], event)
            model.publish(target, name, payload)
    model.check(market)
    market.close()
