from copy import deepcopy
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.model.enums import Mode, Side
from meltica.model.fills import Fill
from meltica.trading.order import Owner, PositionKey
from meltica.trading.positions import Position, Positions
from tests.unit.trading.orders import fill

OWNER = Owner("maker", UUID(int=1), Mode.LIVE)
KEY = PositionKey(OWNER, "fake", "BTC-USDT")
LOT = Decimal("0.1")


def buy(quantity: object, price: object = 100, fee: object = 0, currency: str = "USDT") -> Fill:
    return fill("x", quantity, price, fee=Decimal(str(fee)), fee_currency=currency)


def sell(quantity: object, price: object = 100, fee: object = 0, currency: str = "USDT") -> Fill:
    return buy(quantity, price, fee, currency)._replace(side=Side.SELL)


def position(*fills: Fill) -> Position:
    result = Position(key=KEY)
    for each in fills:
        result.fill(each)
    return result


def test_a_round_trip_realises_its_profit() -> None:
    one = position(buy(2, 100, "0.2"), buy(2, 110, "0.22"))
    assert (one.quantity, one.cost, one.average_price) == (4, 420, 105)
    one.fill(sell(1, 120, "0.12"))
    assert (one.quantity, one.cost, one.realised) == (3, 315, 15)
    pnl = one.pnl(Decimal(100))
    assert pnl == (15, -15, Decimal("0.54"), ())
    assert pnl.net == Decimal("-0.54")


def test_a_fee_in_base_reduces_the_position_and_dust_is_flat() -> None:
    one = position(buy(67, 10, "0.067", "BTC"))
    assert one.quantity == Decimal("66.933")
    assert one.sellable(LOT) == Decimal("66.9")
    assert not one.is_flat(LOT)
    one.fill(sell("66.9", 10))
    assert one.quantity == Decimal("0.033")
    assert (one.sellable(LOT), one.is_flat(LOT)) == (0, True)
    assert one.pnl(Decimal(10)).net == Decimal("-0.67")


def test_flat_follows_the_rules_of_the_venue() -> None:
    one = position(buy("0.5", 10))
    assert not one.is_flat(LOT, Decimal("0.5"), Decimal(5), Decimal(10))
    assert one.is_flat(LOT, Decimal("0.6"))
    assert one.is_flat(LOT, Decimal(0), Decimal("5.01"), Decimal(10))
    assert not one.is_flat(LOT, Decimal(0), Decimal("5.01"))


def test_a_fee_of_zero_in_base_changes_nothing() -> None:
    one = position(buy(2, 10, 0, "BTC"))
    assert (one.quantity, one.cost, one.realised) == (2, 20, 0)


def test_a_rebate_in_base_adds_to_the_position() -> None:
    one = position(buy(2, 10, "-0.5", "BTC"))
    assert (one.quantity, one.average_price, one.realised) == (Decimal("2.5"), 8, 0)


def test_a_position_may_change_its_side() -> None:
    one = position(sell(2, 100), buy(5, 90))
    assert (one.quantity, one.cost, one.realised) == (3, 270, 20)
    short = position(sell(2, 100))
    assert (short.average_price, short.sellable(LOT), short.is_flat(LOT)) == (100, 0, False)


def test_fees_in_third_currencies_are_valued_or_named() -> None:
    one = position(buy(1, 100, "0.5", "BNB"), buy(1, 100, "-0.1", "USDT"), buy(1, 100, "0", "DOGE"))
    assert one.pnl(Decimal(100)).unvalued == ("BNB",)
    assert one.pnl(Decimal(100)).net == Decimal("0.1")
    assert one.pnl(Decimal(100), {"BNB": Decimal(600)}) == (0, 0, Decimal("299.9"), ())


def test_inventory_moves_in_and_out_at_a_stated_price() -> None:
    one = position()
    one.transfer(Decimal("0.5"), Decimal(100))
    one.fill(sell("0.2", 120))
    one.transfer(Decimal("-0.3"), Decimal(110))
    assert (one.quantity, one.cost, one.realised) == (0, 0, 7)


