"""The rules of paper fills, one by one, and their invariants on random markets."""

from collections import defaultdict
from decimal import Decimal
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltica.errors import OrderRefused
from meltica.model.enums import OrderState, Side, TimeInForce
from meltica.model.orders import NewOrder
from meltica.simulator.paper.funds import FeeIn
from meltica.simulator.paper.liquidity import Levels
from meltica.simulator.paper.orders import PaperReport
from tests.unit.simulator.paper_world import QUIET, RICH, World


def test_a_taker_meets_only_a_book_that_was_received_after_its_arrival() -> None:
    world = World()
    id = world.order("Buy", "2", "101")
    assert world.market.open_orders[0].state is OrderState.ACK
    assert world.book(asks=[("101", "1"), ("101.5", "5")]) == [(id, "1", "101", "taker")]


def test_an_unchanged_book_is_met_once_it_was_quiet() -> None:
    world = World()
    id = world.order("Buy", "2", "101")
    arrived = world.now
    assert world.market.due() == arrived + QUIET
    assert world.market.advance(arrived + QUIET - 1) == []
    assert world.take(world.market.advance(arrived + QUIET)) == [(id, "2", "101", "taker")]
    assert world.market.due() is None


def test_a_taker_walks_the_book_up_to_its_limit_and_the_rest_stands_first_at_a_new_price() -> None:
    world = World()
    id = world.order("Buy", "12", "101.5")
    assert world.book() == [(id, "5", "101", "taker"), (id, "5", "101.5", "taker")]
    assert world.market.open_orders[0].ahead == 0
    assert world.trade("101.5", "1", "Sell") == [(id, "1", "101.5", "queue")]


@pytest.mark.parametrize("kind", [TimeInForce.IOC, TimeInForce.FOK])
def test_what_does_not_trade_at_once_expires(kind: TimeInForce) -> None:
    world = World()
    id = world.order("Buy", "6", "101", kind)
    *fills, end = world.book()
    assert fills == ([(id, "5", "101", "taker")] if kind is TimeInForce.IOC else [])
    assert end[:2] == (id, "EXPIRED")
    assert world.market.open_orders == []
    assert world.funds.balance("USDT", 0).reserved == 0


def test_a_market_order_takes_what_is_shown_and_what_it_can_pay() -> None:
    world = World(totals={"USDT": Decimal(350)})
    id = world.order("Buy", "6", None, TimeInForce.IOC)
    assert world.book() == [(id, "3.4", "101", "taker"), (id, "EXPIRED", "", "insufficient funds")]


def test_taken_quantity_returns_only_as_the_level_rises() -> None:
    world = World()
    world.order("Buy", "5", "101", TimeInForce.IOC)
    world.book()
    again = world.order("Buy", "5", "101", TimeInForce.IOC)
    assert world.book() == [(again, "EXPIRED", "", "the rest did not trade at once")]
    # The level falls by 3, then rises by 4: 4 of the shown 6 are new.
    world.book(asks=[("101", "2"), ("101.5", "5")])
    third = world.order("Buy", "6", "101", TimeInForce.IOC)
    assert world.book(asks=[("101", "6"), ("101.5", "5")])[0] == (third, "4", "101", "taker")


@pytest.mark.parametrize("end", ["gone", "stale"])
def test_taken_quantity_is_forgotten_when_its_level_ends_or_the_book_resyncs(end: str) -> None:
    world = World()
    world.order("Buy", "5", "101", TimeInForce.IOC)
    world.book()
    if end == "gone":
        world.book(asks=[("101.5", "5")])
    else:
        world.market.mark_stale()
    world.book(asks=[("101", "5"), ("101.5", "5")])
    again = world.order("Buy", "5", "101", TimeInForce.IOC)
    assert world.book() == [(again, "5", "101", "taker")]


def test_a_level_beyond_the_shown_ones_keeps_what_was_taken() -> None:
    world = World()
    world.order("Buy", "10", "101.5", TimeInForce.IOC)
    world.book()
    world.book(asks=[("100.5", "1"), ("101", "5")])
    world.book(asks=[("101", "5"), ("101.5", "5")])
    again = world.order("Buy", "10", "101.5", TimeInForce.IOC)
    assert world.book() == [(again, "EXPIRED", "", "the rest did not trade at once")]


def test_a_maker_waits_behind_all_that_stood_at_its_price() -> None:
    world = World()
    id = world.order("Buy", "3", "99.5")
    assert world.trade("99.5", "4", "Sell") == []
    assert world.trade("99.5", "2", "Sell") == [(id, "1", "99.5", "queue")]
    assert world.trade("99.5", "9", "Sell") == [(id, "2", "99.5", "queue")]


