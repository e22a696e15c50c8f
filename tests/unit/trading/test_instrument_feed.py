"""Rules of instruments that the venue changes while instances trade."""

from collections.abc import Generator
from decimal import Decimal

import pytest

from meltica._core import Core
from meltica.errors import OrderRefused
from meltica.model.enums import Mode, Side
from meltica.simulator import catalogue
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.instrument_feed import InstrumentFeed
from meltica.trading.positions import Positions
from meltica.trading.risk.risk import Risk
from tests.support.fake_venue import wait_until
from tests.support.risk import BTC, ETH, UNLIMITED, RiskWorld


class World:
    """A risk world whose instruments follow the provider `p`."""

    def __init__(self) -> None:
        self.risk = RiskWorld(fee_rate="0.001")
        core = Core()
        risks = {Mode.LIVE: self.risk.risk, Mode.PAPER: Risk(Mode.PAPER, self.risk.balances, UNLIMITED)}
        books = {mode: Balances(mode) for mode in Mode}
        desk = Desk(risks, Positions(), books, self.risk.market, lambda: self.risk.now)
        self.risks = risks
        self.producer = core.producer("p")
        self.feed = InstrumentFeed(core, desk)
        self.feed.watch({("p", BTC), ("p", ETH)})

    def update(self, **changes: object) -> None:
        """Publishes the instrument BTC-USDT with changed rules, and waits until risk has them."""
        instrument = catalogue.instrument(BTC) | changes
        assert self.producer.publish("InstrumentUpdate", BTC, {"instrument": instrument})
        halted = changes.get("halted", False)
        tick = Decimal(str(instrument["priceIncrement"]))

        def known() -> bool:
            found = [risk.registry.listing("p", BTC).instrument for risk in self.risks.values()]
            return all(
                each is not None and (each.price_increment, each.halted) == (tick, halted) for each in found
            )

        wait_until(known, "the changed instrument")

    def refusal(
        self, price: str, side: Side = Side.BUY, *, reduce_only: bool = False
    ) -> tuple[str, str] | None:
        """Requests an order; returns the rule that refuses it and the message."""
        try:
            self.risk.approve(self.risk.request(side, "1", price, reduce_only=reduce_only))
        except OrderRefused as refused:
            return refused.rule, refused.message
        return None


@pytest.fixture(name="world")
def _world() -> Generator[World]:
    world = World()
    yield world
    assert world.feed.close()


def test_changed_rules_are_checked_from_then_on_and_fees_stay(world: World) -> None:
    assert world.refusal("99.99") is None
    world.update(priceIncrement="0.5", maxNotional="120")
    listing = world.risk.risk.registry.listing("p", BTC)
    assert listing.spend_factor == Decimal("1.001")
    refused = world.refusal("99.99")
    assert refused is not None
    assert refused[0] == "price_increment"
    assert "nearest valid: 100.0" in refused[1]
    assert world.refusal("99.5") is None
    refused = world.refusal("120.5")
    assert refused is not None
    assert refused[0] == "max_notional"


def test_a_trading_halt_refuses_orders_until_trading_is_resumed(world: World) -> None:
    approved = world.risk.approve(world.risk.request(Side.BUY, "1", "99.99"))
    world.risk.hold(1)
    world.update(halted=True)
    halted = ("instrument", "p has halted trading in BTC-USDT")
    assert world.refusal("99.99") == halted
    assert world.refusal("99.99", Side.SELL, reduce_only=True) == halted
    with pytest.raises(OrderRefused, match="halted trading"):
        world.risk.risk.check_send(approved.order_id)
    assert world.risk.approve(world.risk.request(Side.BUY, "1", "99.99", symbol=ETH))
    world.update()
    assert world.refusal("99.99") is None
    world.risk.risk.check_send(approved.order_id)
