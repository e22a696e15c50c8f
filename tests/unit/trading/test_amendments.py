from decimal import Decimal

import pytest

from meltica.trading.effects import QueryOrder, SubmitAmendment
from meltica.trading.order import Amendment
from meltica.trading.state_machine import MAX_AGE, OrderMachine
from tests.unit.trading.orders import SECOND, TIMINGS, callbacks, fill, machine, of, open_, report, sent


def amended(quantity: object = None, price: object = None, now: int = 1) -> OrderMachine:
    """Returns the machine of an open order with an unanswered amendment."""
    one = open_()
    one.amend(
        quantity=None if quantity is None else Decimal(str(quantity)),
        price=None if price is None else Decimal(str(price)),
    )
    assert of(SubmitAmendment, one.sending_amendment(now, age=0))
    return one


def terms(one: OrderMachine) -> tuple[Decimal, Decimal, Amendment | None]:
    return one.record.quantity, one.record.limit_price, one.record.amendment


def test_an_amendment_leaves_once() -> None:
    one = open_()
    assert one.sending_amendment(1, age=0) == []
    one.amend(quantity=Decimal(20), price=Decimal(90))
    [submit] = of(SubmitAmendment, one.sending_amendment(2, age=0))
    assert submit.amendment == Amendment(quantity=Decimal(20), price=Decimal(90), sent_at=2)
    assert one.sending_amendment(3, age=0) == []
    one.amend_outcome_unknown(4)
    assert one.sending_amendment(5, age=0) == []


@pytest.mark.parametrize(
    ("age", "blocked", "reason"), [(MAX_AGE + 1, None, "too_late"), (0, "halted", "halted")]
)
def test_the_last_check_rejects_an_amendment(age: int, blocked: str | None, reason: str) -> None:
    one = open_()
    one.amend(quantity=Decimal(20))
    effects = one.sending_amendment(1, age=age, blocked=blocked)
    assert (callbacks(effects), of(SubmitAmendment, effects)) == (["amend_rejected"], [])
    assert terms(one) == (10, 100, None)


def test_what_cannot_be_amended_is_refused() -> None:
    assert machine().amend_refusal() == "order_not_open"
    assert sent().amend_refusal() == "order_not_open"
    assert amended(5).amend_refusal() == "amendment_in_flight"
    wanted = open_()
    wanted.cancel(0)
    assert wanted.amend_refusal() == "cancel_wanted"
    partial = open_()
    partial.filled(fill("a", 4), 1)
    assert partial.amend_refusal(Decimal(4)) == "below_filled"
    assert partial.amend_refusal(Decimal("4.1")) is None
    with pytest.raises(ValueError, match="below_filled"):
        partial.amend(quantity=Decimal(4))
    ended = open_()
    ended.reported(report("CANCELLED", 3), 1)
    assert ended.amend_refusal() == "order_not_open"


def test_a_fill_before_the_amendment_leaves_wins() -> None:
    one = open_()
    one.amend(quantity=Decimal(5))
    one.filled(fill("a", 6), 1)
    assert callbacks(one.sending_amendment(2, age=0)) == ["amend_rejected"]
    assert terms(one) == (10, 100, None)


def test_an_answer_applies_the_amendment() -> None:
    one = amended(quantity=20, price=90)
    assert callbacks(one.amend_answered(2)) == ["amended"]
    assert terms(one) == (20, 90, None)


def test_the_venue_s_own_numbers_come_first() -> None:
    one = amended(quantity=20, price=90)
    one.amend_answered(2, report("ACK", quantity=Decimal(19), price=Decimal(91), time=2))
    assert terms(one) == (19, 91, None)


def test_a_refused_amendment_changes_nothing() -> None:
    one = amended(quantity=20)
    effects = one.amend_refused(2, "insufficient_funds")
    assert (callbacks(effects), of(QueryOrder, effects)) == (["amend_rejected"], [QueryOrder()])
    assert terms(one) == (10, 100, None)


def test_an_amendment_down_loses_to_a_fill_that_passes_the_new_total() -> None:
    one = amended(quantity=5)
    assert callbacks(one.filled(fill("a", 6), 2)) == ["partial_fill"]
    one.amend_refused(3, "below_filled")
    assert (one.record.state, one.record.remaining_quantity) == ("PARTIAL", 4)


def test_an_order_with_an_amendment_up_is_not_complete_at_the_old_size() -> None:
    one = amended(quantity=20)
    assert callbacks(one.filled(fill("a", 10), 2)) == ["partial_fill"]
    assert one.record.open_quantity == 10
    assert of(QueryOrder, one.tick(5 * SECOND)) == [QueryOrder()]
    effects = one.amend_refused(6 * SECOND, "order_filled")
    assert callbacks(effects) == ["amend_rejected", "filled"]