def test_cancels_of_others_do_not_advance_a_maker() -> None:
    world = World()
    world.order("Buy", "3", "99.5")
    world.book(bids=[("99.5", "0.1"), ("99", "5")])
    assert world.trade("99.5", "4", "Sell") == []


def test_trades_of_takers_on_the_own_side_do_not_advance_a_maker() -> None:
    world = World()
    world.order("Buy", "3", "99.5")
    assert world.trade("99.5", "40", "Buy") == []
    assert world.trade("99.5", "40", None) == []


def test_the_own_earlier_order_is_filled_first_and_its_quantity_counts_once() -> None:
    world = World()
    first, second = world.order("Buy", "2", "99.5"), world.order("Buy", "2", "99.5")
    assert world.trade("99.5", "8", "Sell") == [(first, "2", "99.5", "queue"), (second, "1", "99.5", "queue")]


def test_what_filled_an_order_before_advances_no_queue() -> None:
    world = World()
    better, worse = world.order("Buy", "4", "99.5"), world.order("Buy", "5", "99")
    # Of what was sold, 4 would have met the better order, and 1 the queue.
    assert world.trade("99", "5", "Sell") == [(better, "4", "99.5", "traded_through")]
    assert world.trade("99", "4", "Sell") == []
    assert world.trade("99", "2", "Sell") == [(worse, "2", "99", "queue")]


def test_what_filled_the_own_earlier_order_advances_no_queue() -> None:
    world = World()
    first = world.order("Buy", "3", "99.5")
    assert world.trade("99.5", "5", "Sell") == []
    second = world.order("Buy", "3", "99.5")
    assert world.trade("99.5", "3", "Sell") == [(first, "3", "99.5", "queue")]
    assert world.trade("99.5", "5", "Sell") == []
    assert world.trade("99.5", "1", "Sell") == [(second, "1", "99.5", "queue")]


def test_a_maker_is_filled_when_the_market_trades_through_it() -> None:
    world = World()
    id = world.order("Sell", "3", "101")
    assert world.trade("101.5", "2", "Buy") == [(id, "2", "101", "traded_through")]
    assert world.trade("101.5", "2", None) == [(id, "1", "101", "traded_through")]


def test_a_maker_is_filled_by_what_the_other_side_offers_beyond_its_price() -> None:
    world = World()
    id = world.order("Buy", "3", "99.5")
    crossed = {"bids": [("98", "5")], "asks": [("98.5", "2"), ("99.5", "9")]}
    assert world.book(**crossed) == [(id, "2", "99.5", "traded_through")]
    assert world.book(**crossed) == []


def test_a_price_beyond_the_shown_levels_has_no_place_until_it_is_shown() -> None:
    world = World()
    id = world.order("Buy", "1", "98")
    assert world.trade("98", "100", "Sell") == []
    world.book(bids=[("98.5", "1"), ("98", "7")])
    assert world.trade("98", "8", "Sell") == [(id, "1", "98", "queue")]


def test_nothing_is_filled_while_the_book_is_stale() -> None:
    world = World()
    maker, taker = world.order("Buy", "1", "99.5"), world.order("Buy", "1", "101")
    world.market.mark_stale()
    assert world.market.due() is None
    assert world.trade("90", "100", "Sell") == []
    assert world.market.advance(world.now + 10 * QUIET) == []
    assert world.book() == [(taker, "1", "101", "taker")]
    assert world.trade("99", "1", "Sell") == [(maker, "1", "99.5", "traded_through")]


def test_an_event_from_before_the_arrival_fills_nothing() -> None:
    world = World()
    id = world.order("Buy", "1", "99.5")
    before = world.now
    assert world.market.trade(Decimal(90), Decimal(5), Side.SELL, before) == []
    assert world.trade("90", "5", "Sell") == [(id, "1", "99.5", "traded_through")]


