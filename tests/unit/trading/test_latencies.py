"""The histograms of the steps of orders: each is counted once, and none of what an earlier run did."""

from typing import Any

from meltica.model.enums import Mode
from meltica.persistence.stores.trading.rows import Trigger, TriggerEvent
from meltica.trading.effects import BookFill
from meltica.trading.latencies import Latencies
from meltica.trading.state_machine import OrderMachine
from tests.unit.trading.orders import OWNER, fill, machine

EVENT = TriggerEvent(
    sequence=1,
    kind="Trade",
    provider="fake",
    symbol="BTC-USDT",
    received_time=1,
    received_at=40,
    dispatched_at=50,
    read_at=60,
)


def counted(latencies: Latencies) -> dict[str, tuple[int, int]]:
    """Returns the sum in ns and the number of values of each step."""
    return {labels[2]: histogram.counts()[1:] for labels, histogram in latencies.steps()}


def reach(one: OrderMachine, latencies: Latencies, **stamps: int) -> None:
    for name, at in stamps.items():
        setattr(one.record, name, at)
        latencies.follow(one)


def test_each_step_is_counted_once() -> None:
    latencies, one = Latencies(), machine(intent_at=100, trigger=Trigger(callback_at=90, event=EVENT))
    reach(one, latencies, approved_at=103, committed_at=110, sent_at=120)
    latencies.follow(one)
    assert counted(latencies) == {"approved": (3, 1), "committed": (7, 1), "sent": (10, 1)}
    assert list(latencies.orders()) == []
    reach(one, latencies, acknowledged_at=150)
    latencies.follow(one)
    assert counted(latencies)["acknowledged"] == (30, 1)
    [(labels, histogram)] = latencies.orders()
    _, total, number = histogram.counts()
    assert (labels, total, number) == (("maker", "live"), 110, 1)
    assert {labels[:2] for labels, _ in latencies.steps()} == {("fake", "live")}


def test_an_order_without_an_event_is_measured_from_its_request() -> None:
    latencies, one = Latencies(), machine(intent_at=100)
    reach(one, latencies, approved_at=103, committed_at=110, sent_at=120, acknowledged_at=150)
    [(_, histogram)] = latencies.orders()
    _, total, _ = histogram.counts()
    assert total == 50


def test_the_steps_of_an_earlier_run_are_not_counted() -> None:
    latencies, one = Latencies(), machine(intent_at=100, approved_at=103, committed_at=110)
    reach(one, latencies, sent_at=120, acknowledged_at=10**12)
    assert counted(latencies) == {}


def test_the_first_fill_is_counted_from_the_acknowledgement() -> None:
    latencies = Latencies()
    amounts: list[Any] = [("a", 4, 4), ("b", 6, 10)]
    for id, quantity, filled in amounts:
        one = machine(acknowledged_at=100, filled_quantity=filled)
        latencies.filled(one.record, BookFill(fill(id, quantity), False), 130)
        latencies.filled(one.record, BookFill(fill(id, quantity), True), 130)
    assert counted(latencies) == {"filled": (30, 1)}


def test_the_histogram_of_an_instance_ends_with_its_run() -> None:
    latencies, one = Latencies(), machine(intent_at=100)
    reach(one, latencies, approved_at=103, committed_at=110, sent_at=120, acknowledged_at=150)
    latencies.forget(OWNER._replace(mode=Mode.PAPER))
    assert len(list(latencies.orders())) == 1
    latencies.forget(OWNER)
    assert list(latencies.orders()) == []
