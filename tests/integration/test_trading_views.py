"""What a strategy reads of its trading: fees, PnL, and whether orders go out."""

from collections.abc import Generator
from decimal import Decimal

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode
from meltica.persistence.lock import GatewayLock
from meltica.trading.operator import Act
from meltica.trading.risk.scopes import GLOBAL, Scope
from tests.support.risk import BTC
from tests.support.trading_world import TradingWorld


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    world = TradingWorld(database_url, lock)
    world.start()
    yield world
    world.close()


def test_a_strategy_is_notified_when_orders_begin_to_go_out(world: TradingWorld) -> None:
    assert world.wait_for_changes(1) == [("p", True, None)]


def test_a_strategy_is_notified_of_an_account_that_is_lost_and_found(world: TradingWorld) -> None:
    world.wait_for_changes(1)
    world.desk.connect("p", Mode.LIVE, None)
    assert world.wait_for_changes(2)[1:] == [("p", False, "not_reconciled: p")]
    world.desk.connect("p", Mode.LIVE, world.account)
    assert world.wait_for_changes(3)[2:] == [("p", True, None)]


@pytest.mark.parametrize("scope", [GLOBAL, Scope.provider("p")], ids=["global", "provider"])
def test_a_strategy_is_notified_of_a_halt_and_its_end(world: TradingWorld, scope: Scope) -> None:
    world.wait_for_changes(1)
    act = Act("me", "enough")
    world.operate(lambda operator: operator.halt(scope, act))
    assert world.wait_for_changes(2)[1:] == [("p", False, "halted: operator: enough")]
    assert world.call(lambda: world.trader.trading) == (False, "halted: operator: enough")
    world.operate(lambda operator: operator.resume(scope, act))
    assert world.wait_for_changes(3)[2:] == [("p", True, None)]


def test_fees_and_pnl_add_up(world: TradingWorld) -> None:
    assert world.call(lambda: world.trader.position(BTC)).fees == {}
    world.buy("2", "100.01", tag="entry")
    world.quote("99.99", "100.00")
    world.wait_for("filled")
    fees = world.call(lambda: world.trader.position(BTC)).fees
    world.quote("109.99", "110.01")
    pnl = world.call(world.trader.pnl)
    paid = sum(fill.price * fill.quantity for *_, fill, _ in world.callbacks if fill is not None)
    assert (pnl.currency, pnl.unvalued) == ("USDT", ())
    assert (pnl.realised, pnl.unrealised, pnl.fees) == (0, 220 - paid, fees["USDT"])
    assert pnl.net == 220 - paid - fees["USDT"]


def test_fee_rates_are_those_of_the_account_and_unknown_without_one(world: TradingWorld) -> None:
    assert world.call(lambda: world.trader.fees(BTC)) == (Decimal("0.001"), Decimal("0.001"))
    with pytest.raises(OrderRefused, match="not in the scope"):
        world.call(lambda: world.trader.fees("ETH-USDT"))
    world.desk.connect("p", Mode.LIVE, None)
    assert world.call(lambda: world.trader.fees(BTC)) is None


def test_a_position_without_a_price_is_unvalued(world: TradingWorld) -> None:
    world.buy("2", "100.01")
    world.quote("99.99", "100.00")
    world.wait_for("filled")
    world.market.quotes.clear()
    pnl = world.call(world.trader.pnl)
    assert (pnl.realised, pnl.unrealised, pnl.unvalued) == (0, 0, (BTC,))


def test_a_position_can_be_read_before_the_rules_of_its_symbol(world: TradingWorld) -> None:
    world.buy("2", "100.01")
    world.quote("99.99", "100.00")
    world.wait_for("filled")
    world.risk.registry.listings["p", BTC].instrument = None
    position = world.call(lambda: world.trader.position(BTC))
    assert (position.quantity, position.flat) == (Decimal(2), False)
