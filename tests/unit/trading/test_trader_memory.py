"""How many ended orders an instance's trader keeps, and what that costs."""

from collections.abc import Generator
from dataclasses import replace
from uuid import uuid4

import pytest

from meltica.model.enums import OrderState
from meltica.persistence.lock import GatewayLock
from meltica.trading.effects import Callback, CallbackKind
from meltica.trading.trader import KEPT_ENDED, InstanceTrader
from tests.support.calls import count_calls
from tests.support.risk import BTC
from tests.support.trading_world import IDS, TradingWorld, timings
from tests.unit.trading.orders import order


@pytest.fixture(name="trader")
def _trader() -> Generator[InstanceTrader]:
    world = TradingWorld("", GatewayLock(""))
    yield InstanceTrader(
        world.owner,
        {"p": (BTC,)},
        world.desk,
        world.risk,
        world.positions,
        world.market,
        IDS,
        timings,
        push=lambda _: None,
        deliver=lambda run: run(),
    )
    assert world.host.stop()


def _end(trader: InstanceTrader) -> str:
    record = replace(order(), id=uuid4(), client_order_id=IDS.next(), state=OrderState.CANCELLED)
    trader.receive(Callback(CallbackKind.CANCELLED, record), 1)
    return record.client_order_id


def test_the_oldest_of_the_ended_orders_are_forgotten(trader: InstanceTrader) -> None:
    ids = [_end(trader) for _ in range(KEPT_ENDED + 2)]
    kept = [id for id in ids if trader.order(id) is not None]
    assert kept == ids[2:]


def test_an_end_costs_the_same_after_many_ends(trader: InstanceTrader) -> None:
    first = count_calls(lambda: _end(trader))
    for _ in range(KEPT_ENDED - 2):
        _end(trader)
    assert count_calls(lambda: _end(trader)) == pytest.approx(first, abs=20)
