"""The fake venue: a synthetic market as a provider, and orders on it."""

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

import pytest

from meltica._core import KINDS, Core, Event, ExecReport, Producer
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.errors import ConfigError, OrderRefused
from meltica.simulator.catalogue import SYMBOLS

START = "2026-01-01T00:00:00Z"


class Markets:
    """A core with named fake providers, each with a lambda that keeps its events."""

    def __init__(self, **settings: Mapping[str, object]) -> None:
        self.core = Core()
        self.host = self.core.host("shared", clock="event")
        self.events: dict[str, list[Event]] = {name: [] for name in settings}
        self.adapters: dict[str, FakeAdapter] = {}
        self.producers: dict[str, Producer] = {}
        for name, values in settings.items():
            adapter = FakeAdapter.configure({"start": START, "rate": "max", **values})
            assert isinstance(adapter, FakeAdapter)
            adapter.bind_name(name)
            self.producers[name] = self.core.producer(name)
            self.host.add(
                name,
                callbacks=dict.fromkeys(KINDS, self.events[name].append),
                routes=[(name, kind, None) for kind in KINDS],
                policies=dict.fromkeys(KINDS, "block"),
            ).start()
            adapter.start({name: self.producers[name]})
            self.adapters[name] = adapter

    def drain(self) -> None:
        """Waits until every callback has run."""
        assert all(producer.drain(30) for producer in self.producers.values())

    def run(self) -> None:
        """Runs all adapters in parallel, each to its end."""
        threads = [threading.Thread(target=adapter.run) for adapter in self.adapters.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        self.drain()
        assert self.host.stop()

    def payloads(self, name: str) -> list[tuple[object, ...]]:
        """Returns the events without the fields that differ between runs."""
        return [
            (event.kind, event.symbol, event.venue_time, event.provider_seq, event.to_dict()["payload"])
            for event in self.events[name]
        ]


def reports(markets: Markets, name: str) -> list[str]:
    markets.drain()
    return [event.state for event in markets.events[name] if isinstance(event, ExecReport)]


def test_two_markets_reach_only_their_own_lambdas() -> None:
    markets = Markets(calm={"seed": 1, "duration": "30s"}, wild={"seed": 2, "duration": "30s"})
    markets.run()
    assert {event.provider for event in markets.events["calm"]} == {"calm"}
    assert {event.provider for event in markets.events["wild"]} == {"wild"}
    assert markets.payloads("calm") != markets.payloads("wild")
    kinds = {event.kind for event in markets.events["calm"]}
    assert {"Trade", "Ticker", "BookSnapshot", "InstrumentUpdate", "BalanceUpdate"} <= kinds
    trades = {event.symbol for event in markets.events["calm"] if event.kind == "Trade"}
    assert trades == set(SYMBOLS)


def test_the_same_seed_gives_the_same_events() -> None:
    runs = [Markets(a={"seed": 3, "duration": "20s", "kline_interval": "5s"}) for _ in range(2)]
    for markets in runs:
        markets.run()
    first, second = (markets.payloads("a") for markets in runs)
    assert first == second
    candles = [row for row in first if row[0] == "KlineSummary"]
    assert candles
    assert cast(dict[str, Any], candles[0][4])["interval"] == "5s"


def test_an_account_trades() -> None:
    markets = Markets(a={"maker_fee": 0, "taker_fee": "0.002", "symbols": ["BTC/USDT"]})
    market = markets.adapters["a"].market
    account = markets.adapters["a"].account
    assert account is not None
    assert account.fee_rates("BTC-USDT") == (0, Decimal("0.002"))
    market.advance(market.now + 10_000_000_000)
    before = market.balances()
    assert before["BTC"].total == 1000
    assert market.submit("one", "BTC-USDT", "buy", "0.5", "30000").isdigit()
    assert [order["clientOrderId"] for order in market.open_orders()] == ["one"]
    assert market.balances()["USDT"].reserved == 15000
    market.amend("one", quantity="0.25")
    assert market.balances()["USDT"].reserved == 7500
    market.cancel("one")
    assert market.open_orders() == []
    best = market.book("BTC-USDT", 1).asks[0]
    market.submit("two", "BTC-USDT", "buy", "0.01")
    fill = market.fills_since()[0]
    assert (fill.client_order_id, fill.price, fill.liquidity) == ("two", best.price, "taker")
    assert fill.fee == fill.price * fill.quantity * Decimal("0.002")
    assert market.fills_since(int(fill.execution_id) + 100) == []
    after = market.balances()
    assert after["BTC"].total == before["BTC"].total + Decimal("0.01")
    paid = sum(f.price * f.quantity + f.fee for f in market.fills_since())
    assert after["USDT"].total == before["USDT"].total - paid
    states = reports(markets, "a")
    assert states[:3] == ["ACK", "ACK", "CANCELLED"]
    assert states[-1] == "FILLED"
    assert markets.host.stop()


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (("BTC-USDT", "buy", "0.00001", "30000"), "lot_size"),
        (("BTC-USDT", "buy", "1", "30000.001"), "tick_size"),
        (("BTC-USDT", "buy", "0.0001", "30000"), "min_notional"),
        (("BTC-USDT", "buy", "1000", "30000"), "insufficient_funds"),
        (("BTC-USDT", "buy", "1", "30000", "GTX"), None),
        (("XYZ-USDT", "buy", "1", "30000"), None),
    ],
)
def test_what_is_refused_says_why(order: tuple[Any, ...], reason: str | None) -> None:
    markets = Markets(a={"symbols": ["BTC-USDT"]})
    market = markets.adapters["a"].market
    if reason is None:
        with pytest.raises(ValueError, match="expected one of"):
            market.submit("x", *order)
    else:
        with pytest.raises(OrderRefused) as refused:
            market.submit("x", *order)
        assert refused.value.reason == reason
    for refusing in (lambda: market.cancel("x"), lambda: market.amend("x", "1")):
        with pytest.raises(OrderRefused, match="expected the client order id of an open order, saw x"):
            refusing()
    assert markets.host.stop()


