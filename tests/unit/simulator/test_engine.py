"""The matching engine's Python face; its rules are tested in Rust, beside the code."""

import doctest
import pickle
import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica import ConfigError, MelticaError, Side
from meltica.simulator import Balance, BookLevel, EngineTrade, MatchingEngine, OrderBook, OrderRefused
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "simulator.md"
ONE = Decimal(1)


def reason(call: Callable[[], object]) -> str:
    """Returns why a call was refused."""
    with pytest.raises(OrderRefused) as caught:
        call()
    assert str(caught.value).startswith(f"{caught.value.reason}: ")
    return caught.value.reason


def test_the_example_of_the_docs() -> None:
    examples = doctest.DocTestParser().get_doctest(DOCS.read_text(), {}, DOCS.name, str(DOCS), 0)
    assert len(examples.examples) > 5
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(examples).failed == 0


def test_a_trade_has_both_orders_the_makers_price_and_the_fees() -> None:
    engine = MatchingEngine("BTC-USDT", maker_fee="0.001", taker_fee="0.002", fee_in="received")
    assert engine.submit("ask", "sell", "2", "100", account="alice") == []
    [fill] = engine.submit(7, Side.BUY, "0.5", "101", account="bob")
    assert fill == EngineTrade(
        maker_order_id="ask",
        taker_order_id=7,
        price=Decimal(100),
        quantity=Decimal("0.5"),
        trade_id=1,
        taker_side=Side.BUY,
        maker_account="alice",
        taker_account="bob",
        maker_fee=Decimal("0.05"),
        maker_fee_currency="USDT",
        taker_fee=Decimal("0.001"),
        taker_fee_currency="BTC",
    )
    assert all(isinstance(number, Decimal) for number in (fill.price, fill.quantity, fill.maker_fee))
    assert pickle.loads(pickle.dumps(fill)) == fill
    assert engine.fees == {"BTC": Decimal("0.001"), "USDT": Decimal("0.05")}
    assert (engine.remaining("ask"), engine.remaining(7)) == (Decimal("1.5"), 0)


def test_the_remaining_quantity_rests_expires_or_is_refused() -> None:
    engine = MatchingEngine()
    engine.submit("ask", "SELL", 1, 100)
    assert len(engine.submit("ioc", "buy", "0.25", "100", "ioc")) == 1
    assert engine.submit("late", "buy", 1, 99, "IOC") == []
    assert engine.remaining("late") == 0
    assert reason(lambda: engine.submit("fok", "buy", 1, 100, "FOK")) == "unfillable"
    assert reason(lambda: engine.submit("post", "buy", 1, 100, post_only=True)) == "would_cross"
    assert len(engine.submit("market", "buy", 5)) == 1
    assert (engine.remaining("market"), engine.book()) == (0, OrderBook((), (), 3))
    assert engine.submit("market 2", "buy", 5) == []
    # A refused id may be used again.
    assert engine.submit("fok", "buy", 1, 100) == []
    assert engine.book().best_bid == BookLevel(Decimal(100), ONE, 1)
    assert engine.book().best_ask is None


def test_a_sell_at_0_is_a_market_order_and_a_buy_is_refused() -> None:
    engine = MatchingEngine()
    engine.submit("bid", "buy", 1, 100)
    assert [fill.price for fill in engine.submit("ask", "sell", 2, "0.0")] == [100]
    assert (engine.remaining("ask"), engine.book().asks) == (0, ())
    assert reason(lambda: engine.submit("fok", "sell", 1, 0, "FOK")) == "unfillable"
    assert reason(lambda: engine.submit("post", "sell", 1, 0, post_only=True)) == "invalid_price"
    assert reason(lambda: engine.submit("buy", "buy", 1, 0)) == "invalid_price"
    assert reason(lambda: engine.submit("less", "sell", 1, -1)) == "invalid_price"


def test_cancelling_and_amending() -> None:
    engine = MatchingEngine(tick_size="0.5")
    for order in "abc":
        engine.submit(order, "buy", 2, 100)
    assert engine.amend("a", quantity=1) == []
    assert engine.amend("b", quantity=3) == []
    assert [fill.maker_order_id for fill in engine.submit("s", "sell", "6.5", 100)] == ["a", "c", "b"]
    assert engine.remaining("s") == Decimal("0.5")
    assert [fill.price for fill in engine.amend("s", price=90.0)] == []
    engine.submit("d", "buy", 1, "89.5")
    assert [fill.quantity for fill in engine.amend("d", price="90")] == [Decimal("0.5")]
    assert engine.cancel("d") == Decimal("0.5")
    assert engine.remaining("d") == 0
    assert reason(lambda: engine.cancel("d")) == "unknown_order"
    assert reason(lambda: engine.amend("d", price=90)) == "unknown_order"
    assert reason(lambda: engine.remaining("e")) == "unknown_order"
    engine.submit("f", "sell", 2, 95)
    engine.submit("g", "buy", 1, 95)
    assert engine.amend("f", quantity=1) == []
    assert (engine.remaining("f"), engine.book().asks) == (0, ())


