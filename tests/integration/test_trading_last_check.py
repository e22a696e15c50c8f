"""The last check of orders and amendments that wait in the account, as for a connection."""

from collections.abc import Callable, Generator
from typing import Any

import psycopg
import pytest

from meltica.model.enums import OrderState
from meltica.model.trader import Order
from meltica.persistence.lock import GatewayLock
from meltica.trading import clock
from tests.support.trading_world import TradingWorld


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    with TradingWorld(database_url, lock).on_lossy_account() as world:
        yield world


def admit(world: TradingWorld, *, on: bool) -> None:
    """Lets requests of the account pass, or wait."""

    async def change() -> None:
        (world.lossy.admits.set if on else world.lossy.admits.clear)()

    world.call_loop(change)


def waiting(world: TradingWorld, **options: Any) -> Order:
    """Buys, and returns the order while its request waits in the account."""
    admit(world, on=False)
    order = world.buy("1", "99", **options)
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        while connection.execute("select 1 from orders").fetchone() is None:
            pass
    return order


def grow_old(requested_at: int, max_age: int) -> None:
    """Waits until what was requested at a time may no longer leave."""
    while clock.now() <= requested_at + max_age:
        pass


def test_an_order_that_waited_in_the_account_is_not_sent(world: TradingWorld, max_age: int) -> None:
    order = waiting(world)
    grow_old(order.requested_at, max_age)
    admit(world, on=True)
    world.wait_for("rejected")
    assert (order.state, order.reason, order.sent_at) == (OrderState.REJECTED, "too_late", None)
    assert world.lossy.requests["submit"] == []
    assert world.risk.free("p", "USDT") == 1_000_000


def stop(world: TradingWorld) -> None:
    world.desk.stop_orders(world.owner)


def lose_lock(world: TradingWorld) -> None:
    world.desk.gate.blocked = "lock_not_held"


def disconnect(world: TradingWorld) -> None:
    world.lossy.disconnect()


@pytest.mark.parametrize(
    ("happens", "reason"),
    [(stop, "instance_stopping"), (lose_lock, "lock_not_held"), (disconnect, "not_reconciled")],
)
def test_what_happens_while_an_order_waits_in_the_account_keeps_it(
    world: TradingWorld, happens: Callable[[TradingWorld], None], reason: str
) -> None:
    order = waiting(world)

    async def happen() -> None:
        happens(world)
        world.lossy.admits.set()

    world.call_loop(happen)
    world.wait_for("rejected")
    assert (order.reason, world.lossy.requests["submit"]) == (reason, [])


def test_an_order_cancelled_while_it_waits_in_the_account_is_not_sent(world: TradingWorld) -> None:
    order = waiting(world)
    world.call(lambda: world.trader.cancel(order))
    world.wait_for("cancelled")
    admit(world, on=True)
    second = world.buy("1", "98")
    world.wait_for("cancelled", "acknowledged")
    assert world.lossy.requests["submit"] == [second.client_order_id]
    assert (order.reason, world.lossy.requests["cancel"]) == ("cancelled_before_sending", [])


def test_an_amendment_that_waited_in_the_account_is_not_sent(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    max_age = 10**8
    for module in ("desk", "state_machine"):
        monkeypatch.setattr(f"meltica.trading.{module}.MAX_AGE", max_age)
    admit(world, on=False)
    world.call(lambda: world.trader.amend(order, quantity="2"))
    grow_old(clock.now(), max_age)
    admit(world, on=True)
    world.wait_for("amend_rejected")
    assert (order.quantity, order.pending_amend, world.lossy.requests["amend"]) == (1, False, [])
    assert world.risk.reservations.all()[0].quantity == 1


def test_an_order_that_waits_in_the_account_when_trading_stops_ends(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltica.trading.service.DRAIN", 0.1)
    order = waiting(world)
    assert world.trading.stop()
    with psycopg.connect(world.url, options="-c search_path=meltica") as connection:
        row = connection.execute("select state, reason, sent_at from orders").fetchone()
    assert row == ("REJECTED", "not_sent", None)
    assert world.desk.find(order.id) is not None
    assert world.lossy.requests["submit"] == []
