"""Risk on the balances of trading: the free balance is theirs less what risk reserves."""

from decimal import Decimal

import pytest

from meltica.errors import OrderRefused
from meltica.model.balances import Balance
from meltica.model.enums import Mode
from meltica.model.fills import Fill
from meltica.trading.balances import Balances
from meltica.trading.order import PositionKey
from meltica.trading.risk.risk import Risk
from tests.support.risk import BTC, BUY, START, UNLIMITED, RiskWorld, instrument


def test_two_instances_race_for_the_last_100_usdt() -> None:
    w = RiskWorld()
    balances = Balances(Mode.LIVE)
    risk = w.risk = Risk(Mode.LIVE, balances, UNLIMITED)
    risk.registry.set_instrument("p", instrument(BTC), Decimal("0.001"))
    risk.registry.set_reconciled("p", reconciled=True)
    a, b = w.add("a"), w.add("b")
    with pytest.raises(OrderRefused, match="balance_unknown"):
        w.approve(w.request(owner=a))
    balances.reported("p", "USDT", Balance(Decimal("100.1"), Decimal("100.1"), START))
    first = w.order(w.approve(w.request(owner=a)))
    with pytest.raises(OrderRefused, match="insufficient_balance") as caught:
        w.approve(w.request(BUY, "0.1", owner=b))
    assert caught.value.limit == 0
    # A fill at a better price moves the reservation into the balance and leaves the rest.
    fill = Fill(
        "1",
        START + 1,
        BTC,
        first.client_order_id,
        "v1",
        BUY,
        Decimal(80),
        Decimal(1),
        Decimal("0.08"),
        "USDT",
    )
    balances.fill(PositionKey(a, "p", BTC), fill)
    risk.filled(first, fill.quantity, fill.price, fill.quantity, w.market, w.now)
    assert balances.free("p", "USDT", risk.registry.listing("p", BTC).quote.held) == Decimal("20.02")
    w.approve(w.request(BUY, "0.2", owner=b))
    # An older balance of the venue does not bring the money back.
    balances.reported("p", "USDT", Balance(Decimal("100.1"), Decimal("100.1"), START - 1))
    with pytest.raises(OrderRefused, match="insufficient_balance"):
        w.approve(w.request(BUY, "0.1", owner=b))
