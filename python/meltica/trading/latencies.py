"""`Latencies`: histograms of the steps of orders. The caller holds the lock of trading."""

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from meltica._core import Histogram
from meltica.model.enums import Mode
from meltica.trading.effects import BookFill
from meltica.trading.order import STAMPS, OrderRecord, Owner

if TYPE_CHECKING:
    from meltica.trading.state_machine import OrderMachine


class Latencies:
    """How long the steps of orders took, by provider and mode, and whole orders by instance and mode."""

    def __init__(self) -> None:
        self._steps: defaultdict[tuple[str, Mode, str], Histogram] = defaultdict(Histogram)
        self._orders: defaultdict[tuple[str, Mode], Histogram] = defaultdict(Histogram)

    def follow(self, machine: "OrderMachine") -> None:
        """Counts the steps of an order that were reached since the last call, until its acknowledgement."""
        record = machine.record
        while machine.measured < len(STAMPS):
            at, before = _stamp(record, machine.measured), _stamp(record, machine.measured - 1)
            if at is None or before is None:
                break
            self._count(record, STAMPS[machine.measured].removesuffix("_at"), at - before)
            machine.measured += 1
            if machine.measured == len(STAMPS):
                event = None if record.trigger is None else record.trigger.event
                begin = record.intent_at if event is None else event.received_at
                self._orders[record.owner.instance, record.owner.mode].record(at - begin)

    def filled(self, record: OrderRecord, effect: BookFill, now: int) -> None:
        """Counts the first fill of an order."""
        is_first = record.filled_quantity == effect.fill.quantity
        if is_first and not effect.recovered and record.acknowledged_at is not None:
            self._count(record, "filled", now - record.acknowledged_at)

    def forget(self, owner: Owner) -> None:
        """Drops the histogram of an instance whose run ends."""
        self._orders.pop((owner.instance, owner.mode), None)

    def steps(self) -> Iterator[tuple[tuple[str, ...], Histogram]]:
        """Yields the histogram of each provider, mode and step."""
        for (provider, mode, step), histogram in self._steps.items():
            yield (provider, mode.value, step), histogram

    def orders(self) -> Iterator[tuple[tuple[str, ...], Histogram]]:
        """Yields the histogram of each instance and mode."""
        for (instance, mode), histogram in self._orders.items():
            yield (instance, mode.value), histogram

    def _count(self, record: OrderRecord, step: str, ns: int) -> None:
        self._steps[record.provider, record.owner.mode, step].record(ns)


def _stamp(record: OrderRecord, number: int) -> int | None:
    """Returns a time of an order; that of its request is the one before the first."""
    at: int | None = record.intent_at if number < 0 else getattr(record, STAMPS[number])
    return at
