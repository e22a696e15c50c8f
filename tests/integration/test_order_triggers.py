"""What led to an order: the event of the callback that requested it, with the times of its steps."""

import threading
import time
from collections.abc import Generator
from typing import Any

import pytest

from meltica import _core
from meltica.errors import OrderRefused
from meltica.model.enums import Side
from meltica.model.trader import Order
from meltica.persistence.lock import GatewayLock
from tests.support.risk import BTC
from tests.support.trading_world import PATIENCE, TradingWorld

TRADE = {"tradeId": "1", "price": "99", "quantity": "1"}
COLUMNS = "trigger, intent_at, approved_at, committed_at, sent_at, acknowledged_at"


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    world = TradingWorld(database_url, lock)
    world.start()
    yield world
    world.close()


def place(world: TradingWorld, price: str = "50") -> Order:
    return world.trader.place(Side.BUY, BTC, "1", price)


def on_trade(world: TradingWorld, quantity: str = "1") -> Order | OrderRefused:
    """Buys in the callback of a trade; returns the order, or why it was refused."""
    done, results = threading.Event(), list[Order | OrderRefused]()

    def buy(_trade: object) -> None:
        try:
            results.append(world.trader.place(Side.BUY, BTC, quantity, "50"))
        except OrderRefused as refused:
            results.append(refused)
        finally:
            done.set()

    world.on_trade = buy
    now = time.time_ns()
    world.producer.publish("Trade", BTC, TRADE, venue_time=now + 5_000_000, received_time=now)
    assert done.wait(PATIENCE)
    return results[0]


def stored(world: TradingWorld) -> tuple[Any, ...]:
    world.wait_for("acknowledged")
    assert world.trading.stop()
    [row] = world.query(f"select {COLUMNS} from orders")
    return row


def test_an_order_of_a_callback_has_its_event_and_the_times_of_all_steps(world: TradingWorld) -> None:
    on_trade(world)
    trigger, intent, approved, committed, sent, acknowledged = stored(world)
    event = trigger["event"]
    assert (event["kind"], event["provider"], event["symbol"]) == ("Trade", "p", BTC)
    assert event["sequence"] == 1
    assert event["venue_time"] - event["received_time"] == 5_000_000, "a venue that is ahead stays ahead"
    steps = [event["received_at"], event["dispatched_at"], event["read_at"], trigger["callback_at"]]
    steps += [intent, approved, committed, sent, acknowledged]
    assert steps == sorted(steps)
    assert approved > intent, "the step is measured, and takes its time"


def test_an_order_of_a_callback_without_an_event_has_its_begin_only(world: TradingWorld) -> None:
    world.buy()
    trigger, intent, *_ = stored(world)
    assert list(trigger) == ["callback_at"]
    assert trigger["callback_at"] < intent


def test_an_order_outside_of_the_callbacks_has_no_trigger(world: TradingWorld) -> None:
    place(world)
    assert stored(world)[0] is None


def test_a_refused_order_has_its_event_its_times_and_an_id(world: TradingWorld) -> None:
    by_risk = on_trade(world, "100000000")
    by_form = on_trade(world, "-1")
    assert isinstance(by_risk, OrderRefused)
    assert isinstance(by_form, OrderRefused)
    assert world.trading.stop()
    rows = world.query("select rule, order_id, intent_at, refused_at, trigger from refusals order by id")
    assert [row[0] for row in rows] == [by_risk.rule, by_form.rule]
    for _, order_id, intent, refused, trigger in rows:
        assert order_id is not None
        assert trigger["callback_at"] < intent <= refused
        assert trigger["event"]["kind"] == "Trade"
    assert rows[0][1] != rows[1][1]


def test_a_fill_has_the_time_at_which_it_was_booked(world: TradingWorld) -> None:
    world.buy("1", "101")
    world.wait_for("filled")
    assert world.trading.stop()
    [(booked, sent)] = world.query(
        "select f.booked_at, o.sent_at from fills f join orders o on o.id = f.order_id"
    )
    assert booked >= sent


def test_a_trigger_is_known_in_callbacks_on_their_thread_only(world: TradingWorld) -> None:
    """A timer and a posted function are about no event, also when they follow one."""
    instance, found, done = world.instance, list[_core.Trigger | None](), threading.Event()

    def look(*_: object) -> None:
        found.append(instance.trigger())
        other = threading.Thread(target=lambda: found.append(instance.trigger()))
        other.start()
        other.join()

    world.on_trade = look
    world.producer.publish("Trade", BTC, TRADE)
    world.producer.drain()
    world.call(look)
    timer = instance.every(0.001, lambda: (look(), timer.cancel(), done.set()))
    assert done.wait(PATIENCE)
    assert instance.trigger() is None
    on_event, posted, timed = found[::2]
    assert found[1::2] == [None] * 3
    assert on_event is not None
    assert on_event.event is not None
    assert posted is not None
    assert timed is not None
    assert posted.event is timed.event is None
    assert 0 <= on_event.callback_age <= on_event.event.read_age


def test_members_of_a_shared_host_have_their_own_callbacks() -> None:
    """The second one asks while it is called about the event of both; the first one is not running then."""
    core, found = _core.Core(), list[tuple[bool, bool]]()
    producer, host = core.producer("p"), core.host("shared")
    instances: list[_core.Instance] = []

    def look(_trade: object) -> None:
        first, second = (each.trigger() for each in instances)
        found.append((first is not None, second is not None))

    routes = [("p", "Trade", BTC)]
    instances += [host.add(name, callbacks={"Trade": look}, routes=routes) for name in ("first", "second")]
    for each in instances:
        each.start()
    producer.publish("Trade", BTC, TRADE)
    producer.drain()
    assert found == [(True, False), (False, True)]
    assert host.stop()
