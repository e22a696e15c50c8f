"""Limits of loss while the gateway runs, over restarts, over midnight and with a clock that is set back."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState, Side
from meltica.persistence.lock import GatewayLock
from meltica.trading import clock
from meltica.trading.risk.limits import GlobalRiskLimits
from meltica.trading.risk.loss import Loss
from meltica.trading.risk.scopes import GLOBAL
from tests.support.risk import BTC, UNLIMITED
from tests.support.trading_world import PaperVenue, TradingWorld

HOUR = 3600 * 10**9
DAY = 24 * HOUR
LIMITS = GlobalRiskLimits.model_validate(UNLIMITED.model_dump(by_alias=True) | {"maxDailyLoss": 100})


class Gateways:
    """One gateway after the other, with clocks that a test sets."""

    def __init__(self, url: str, lock: GatewayLock) -> None:
        self._url, self._lock = url, lock
        self._venue = PaperVenue()
        self.offset = 0
        self.world: TradingWorld | None = None

    def start(self, *, halted: bool = False) -> TradingWorld:
        """Ends the last gateway, and starts the next one."""
        uid = None
        if self.world is not None:
            uid = self.world.owner.uid
            self.world.close()
        world = self.world = TradingWorld(self._url, self._lock, self._venue, uid)
        world.desk.clock = lambda: clock.now() + self.offset
        world.risk.registry.set_limits(GLOBAL, LIMITS)
        if halted:
            world.trading.start()
            while (
                world.risk.halted(world.owner) is None or not world.desk.accounts.link("p", Mode.LIVE).ready
            ):
                pass
        else:
            world.start()
        return world

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a query."""
        with psycopg.connect(self._url, options="-c search_path=meltica") as connection:
            return connection.execute(statement.encode()).fetchall()


@pytest.fixture(name="gateways")
async def _gateways(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Gateways]:
    monkeypatch.setattr("meltica.trading.service.TICK", 0.02)
    monkeypatch.setattr("meltica.trading.service.MARK_EVERY", 1)
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    gateways = Gateways(database_url, lock)
    yield gateways
    assert gateways.world is not None
    gateways.world.close()
    await lock.release()


def loss(world: TradingWorld) -> Loss:
    """Returns the loss of all trading."""
    with world.desk.lock:
        return world.risk.status(GLOBAL, world.desk.clock()).loss


def wait_for_loss(world: TradingWorld, amount: str) -> None:
    """Waits until the loss of the day is an amount."""
    while loss(world).daily_loss != Decimal(amount):
        pass


def lose_90(world: TradingWorld) -> None:
    """Buys 10 for 1000 and a fee of 1, and lets the price fall to 91.10."""
    while loss(world).day is None:
        pass
    # First the book: an order at 100 that rests is not filled by an ask of 100.
    world.quote("99.90", "100")
    world.buy("10", "100")
    world.wait_for("filled")
    world.quote("91.05", "91.15")
    wait_for_loss(world, "90")


def test_a_restart_after_most_of_the_daily_limit_leaves_the_rest_of_it(gateways: Gateways) -> None:
    lose_90(gateways.start())
    world = gateways.start()
    world.quote("91.05", "91.15")
    wait_for_loss(world, "90")
    resting = world.buy("1", "50")
    world.wait_for("acknowledged")
    world.quote("90.05", "90.15")
    world.wait_for("cancelled")
    assert resting.state is OrderState.CANCELLED
    assert loss(world).daily_loss == 100
    with pytest.raises(OrderRefused, match="halted"):
        world.buy("1", "50")
    # What only reduces the position passes.
    world.call(lambda: world.trader.place(Side.SELL, BTC, "1", "90.05", reduce_only=True))


def test_the_halt_of_a_daily_loss_outlives_midnight_and_restarts(gateways: Gateways) -> None:
    world = gateways.start()
    lose_90(world)
    world.quote("90.05", "90.15")
    while not gateways.query("select 1 from halts where rule = 'max_daily_loss' and cleared_at is null"):
        pass
    gateways.offset += DAY
    wait_for_loss(world, "0")
    for _ in range(2):
        with pytest.raises(OrderRefused, match="halted"):
            world.buy("1", "50")
        world = gateways.start(halted=True)


def test_a_clock_that_is_set_back_at_a_restart_does_not_renew_the_daily_limit(gateways: Gateways) -> None:
    gateways.offset = DAY - clock.now() % DAY + 5 * 60 * 10**9
    world = gateways.start()
    lose_90(world)
    day = loss(world).day
    gateways.offset -= 2 * HOUR
    world = gateways.start()
    world.quote("91.05", "91.15")
    wait_for_loss(world, "90")
    assert loss(world).day == day == (clock.now() + gateways.offset) // DAY + 1
    world.quote("90.05", "90.15")
    while world.risk.halted(world.owner) is None:
        pass


def test_no_order_adds_risk_while_a_position_has_no_price(gateways: Gateways) -> None:
    world = gateways.start()
    lose_90(world)
    del world.market.quotes["p", BTC]
    while loss(world).valued_at:
        pass
    world.market.set("ETH-USDT", "1", "2")
    with pytest.raises(OrderRefused, match="cannot be valued"):
        world.buy("1", "50")
    world.quote("91.05", "91.15")
    wait_for_loss(world, "90")
    while not loss(world).valued_at:
        pass
    world.buy("1", "50")


def test_the_peak_of_a_position_is_restored(gateways: Gateways) -> None:
    world = gateways.start()
    world.quote("99.90", "100")
    world.buy("10", "100")
    world.wait_for("filled")
    while not gateways.query("select 1 from positions where quantity = 10"):
        pass
    world.quote("120", "120")
    wait_for_loss(world, "-199")
    world = gateways.start()
    [position] = world.positions.of_owner(world.owner)
    assert (position.peak, loss(world).peak) == (199, 199)
    assert world.owner.mode is Mode.LIVE