def test_the_book_is_cut_to_a_depth_and_counts_its_changes() -> None:
    engine = MatchingEngine()
    for number, price in enumerate([99, 98, 97, 98]):
        engine.submit(number, "buy", 1, price)
    engine.submit("ask", "sell", 1, 101)
    book = engine.book(2)
    assert book.bids == ((99, 1, 1), (98, 2, 2))
    assert (book.best_bid, book.best_ask, book.update_id) == ((99, 1, 1), (101, 1, 1), 5)
    assert len(engine.book().bids) == 3
    assert engine.book(0).bids == ()


def test_self_trade_policies() -> None:
    engine = MatchingEngine(self_trade="expire_maker")
    engine.submit("own", "sell", 1, 100, account="alice")
    engine.submit("other", "sell", 1, 100, account="bob")
    assert len(engine.submit("both", "buy", 1, 100, account="alice", self_trade="Allow")) == 1
    engine.submit("own 2", "sell", 1, 99, account="alice")
    [fill] = engine.submit("take", "buy", 1, 100, account="alice")
    assert (fill.maker_order_id, engine.remaining("own 2")) == ("other", 0)


def test_balances_are_reserved_paid_and_conserved() -> None:
    funds = {"alice": {"BTC": 1, "USDT": "100"}, "bob": {"USDT": Decimal(1000)}}
    engine = MatchingEngine("BTC-USDT", maker_fee="0.01", taker_fee="0.02", balances=funds)
    engine.submit("ask", "sell", 1, 500, account="alice")
    assert engine.balance("alice")["BTC"] == Balance(ONE, Decimal(0), 0)
    assert engine.balance("alice")["BTC"].reserved == 1
    assert reason(lambda: engine.submit("more", "sell", 1, 500, account="alice")) == "insufficient_funds"
    assert reason(lambda: engine.submit("dear", "buy", 2, 500, account="bob")) == "insufficient_funds"
    assert reason(lambda: engine.submit("who", "buy", 1, 1, account="carol")) == "unknown_account"
    engine.submit("bid", "buy", "1.5", 500, account="bob")
    assert engine.balance("bob") == {
        "BTC": Balance(ONE, ONE, 0),
        "USDT": Balance(Decimal(490), Decimal("237.5"), 0),
    }
    assert engine.balance("alice")["USDT"].total == Decimal(595)
    assert engine.fees == {"BTC": 0, "USDT": 15}
    # Outside has no funds to look at.
    assert len(engine.submit("outside", "sell", "0.5", 500)) == 1
    assert engine.balance("bob")["USDT"] == Balance(Decimal("237.5"), Decimal("237.5"), 0)


def test_the_instruments_rules_are_enforced() -> None:
    engine = MatchingEngine(
        "ETH/USDT",
        tick_size="0.05",
        lot_size="0.01",
        min_quantity="0.1",
        max_quantity=100,
        min_notional=10,
    )
    assert engine.symbol == "ETH-USDT"
    submit = engine.submit
    assert reason(lambda: submit(1, "buy", "0.015", 2000)) == "lot_size"
    assert reason(lambda: submit(1, "buy", "0.0000001", 2000)) == "lot_size"
    assert reason(lambda: submit(1, "buy", "0.05", 2000)) == "min_quantity"
    assert reason(lambda: submit(1, "buy", "100.01", 2000)) == "max_quantity"
    assert reason(lambda: submit(1, "buy", 1, "2000.01")) == "tick_size"
    assert reason(lambda: submit(1, "buy", 1, "2000.001")) == "tick_size"
    assert reason(lambda: submit(1, "buy", 1, "9.95")) == "min_notional"
    assert reason(lambda: submit(1, "buy", "0.0", 2000)) == "invalid_quantity"
    assert reason(lambda: submit(1, "buy", 1, -5)) == "invalid_price"
    assert reason(lambda: submit(1, "buy", 1, "1e17")) == "overflow"
    assert reason(lambda: submit(1, "buy", 1, None, post_only=True)) == "invalid_order"
    assert reason(lambda: submit(1, "buy", 1, 2000, "IOC", post_only=True)) == "invalid_order"
    with pytest.raises(
        OrderRefused, match=r"order 1: expected a notional of at least 10\.0000, saw 1\.00 at 9\.95"
    ):
        submit(1, "buy", 1, "9.95")


@pytest.mark.parametrize(
    "bad", ["abc", "", "1/3", float("nan"), float("inf"), "1e400", Decimal("NaN"), "\u0661", True]
)
def test_a_value_that_is_not_a_number_is_refused(bad: str | float) -> None:
    engine = MatchingEngine()
    assert reason(lambda: engine.submit(1, "buy", bad, 1)) == "invalid_quantity"
    assert reason(lambda: engine.submit(1, "buy", 1, bad)) == "invalid_price"


