"""What risk reserves follows the terms that the venue has, whatever they came from."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from meltica.model.enums import Mode, OrderState
from meltica.trading.order import OrderRecord
from meltica.trading.risk.reservations import Reservation
from meltica.trading.state_machine import OrderMachine
from tests.support.risk import instrument
from tests.unit.trading.orders import SECOND, TIMINGS, order, report
from tests.unit.trading.test_desk_ticks import Ticking

LARGER = report("ACK", quantity=Decimal(30), price=Decimal(110), time=2)


class Reserved(Ticking):
    """A desk with one open order to buy 10 at 100."""

    def __init__(self) -> None:
        super().__init__()
        record = replace(order(), state=OrderState.ACK, committed_at=0, sent_at=0, acknowledged_at=0)
        self.risk = self.desk.risks[Mode.LIVE]
        self.risk.registry.set_instrument(record.provider, instrument(record.symbol), Decimal(0))
        self.machine = OrderMachine(record, TIMINGS)
        self.desk.restore(self.machine)
        self.tick(1)

    @property
    def record(self) -> OrderRecord:
        """The order."""
        return self.machine.record

    @property
    def reservation(self) -> Reservation:
        """What is reserved for the order."""
        found = self.risk.reservations.get(self.record.id)
        assert found is not None
        return found

    def amend(self, quantity: int) -> None:
        """Sends an amendment, which was approved."""
        with self.desk.lock:
            self.risk.reservations.amend(self.reservation, Decimal(quantity), self.record.limit_price)
            self.desk.amended(self.machine, self.machine.amend(quantity=Decimal(quantity)))
        self.desk.apply(self.machine, lambda m, now: m.sending_amendment(now, age=0))


def _changed_by_another_client(desk: Reserved) -> None:
    desk.desk.apply(desk.machine, lambda m, now: m.reported(LARGER, now, asked_at=now))


def _answered_with_other_numbers(desk: Reserved) -> None:
    desk.amend(20)
    desk.desk.apply(desk.machine, lambda m, now: m.amend_answered(now, LARGER))


def _carried_out_after_it_was_refused(desk: Reserved) -> None:
    desk.amend(30)
    desk.desk.apply(desk.machine, lambda m, now: m.amend_refused(now, "rate_limited"))
    desk.tick(1)
    desk.desk.apply(desk.machine, lambda m, now: m.reported(LARGER, now, asked_at=now))


def _carried_out_after_it_was_lost(desk: Reserved) -> None:
    desk.amend(30)
    desk.desk.apply(desk.machine, lambda m, now: m.amend_outcome_unknown(now))
    desk.tick(TIMINGS.arrives_within / SECOND + 1)
    desk.desk.apply(desk.machine, lambda m, now: m.reported(report("ACK"), now, asked_at=now))
    assert desk.reservation.quantity == 10
    desk.tick(1)
    desk.desk.apply(desk.machine, lambda m, now: m.reported(LARGER, now, asked_at=now))


@pytest.mark.parametrize(
    "change",
    [
        _changed_by_another_client,
        _answered_with_other_numbers,
        _carried_out_after_it_was_refused,
        _carried_out_after_it_was_lost,
    ],
)
def test_what_is_reserved_follows_the_terms_of_the_venue(change: Callable[[Reserved], None]) -> None:
    desk = Reserved()
    change(desk)
    assert (desk.record.quantity, desk.record.limit_price) == (30, 110)
    assert (desk.reservation.quantity, desk.reservation.cost) == (30, 3300)
    assert desk.risk.registry.held("fake", "USDT") == 3300


def test_an_answer_with_the_old_terms_leaves_the_larger_reserved() -> None:
    """The venue has only received the amendment, which it carries out later."""
    desk = Reserved()
    desk.amend(30)
    desk.desk.apply(desk.machine, lambda m, now: m.amend_answered(now, report("ACK", time=2)))
    assert (desk.record.open_quantity, desk.reservation.quantity) == (30, 30)
    desk.tick(1)
    carried_out = report("ACK", quantity=Decimal(30), time=3)
    desk.desk.apply(desk.machine, lambda m, now: m.reported(carried_out, now, asked_at=now))
    assert (desk.record.amendment, desk.record.quantity, desk.reservation.quantity) == (None, 30, 30)


@pytest.mark.parametrize(
    "impossible", [{"quantity": Decimal(0)}, {"quantity": Decimal(-1)}, {"price": Decimal(0)}]
)
def test_impossible_terms_are_not_those_of_the_order(impossible: dict[str, Decimal]) -> None:
    desk = Reserved()
    said = report("ACK", time=2, **impossible)
    desk.desk.apply(desk.machine, lambda m, now: m.reported(said, now, asked_at=now))
    assert (desk.record.quantity, desk.record.limit_price) == (10, 100)
    desk.amend(30)
    desk.desk.apply(desk.machine, lambda m, now: m.amend_answered(now, said))
    assert (desk.record.open_quantity, desk.record.limit_price, desk.reservation.quantity) == (30, 100, 30)