def test_orders_are_accepted_while_the_market_runs() -> None:
    markets = Markets(a={"symbols": ["BTC-USDT"], "balance_update_interval": 0})
    adapter, market = markets.adapters["a"], markets.adapters["a"].market
    thread = threading.Thread(target=adapter.run)
    thread.start()
    for number in range(50):
        market.submit(f"order {number}", "BTC-USDT", "buy" if number % 2 else "sell", "0.01")
    adapter.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert len({fill.client_order_id for fill in market.fills_since()}) == 50
    assert markets.host.stop()


def test_the_market_follows_the_wall_clock_and_ends() -> None:
    adapter = FakeAdapter.configure({"speed": 1000, "duration": "60s", "start": START})
    assert isinstance(adapter, FakeAdapter)
    producer = Core().producer("fake")
    adapter.start({"fake": producer})
    begun = adapter.market.now
    adapter.run()
    assert adapter.market.now - begun == 60_000_000_000
    with pytest.raises(ValueError, match="expected a speed above 0"):
        adapter.market.run(speed=0.0)


def test_one_error_lists_every_fault_of_the_settings() -> None:
    with pytest.raises(ConfigError) as faults:
        FakeAdapter.configure(
            {
                "seed": -1,
                "price_model": {"volatility": 2, "shock": 1},
                "trade_model": {"min_quantity": 2, "max_quantity": 1},
                "order_book": {"levels": 5, "max_mutation_width": 9},
                "symbols": ["BTC-USDT", "btc", {"symbol": "ETH-USDT-PERP"}],
                "ticker_interval": "fast",
            }
        )
    text = str(faults.value)
    for place in (
        "`seed`",
        "`price_model.volatility`",
        "`price_model.shock` is unknown",
        "`max_quantity` of `min_quantity` or more",
        "`max_mutation_width` of at most `levels`",
        "expected a symbol such as BTC-USDT",
        "expected a spot symbol",
        "`ticker_interval`",
    ):
        assert place in text, text
    for values, said in (
        ({"symbols": ["BTC-USDT", "BTC/USDT"]}, "each symbol once"),
        ({"balances": {"EUR": 1}}, "currencies of the symbols, saw EUR"),
        ({"balances": {"BTC": "1e30"}}, "balances.BTC"),
        ({"balances": {"BTC": "1e-9"}}, "balances.BTC"),
        ({"rate": 1e-300}, "`rate`: expected 1e-05 to 1e"),
        ({"symbols": [{"symbol": "BTC-USDT", "rate": 1e-300}]}, r"symbols\[0\].rate|symbols.0.rate"),
        ({"trade_interval": "1000d"}, "trade_interval"),
        ({"start": "9990-01-01T00:00:00Z"}, "start"),
    ):
        with pytest.raises(ConfigError, match=said):
            FakeAdapter.configure(values)


def test_an_adapter_has_no_market_before_its_start() -> None:
    adapter = FakeAdapter.configure({})
    assert isinstance(adapter, FakeAdapter)
    with pytest.raises(RuntimeError, match="started"):
        _ = adapter.market
