"""The list of faults: each kind is listed while it lasts, and is gone when it is over."""

import asyncio
import threading
from collections.abc import Generator, Mapping
from decimal import Decimal

import psycopg
import pytest

from meltica.model.balances import Balance
from meltica.model.enums import Mode, Side
from meltica.persistence.lock import GatewayLock
from meltica.trading import clock
from meltica.trading.faults import FaultKind, TradingFault
from tests.support.lossy_account import Fate
from tests.support.trading_world import TradingWorld

BTC = "BTC-USDT"


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    with TradingWorld(database_url, lock).on_lossy_account() as world:
        yield world


def wait_for_faults(world: TradingWorld, *kinds: FaultKind) -> list[TradingFault]:
    """Waits until exactly these kinds of faults are listed; returns them."""
    while True:
        found = world.trading.faults()
        if [each.kind for each in found] == list(kinds):
            return found


def test_an_unknown_order_is_a_fault_until_its_state_is_certain(world: TradingWorld) -> None:
    wait_for_faults(world)
    world.lossy.fates["submit"].append(Fate.NEVER_ARRIVES)
    order = world.buy()
    [fault] = wait_for_faults(world, FaultKind.UNKNOWN_ORDER)
    assert fault[2:] == ("p", Mode.LIVE, order.client_order_id)
    assert "BTC-USDT of a: outcome_unknown" in fault.detail
    world.wait_for("rejected")
    wait_for_faults(world)


def test_an_account_is_a_fault_until_it_is_reconciled(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, balances = threading.Event(), world.lossy.balances

    async def read_balances() -> Mapping[str, Balance]:
        while not seen.is_set():
            await asyncio.sleep(0.001)
        return await balances()

    monkeypatch.setattr(world.lossy, "balances", read_balances)
    world.lossy.disconnect()
    assert world.trading.faults() == [
        TradingFault(FaultKind.NOT_RECONCILED, "the account is reconciling", "p", Mode.LIVE)
    ]
    seen.set()
    wait_for_faults(world)
    world.desk.connect("p", Mode.LIVE, None)
    # A provider may be stopped: that is not a fault.
    wait_for_faults(world)


def test_an_order_that_is_not_in_the_database_is_a_fault(world: TradingWorld) -> None:
    order = world.buy()
    world.wait_for("acknowledged")
    world.close()
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        connection.execute("delete from orders")
    successor = TradingWorld(world.url, world._lock, world.venue, world.owner.uid)  # pyright: ignore[reportPrivateUsage]
    successor.trading.start()
    try:
        lost, _ = wait_for_faults(successor, FaultKind.ORDERS_LOST, FaultKind.NOT_RECONCILED)
        assert lost.subject == order.client_order_id
    finally:
        successor.close()


def test_a_difference_is_a_fault_with_its_amount(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltica.trading.balances.SETTLES_WITHIN", 0)
    balances = world.call_loop(world.account.balances)
    wrong = balances["BTC"]._replace(total=balances["BTC"].total + 5, time=clock.now())
    world.desk.balance("p", Mode.LIVE, "BTC", wrong)
    [fault] = wait_for_faults(world, FaultKind.DIFFERENCE)
    assert fault == (FaultKind.DIFFERENCE, "5", "p", Mode.LIVE, "BTC")
    world.desk.balance("p", Mode.LIVE, "BTC", balances["BTC"]._replace(time=clock.now()))
    wait_for_faults(world)


def test_a_frozen_ledger_is_a_fault_of_its_instance(world: TradingWorld) -> None:
    world.buy("1", "99")
    world.wait_for("acknowledged")
    # The venue's time does not fit into a column.
    world.account.trade(BTC, Decimal(98), Decimal(1), Side.SELL, 1 << 63)
    [fault] = wait_for_faults(world, FaultKind.LEDGER_FROZEN)
    assert fault.subject == "a"


def test_a_failed_commit_is_a_fault_until_one_succeeds(world: TradingWorld) -> None:
    lock = world._lock  # pyright: ignore[reportPrivateUsage]
    epoch, lock._epoch = lock._epoch, None  # pyright: ignore[reportPrivateUsage]
    [fault] = wait_for_faults(world, FaultKind.NOT_WRITTEN)
    assert "the gateway does not hold the lock" in fault.detail
    lock._epoch = epoch  # pyright: ignore[reportPrivateUsage]
    wait_for_faults(world)


def test_trading_that_has_ended_is_a_fault(world: TradingWorld) -> None:
    world.desk.gate.blocked = "trading_failed"
    assert world.trading.faults() == [TradingFault(FaultKind.NO_ORDERS, "trading_failed")]
