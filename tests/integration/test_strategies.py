"""The shipped strategies do what their docstrings say, on a paper account with the default risk limits."""

from collections.abc import AsyncGenerator

import pytest

from meltica.lambdas.instances import LambdaInstance, add_instance
from meltica.strategies.market_making import MarketMaking
from meltica.strategies.momentum import Momentum
from meltica.strategies.noop import Noop
from tests.support.risk import BTC
from tests.support.strategy_world import StrategyWorld, strategy_world

MAKING = {"seconds": 0.01}
RISE = [f"{100 + step * 0.01:.2f}" for step in range(20)]
FALL = RISE[::-1]


@pytest.fixture(name="world")
async def _world(database_url: str) -> AsyncGenerator[StrategyWorld]:
    async with strategy_world(database_url) as world:
        yield world


async def test_noop_receives_market_data_and_does_nothing(world: StrategyWorld) -> None:
    world.run = run = _without_trading(world)
    world.quote("99.99", "100.01")
    world.trade("100.00")
    world.wait(lambda: sum(run.stats()["delivered"].values()) == 2)
    assert (run.trading, world.errors(), world.orders()) == (None, 0, [])


def _without_trading(world: StrategyWorld) -> LambdaInstance:
    run = add_instance(world.host, Noop, id="s", scope={"p": (BTC,)})
    run.start()
    return run


async def test_market_making_buys_below_the_middle_and_sells_what_it_has_above(world: StrategyWorld) -> None:
    await world.start(MarketMaking, MAKING)
    world.quote("99.99", "100.01")
    world.wait_orders(("Buy", "99.95"))
    world.quote("99.91", "99.93")
    world.wait_orders(("Buy", "99.87"), ("Sell", "99.97"))
    assert world.position() == "5.0025"
    # A part of a position that could not be sold by itself is sold with the rest.
    world.quote("99.99", "100.01")
    world.wait_position("0.0000")
    world.wait_orders(("Buy", "99.95"))
    assert world.errors() == 0


async def test_market_making_replaces_a_quote_that_the_market_has_left(world: StrategyWorld) -> None:
    await world.start(MarketMaking, MAKING)
    world.quote("99.99", "100.01")
    world.wait_orders(("Buy", "99.95"))
    world.quote("100.00", "100.02")
    world.wait_orders(("Buy", "99.95"))
    world.quote("100.99", "101.01")
    world.wait_orders(("Buy", "100.94"))


async def test_market_making_buys_up_to_the_largest_position(world: StrategyWorld) -> None:
    await world.start(MarketMaking, {**MAKING, "max_position": 1000})
    world.quote("99.99", "100.01")
    world.wait_orders(("Buy", "99.95"))
    world.quote("99.91", "99.93")
    world.wait_orders(("Buy", "99.87"), ("Sell", "99.97"))
    world.quote("99.83", "99.85")
    world.wait_position("10.0090")
    world.wait_orders(("Sell", "99.89"))


async def test_market_making_has_no_quotes_while_prices_are_stale_and_after_a_stop(
    world: StrategyWorld,
) -> None:
    await world.start(MarketMaking, MAKING)
    world.quote("99.99", "100.01")
    world.wait_orders(("Buy", "99.95"))
    assert world.producer.publish("MarketStale", BTC, {"reason": "disconnected"})
    world.wait_orders()
    world.quote("99.99", "100.01")
    world.wait_orders(("Buy", "99.95"))
    await world.stop()
    world.wait_orders()


async def test_momentum_holds_one_position_from_a_rise_to_a_fall(world: StrategyWorld) -> None:
    await world.start(Momentum, {"cooldown": 3600})
    world.quote_book("99.99", "100.01")
    world.trade(*FALL)  # on spot, it cannot sell what it has not bought
    world.trade(*RISE)
    world.wait_position("4.9995")
    world.trade(*RISE)
    world.trade(*FALL)
    world.wait_position("0.0000")
    world.trade(*RISE)  # within the cooldown
    world.wait(lambda: world.run.stats()["delivered"]["Trade"] == 100)
    assert (world.position(), world.orders(), world.errors()) == ("0.0000", [], 0)


async def test_momentum_keeps_its_position_and_its_trips_over_a_restart(database_url: str) -> None:
    async with strategy_world(database_url) as world:
        await world.start(Momentum, {"cooldown": 0})
        venue = world.world.venue
        world.quote_book("99.99", "100.01")
        for prices, position in ((RISE, "4.9995"), (FALL, "0.0000"), (RISE, "4.9995")):
            world.trade(*prices)
            world.wait_position(position)
        await world.stop()
    async with strategy_world(database_url, venue) as world:
        await world.start(Momentum)
        subject = world.run.subject
        assert isinstance(subject, Momentum)
        assert (subject.trips, world.position()) == (1, "4.9995")
        world.quote_book("99.99", "100.01")

        def sold() -> bool:
            # The orders of the first run may still fill the throttle.
            world.trade(*FALL)
            return world.position() == "0.0000"

        world.wait(sold, world.position)
        world.wait(lambda: subject.trips == 2)