@pytest.mark.parametrize(
    ("quantity", "price", "reason"),
    [
        ("0", "99", "invalid_quantity"),
        ("1", "0", "invalid_price"),
        ("1", "99.2", "tick_size"),
        ("1.05", "99", "lot_size"),
        ("0.1", "49", "min_notional"),
        ("1000.1", "99", "max_quantity"),
        ("900", "99.5", "insufficient_funds"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_and_changes_nothing(
    quantity: str, price: str, reason: str
) -> None:
    world = World(totals={"USDT": Decimal(10_000)})
    with pytest.raises(OrderRefused) as refused:
        world.order("Buy", quantity, price)
    assert refused.value.reason == reason
    assert (world.market.open_orders, world.funds.balance("USDT", 0).reserved) == ([], 0)


def test_a_post_only_order_that_would_take_is_refused() -> None:
    world = World()
    with pytest.raises(OrderRefused, match="would_cross"):
        world.order("Buy", "1", "101", post_only=True)
    with pytest.raises(OrderRefused, match="invalid_order"):
        world.order("Buy", "1", "99", TimeInForce.IOC, post_only=True)
    world.order("Buy", "1", "100", post_only=True)


@pytest.mark.parametrize("change", ["new", "price", "quantity"])
def test_a_post_only_order_never_takes(change: str) -> None:
    """Its book is stale when it arrives, or was crossed since: it meets the other side only later."""
    world = World()
    id = "" if change == "new" else world.order("Buy", "1", "99.5", post_only=True)
    if change == "quantity":
        world.book(bids=[("98", "5")], asks=[("99.5", "5")])
        with pytest.raises(OrderRefused, match="would_cross"):
            world.market.amend(id, Decimal(2), None, world.now)
        assert world.book() == []
        return
    world.market.mark_stale()
    if change == "new":
        id = world.order("Buy", "1", "101", post_only=True)
    else:
        world.market.amend(id, None, Decimal(101), world.now)
    assert world.book() == [(id, "EXPIRED", "", "would_cross")]
    assert world.funds.balance("USDT", 0).reserved == 0


def test_a_post_only_order_rests_once_the_book_is_back() -> None:
    world = World()
    world.market.mark_stale()
    id = world.order("Buy", "1", "99.5", post_only=True)
    assert world.book() == []
    assert world.trade("99", "1", "Sell") == [(id, "1", "99.5", "traded_through")]


def test_an_amendment_keeps_the_place_only_with_a_lower_quantity() -> None:
    world = World()
    id = world.order("Buy", "3", "99.5")
    world.trade("99.5", "4", "Sell")
    world.market.amend(id, Decimal(2), None, world.now)
    assert world.market.open_orders[0].ahead == 1
    world.market.amend(id, Decimal(4), None, world.now)
    assert world.market.open_orders[0].ahead == 5
    world.market.amend(id, None, Decimal(101), world.now)
    assert world.book() == [(id, "4", "101", "taker")]


def test_an_amendment_at_or_below_the_filled_quantity_cancels_the_rest() -> None:
    world = World()
    id = world.order("Buy", "3", "99.5")
    world.trade("99", "2", "Sell")
    report = world.market.amend(id, Decimal(2), None, world.now)
    assert (report.order.state, report.order.filled_quantity) == (OrderState.CANCELLED, 2)
    assert world.funds.balance("USDT", 0).reserved == 0


@pytest.mark.parametrize(
    ("fee_in", "buyer", "seller"),
    [
        ("quote", {"USDT": "-101.101", "BTC": "1"}, {"USDT": "99.4005", "BTC": "-1"}),
        ("base", {"USDT": "-101", "BTC": "0.999"}, {"USDT": "99.5", "BTC": "-1.001"}),
        ("received", {"USDT": "-101", "BTC": "0.999"}, {"USDT": "99.4005", "BTC": "-1"}),
    ],
)
def test_fees_are_charged_in_the_configured_currency(
    fee_in: FeeIn, buyer: dict[str, str], seller: dict[str, str]
) -> None:
    for side, price, changes in (("Buy", "101", buyer), ("Sell", "99.5", seller)):
        world = World(fee_in, fee="0.001")
        world.order(side, "1", price)
        world.book()
        moved = {name: world.funds.balance(name, 0).total - RICH[name] for name in RICH}
        assert moved == {name: Decimal(value) for name, value in changes.items()}


def test_a_restored_order_stands_at_the_end_of_its_queue() -> None:
    world = World()
    world.order("Buy", "3", "99.5")
    world.trade("99.5", "4", "Sell")
    [order] = world.market.open_orders
    later = World()
    later.market.mark_stale()
    later.market.restore(order)
    later.book()
    assert later.funds.balance("USDT", 0).reserved == Decimal("298.5")
    assert later.trade("99.5", "5", "Sell") == []
    assert later.trade("99.5", "1", "Sell") == [(order.id, "1", "99.5", "queue")]


prices = st.integers(190, 210).map(lambda ticks: Decimal(ticks) / 2)
quantities = st.integers(1, 60).map(lambda lots: Decimal(lots) / 10)
sides = st.sampled_from(list(Side))


@st.composite
def books(draw: st.DrawFn) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
    middle = draw(st.integers(195, 205))
    bids = [(Decimal(middle - 1 - gap) / 2, draw(quantities)) for gap in range(draw(st.integers(0, 3)))]
    asks = [(Decimal(middle + gap) / 2, draw(quantities)) for gap in range(draw(st.integers(0, 3)))]
    return bids, asks


actions = st.one_of(
    st.tuples(st.just("order"), sides, quantities, prices, st.sampled_from(list(TimeInForce))),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("amend"), st.integers(0, 5), quantities, prices),
    st.tuples(st.just("book"), books()),
    st.tuples(st.just("trade"), prices, quantities, st.one_of(st.none(), sides)),
    st.tuples(st.just("stale")),
    st.tuples(st.just("wait")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(actions, max_size=60), st.sampled_from(["quote", "base", "received"]))
def test_invariants(steps: list[tuple[object, ...]], fee_in: FeeIn) -> None:
    """Fills never exceed the order, its limit or the traded volume, and money is neither made nor lost."""
    world = World(fee_in, {"USDT": Decimal(2000), "BTC": Decimal(20)}, fee="0.001")
    market = world.market
    volume: dict[Decimal, Decimal] = defaultdict(Decimal)
    spent: dict[str, Decimal] = defaultdict(Decimal)
    for step in steps:
        world.now += 1
        name, *arguments = step
        reports = _act(world, str(name), arguments)
        maker_fills = [report.fill for report in reports if report.fill and report.fill.liquidity == "maker"]
        if name == "trade":
            traded = arguments[1]
            assert isinstance(traded, Decimal)
            assert sum((fill.quantity for fill in maker_fills), Decimal(0)) <= traded
        if name in ("order", "cancel", "amend", "stale"):
            assert not any(report.fill for report in reports)
        for report in reports:
            if report.fill is not None:
                _count(report, volume, spent)
        open_orders = market.open_orders
        for order in open_orders:
            assert order.remaining > 0
            assert order.state in (OrderState.ACK, OrderState.PARTIAL)
        for currency in ("USDT", "BTC"):
            balance = world.funds.balance(currency, 0)
            start = Decimal(2000) if currency == "USDT" else Decimal(20)
            assert balance.total == start + spent[currency]
            assert balance.total >= 0
            assert balance.available >= 0
        if not open_orders:
            assert all(balance.reserved == 0 for balance in world.funds.balances(0).values())


def _act(world: World, name: str, arguments: list[object]) -> list[PaperReport]:
    market, now = world.market, world.now
    ids = [order.id for order in market.open_orders]
    try:
        match name, arguments:
            case "order", [Side() as side, Decimal() as quantity, Decimal() as price, TimeInForce() as kind]:
                market.arrive(NewOrder(f"o{now}", "BTC-USDT", side, quantity, price, kind), now)
            case "cancel", [int(index)] if index < len(ids):
                return [market.cancel(ids[index], now)]
            case "amend", [int(index), Decimal() as quantity, Decimal() as price] if index < len(ids):
                return [market.amend(ids[index], quantity, price, now)]
            case "book", [tuple() as sides_shown]:  # pyright: ignore[reportUnknownVariableType]
                bids, asks = cast("tuple[Levels, Levels]", sides_shown)
                return market.book(bids, asks, now)
            case "trade", [Decimal() as price, Decimal() as quantity, taker]:
                assert taker is None or isinstance(taker, Side)
                return market.trade(price, quantity, taker, now)
            case "stale", _:
                market.mark_stale()
            case "wait", _:
                world.now += QUIET
                return market.advance(world.now)
            case _:
                pass
    except OrderRefused:
        pass
    return []


def _count(report: PaperReport, volume: dict[Decimal, Decimal], spent: dict[str, Decimal]) -> None:
    fill, order = report.fill, report.order
    assert fill is not None
    assert order.price is not None
    better = fill.price <= order.price if order.side is Side.BUY else fill.price >= order.price
    assert better
    assert order.filled_quantity <= order.quantity
    volume[fill.price] += fill.quantity
    sign = 1 if order.side is Side.BUY else -1
    spent["BTC"] += sign * fill.quantity
    spent["USDT"] -= sign * fill.quantity * fill.price
    spent[fill.fee_currency] -= fill.fee
