"""Refusals of a strategy in a loop: every one is counted in a row, and orders of others leave in time."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, Side
from meltica.persistence.lock import GatewayLock
from meltica.trading.order import Owner
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.trader import InstanceTrader
from tests.support.risk import BTC
from tests.support.trading_world import IDS, TradingWorld, timings

FLOOD = 10_000
"""Refusals at least."""
ORDERS = (("2", BTC), ("0.00001", BTC), ("1", "XRP-USDT"), ("x", BTC))
"""Quantities and symbols of which each breaks a rule, two of them before the checks of risk."""


class Flood:
    """An instance that places orders in a loop, all of which are refused."""

    def __init__(self, world: TradingWorld) -> None:
        owner = Owner("flood", uuid4(), Mode.LIVE)
        limits = InstanceRiskLimits.model_validate({"maxOrderSize": 1})
        world.risk.registry.set_instance(owner, {"p": (BTC,)}, limits)
        self._trader = InstanceTrader(
            owner,
            {"p": (BTC,)},
            world.desk,
            world.risk,
            world.positions,
            world.market,
            IDS,
            timings,
            world.trading.push,
            lambda _: None,
        )
        self.refused = Counter[str]()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while self.refused.total() < FLOOD or not self._stopped.is_set():
            for quantity, symbol in ORDERS:
                try:
                    self._trader.place(Side.BUY, symbol, quantity, "100")
                except OrderRefused as refused:
                    self.refused[refused.reason] += 1


@pytest.fixture(autouse=True)
def _switch_interval() -> Iterator[None]:
    """Sets the interpreter's switch interval of the gateway."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("max_age")
def test_a_flood_of_refusals_is_counted_exactly_and_delays_no_order_of_others(
    database_url: str, lock: GatewayLock
) -> None:
    # An orderly stop, immediately after the last order.
    with closing(TradingWorld(database_url, lock)) as world:
        world.start()
        flood, ends = Flood(world), Counter[tuple[str, str | None]]()
        with flood:
            for _ in range(20):
                order = world.buy("1", "100.01", time_in_force="IOC")
                world.wait_until(lambda order=order: not order.is_open)
                ends[order.state.value, order.reason] += 1
    # The flood shares the interpreter, so that single orders can be late on a busy machine.
    assert ends["FILLED", None] > 0, ends
    assert set(ends) <= {("FILLED", None), ("REJECTED", "too_late")}
    counts = world.query("select rule, sum(count) from refusals where instance = 'flood' group by rule")
    assert len(flood.refused) == len(ORDERS)
    assert {rule: int(count) for rule, count in counts} == flood.refused
    [(rows,)] = world.query("select count(*) from refusals")
    assert rows < flood.refused.total() / 20
    [(wrong,)] = world.query(
        "select count(*) from refusals where count < 1 or last_refused_at < refused_at"
        " or (count = 1 and last_refused_at <> refused_at) or message = '' or instance <> 'flood'"
    )
    assert wrong == 0