def test_a_float_is_rounded_to_the_increment_only_within_its_precision() -> None:
    engine = MatchingEngine(tick_size="0.1", lot_size="0.1")
    engine.submit("a", "sell", 0.1 + 0.2, 0.7 + 0.1)
    assert engine.book().asks == ((Decimal("0.8"), Decimal("0.3"), 1),)
    # Down to 0.7 is far from 0.7999999999999999.
    assert reason(lambda: engine.submit("b", "buy", 1.0, 0.7 + 0.1)) == "tick_size"
    assert reason(lambda: engine.submit("b", "buy", 0.25, 1.0)) == "lot_size"
    assert reason(lambda: engine.submit("b", "buy", 1.0, 0.85)) == "tick_size"
    assert reason(lambda: engine.submit("b", "buy", Decimal("0.1000000000000000055"), 1)) == "lot_size"


def test_wrong_arguments_raise_type_errors() -> None:
    engine = MatchingEngine()
    with pytest.raises(ValueError, match='side: expected one of buy, sell, saw "hold"'):
        engine.submit(1, "hold", 1, 1)
    with pytest.raises(ValueError, match="time_in_force: expected one of GTC, IOC, FOK"):
        engine.submit(1, "buy", 1, 1, "DAY")
    with pytest.raises(TypeError, match="order_id: expected str, or int"):
        engine.submit(None, "buy", 1, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="account: expected one with trades"):
        engine.balance("nobody")


def test_ids_are_unique_and_text_is_not_a_number() -> None:
    engine = MatchingEngine()
    engine.submit("1", "buy", 1, 1)
    engine.submit(1, "buy", 2, 1)
    engine.submit(-(2**100), "buy", 3, 1)
    assert [engine.remaining(order) for order in ("1", 1, -(2**100))] == [1, 2, 3]
    assert reason(lambda: engine.submit("1", "buy", 1, 1)) == "duplicate_order_id"
    engine.cancel(1)
    assert reason(lambda: engine.submit(1, "buy", 1, 1)) == "duplicate_order_id"


def test_one_error_lists_every_fault_of_the_options() -> None:
    with pytest.raises(ConfigError) as caught:
        MatchingEngine("btc", tick_size=0, lot_size="x", fee_in="gold", maker_fee=2, self_trade="no")
    begins = [fault.split(":")[0] for fault in caught.value.faults]
    assert sorted(begins) == ["fee_in", "lot_size", "maker_fee", "self_trade", "symbol", "tick_size"]
    balances = {"alice": {"XRP": 1, "BTC": -1, "USDT": "0.000000000000000001"}}
    with pytest.raises(ConfigError) as caught:
        MatchingEngine("BTC-USDT", balances=balances)
    paths = [fault.split(":")[0] for fault in caught.value.faults]
    assert paths == ["balances.alice.XRP", "balances.alice.BTC", "balances.alice.USDT"]
    with pytest.raises(ConfigError, match="symbol: expected the symbol of spot, not of perp"):
        MatchingEngine("BTC-USDT-PERP")


def test_a_refusal_is_a_meltica_error_and_pickles() -> None:
    error = OrderRefused("tick_size", "between two ticks")
    assert isinstance(error, MelticaError)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, str(copy)) == ("tick_size", "tick_size: between two ticks")
    assert str(OrderRefused("tick_size")) == "tick_size"


def test_threads_can_share_an_engine() -> None:
    engine = MatchingEngine()

    def work(name: int) -> None:
        for number in range(300):
            engine.submit(f"{name}/{number}", "buy" if number % 2 else "sell", 1, 100 + number % 3)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    book = engine.book()
    # Each thread buys as much as it sells.
    assert sum(level.quantity for level in book.bids) == sum(level.quantity for level in book.asks)


ANYTHING = st.one_of(
    st.decimals(),
    st.floats(),
    st.integers(),
    st.text(max_size=8),
    st.decimals(0, 1000, places=8),
    st.booleans(),
)


@given(st.lists(st.tuples(st.booleans(), ANYTHING, ANYTHING | st.none()), max_size=12))
def test_any_number_trades_exactly_or_is_refused(orders: list[tuple[bool, str, str | None]]) -> None:
    engine = MatchingEngine()
    asked: dict[int, Decimal] = {}
    for number, (buys, quantity, price) in enumerate(orders):
        try:
            fills = engine.submit(number, "buy" if buys else "sell", quantity, price)
        except OrderRefused:
            continue
        market = price is None or (not buys and Decimal(str(price)) == 0)
        filled = sum((fill.quantity for fill in fills), Decimal(0))
        asked[number] = filled if market else Decimal(str(quantity))
        for fill in fills:
            asked[int(fill.maker_order_id)] -= fill.quantity
            asked[number] -= fill.quantity
    for number, left in asked.items():
        # A float may have been brought down to the increment.
        assert abs(engine.remaining(number) - left) < Decimal("1e-8")