def test_an_answer_is_lost_and_the_order_is_filled_at_the_old_size() -> None:
    one = amended(quantity=20)
    one.amend_outcome_unknown(2)
    assert one.record.open_quantity == 20
    one.filled(fill("a", 10), 3)
    assert callbacks(one.reported(report("FILLED", 10), 4)) == ["amend_rejected", "filled"]
    assert one.record.quantity == 10


def test_an_answer_is_lost_and_the_order_is_filled_at_the_new_size() -> None:
    one = amended(quantity=20)
    one.amend_outcome_unknown(2)
    one.filled(fill("a", 10), 3)
    assert callbacks(one.filled(fill("b", 10), 4)) == ["amended", "filled"]
    assert terms(one) == (20, 100, None)


def test_a_report_before_the_answer_applies_the_amendment() -> None:
    one = amended(price=90)
    assert callbacks(one.reported(report("ACK", price=Decimal(90), time=2), 2)) == ["amended"]
    assert callbacks(one.amend_answered(3, report("ACK", price=Decimal(90), time=2))) == []
    assert terms(one) == (10, 90, None)


def test_an_unknown_amendment_is_lost_only_when_it_can_no_longer_arrive() -> None:
    one = amended(quantity=20, now=SECOND)
    one.amend_outcome_unknown(2 * SECOND)
    assert callbacks(one.reported(report("ACK"), 3 * SECOND)) == []
    assert callbacks(one.reported(report("ACK"), 12 * SECOND, asked_at=11 * SECOND - 1)) == []
    assert one.record.open_quantity == 20
    effects = one.reported(report("ACK"), 12 * SECOND, asked_at=11 * SECOND)
    assert (callbacks(effects), one.record.open_quantity) == (["amend_rejected"], 10)


def test_a_stale_report_does_not_change_the_terms_back() -> None:
    one = amended(quantity=20)
    one.amend_answered(5, report("ACK", quantity=Decimal(20), time=5))
    one.reported(report("PARTIAL", time=4), 6)
    one.reported(report("PARTIAL", time=4), 6, asked_at=4)
    assert terms(one) == (20, 100, None)


def test_a_late_report_of_the_first_terms_does_not_confirm_an_amendment_back_to_them() -> None:
    one = amended(quantity=20)
    one.amend_answered(5, report("ACK", quantity=Decimal(20), time=5))
    one.amend(quantity=Decimal(10))
    one.sending_amendment(6, age=0)
    assert callbacks(one.reported(report("ACK", time=4), 7)) == []
    assert one.record.open_quantity == 20
    assert callbacks(one.reported(report("ACK", time=6), 8)) == ["amended"]


def test_terms_that_another_client_changed_are_adopted_from_a_query() -> None:
    one = open_()
    one.tick(2 * SECOND)
    effects = one.reported(report("ACK", quantity=Decimal(8), time=2), 3 * SECOND)
    assert (of(QueryOrder, effects), one.record.quantity) == ([QueryOrder()], 10)
    one.reported(report("ACK", quantity=Decimal(8), time=2), 4 * SECOND, asked_at=3 * SECOND)
    assert one.record.quantity == 8


def test_an_amendment_may_replace_the_order_at_the_venue() -> None:
    one = amended(quantity=20)
    one.amend_answered(5, report("ACK", quantity=Decimal(20), time=5, venue_order_id="v2"))
    assert one.record.venue_order_id == "v2"
    later = report("CANCELLED", quantity=Decimal(20), time=6, venue_order_id="v2")
    assert callbacks(one.reported(later, 6)) == ["cancelled"]


def test_an_amendment_in_a_row_was_perhaps_sent() -> None:
    one = open_()
    one.amend(quantity=Decimal(20))
    again = OrderMachine(one.record, TIMINGS)
    again.restored(0)
    assert again.sending_amendment(1, age=0) == []
    assert again.record.open_quantity == 20
    assert callbacks(again.reported(report("ACK"), 9 * SECOND, asked_at=8 * SECOND)) == []
    found = report("ACK", quantity=Decimal(20), time=2)
    assert callbacks(again.reported(found, 9 * SECOND, asked_at=9 * SECOND)) == ["amended"]


def test_the_end_rejects_an_unanswered_amendment() -> None:
    one = amended(quantity=20)
    assert callbacks(one.reported(report("CANCELLED"), 2)) == ["amend_rejected", "cancelled"]
    assert callbacks(one.amend_answered(3)) == []
    assert terms(one) == (10, 100, None)