def test_the_drawdown_is_below_the_highest_profit() -> None:
    one = position()
    assert one.mark(Decimal(-5)) == 5
    assert one.mark(Decimal(30)) == 0
    assert one.mark(Decimal(10)) == 20
    assert one.peak == 30


def test_live_paper_and_shadows_are_apart() -> None:
    positions = Positions()
    owners = [
        OWNER,
        OWNER._replace(mode=Mode.PAPER),
        OWNER._replace(mode=Mode.PAPER, revision="sha256:aa"),
        OWNER._replace(uid=UUID(int=7)),
    ]
    for quantity, owner in enumerate(owners, 1):
        positions.fill(KEY._replace(owner=owner), buy(quantity))
    assert [positions.quantity(KEY._replace(owner=owner)) for owner in owners] == [1, 2, 3, 4]
    assert [each.quantity for each in positions.of_owner(OWNER)] == [1]
    assert positions.quantity(KEY._replace(symbol="ETH-USDT")) == 0


def test_a_position_is_restored_once() -> None:
    positions = Positions()
    positions.restore(position(buy(1)))
    with pytest.raises(ValueError, match="exists already"):
        positions.restore(position(buy(1)))
    assert positions.transfer(KEY, Decimal(1), Decimal(1)).quantity == 2


QUANTITIES = st.decimals("0.00000001", "1000", places=8)
PRICES = st.decimals("0.0000001", "100000", places=7)
FEES = st.decimals("-1", "1", places=8)


def traded(side: Side, quantity: Decimal, price: Decimal, fee: Decimal, currency: str) -> Fill:
    return buy(quantity, price, fee, currency)._replace(side=side)


FILLS = st.lists(
    st.builds(
        traded,
        st.sampled_from(Side),
        QUANTITIES,
        PRICES,
        FEES,
        st.sampled_from(["BTC", "USDT", "BNB"]),
    ),
    max_size=30,
)


@given(FILLS, PRICES, st.integers(0, 30))
def test_positions_agree_with_a_naive_ledger(fills: list[Fill], price: Decimal, restart: int) -> None:
    coins = money = Fraction(0)
    fees: dict[str, Fraction] = {}
    one = Position(key=KEY)
    with localcontext() as context:
        context.prec = 5
        for number, each in enumerate(fills):
            sign = 1 if each.side is Side.BUY else -1
            quantity, fee = Fraction(each.quantity), Fraction(each.fee)
            coins += sign * quantity - (fee if each.fee_currency == "BTC" else 0)
            money -= sign * quantity * Fraction(each.price)
            fees[each.fee_currency] = fees.get(each.fee_currency, Fraction(0)) + fee
            one.fill(each)
            if number == restart:
                # A row has the same fields; NUMERIC keeps every digit.
                one = replace(one, quantity=Decimal(str(one.quantity)), fees=deepcopy(one.fees))
            assert Fraction(one.quantity) == coins
            assert Fraction(one.realised) - Fraction(one.cost) == money
            assert {currency: Fraction(fee) for currency, fee in one.fees.items()} == fees
            if not one.quantity:
                assert one.cost == 0
        pnl = one.pnl(price)
        equity = money + coins * Fraction(price) - fees.get("USDT", Fraction(0))
        assert Fraction(pnl.net) == equity


@given(FILLS)
def test_the_average_price_is_that_of_the_open_quantity(fills: list[Fill]) -> None:
    """Average cost, as exact fractions: buying changes the average, selling does not."""
    one, coins, average = Position(key=KEY), Fraction(0), Fraction(0)
    for each in fills:
        one.fill(each._replace(fee=Decimal(0)))
        change = Fraction(each.quantity) * (1 if each.side is Side.BUY else -1)
        price = Fraction(each.price)
        after = coins + change
        if coins * change >= 0:
            average = (average * coins + price * change) / after
        elif coins * after < 0:
            average = price
        coins = after
        if coins:
            assert abs(Fraction(one.cost) - average * coins) < Fraction(1, 10**20)
