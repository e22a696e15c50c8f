"""Answers of venues that do not keep to the rules of orders."""

from dataclasses import replace
from decimal import Decimal

import pytest

from meltica.model.enums import OrderState, TimeInForce
from meltica.trading.effects import SendCancel
from meltica.trading.transitions import OUTCOME_UNKNOWN
from tests.unit.trading.orders import SECOND, TIMINGS, callbacks, faults, fill, of, open_, report, sent
from tests.unit.trading.test_desk_terms import Reserved


def test_an_empty_venue_order_id_is_none() -> None:
    """The next report has the id: it is of the same order."""
    one = sent()
    one.answered(report("ACK", venue_order_id=""), 1)
    assert (one.record.state, one.record.venue_order_id) == ("ACK", None)
    assert faults(one.reported(report("PARTIAL", 4, time=2), 2)) == []
    assert faults(one.filled(fill("a", 4, time=2), 2)) == []
    assert one.record.venue_order_id == "v1"
    assert faults(one.reported(report("PARTIAL", 4, time=3, venue_order_id=""), 3)) == []
    assert callbacks(one.filled(fill("b", 6, time=3), 4)) == ["filled"]


def test_a_rejection_with_an_empty_venue_order_id_is_of_a_second_order() -> None:
    one = open_()
    one.reported(report("REJECTED", venue_order_id=""), 2)
    assert one.record.state is OrderState.ACK


@pytest.mark.parametrize("time_in_force", [TimeInForce.IOC, TimeInForce.FOK])
@pytest.mark.parametrize("state", ["ACK", "PARTIAL"])
def test_an_order_that_must_not_rest_is_cancelled_when_its_venue_keeps_it_open(
    time_in_force: TimeInForce, state: str
) -> None:
    one = sent(time_in_force=time_in_force)
    one.answered(report("ACK"), 0)
    if state == "PARTIAL":
        one.filled(fill("a", 1), 1)
    assert (one.record.state, one.needs_tick) == (state, True)
    assert one.tick(TIMINGS.ends_within - 1) == []
    effects = one.tick(TIMINGS.ends_within)
    assert (of(SendCancel, effects), faults(effects)) == ([SendCancel()], ["left_open"])
    assert one.record.cancel_wanted
    one.cancel_failed()
    assert faults(one.tick(TIMINGS.ends_within + 2 * SECOND)) == []


def test_an_order_that_may_rest_is_not_cancelled() -> None:
    one = open_()
    assert not one.needs_tick
    assert one.tick(100 * TIMINGS.ends_within) == []


def test_an_unknown_order_that_must_not_rest_is_queried_before_it_counts_as_open() -> None:
    one = sent(time_in_force=TimeInForce.IOC)
    one.outcome_unknown(0)
    assert one.record.reason == OUTCOME_UNKNOWN
    assert "left_open" not in faults(one.tick(100 * TIMINGS.ends_within))


@pytest.mark.parametrize(
    "impossible", [{"quantity": Decimal(0)}, {"quantity": Decimal(-1)}, {"price": Decimal(0)}]
)
def test_impossible_terms_do_not_prove_that_an_amendment_was_lost(impossible: dict[str, Decimal]) -> None:
    desk = Reserved()
    desk.amend(30)
    desk.desk.apply(desk.machine, lambda m, now: m.amend_outcome_unknown(now))
    desk.tick(TIMINGS.arrives_within / SECOND + 1)
    said = report("ACK", time=2, **impossible)
    desk.desk.apply(desk.machine, lambda m, now: m.reported(said, now, asked_at=now))
    assert desk.record.amendment == replace(desk.record.amendment, quantity=Decimal(30))  # type: ignore[type-var]
    assert (desk.record.quantity, desk.record.limit_price, desk.reservation.quantity) == (10, 100, 30)
