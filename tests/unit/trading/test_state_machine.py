from decimal import Decimal, localcontext
from typing import Any

import pytest

from meltica.model.enums import OrderState
from meltica.trading.effects import (
    BookFill,
    Callback,
    CheckForgotten,
    QueryFills,
    QueryOrder,
    SendCancel,
    Submit,
    WriteOrder,
)
from meltica.trading.exact import divide
from meltica.trading.state_machine import MAX_AGE, OrderMachine
from meltica.trading.transitions import TRANSITIONS
from tests.unit.trading.orders import (
    SECOND,
    TIMINGS,
    callbacks,
    faults,
    fill,
    machine,
    of,
    open_,
    order,
    report,
    sent,
)

ENDS = [OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED]


def test_an_order_leaves_after_its_commit_and_once() -> None:
    one = machine()
    with pytest.raises(RuntimeError, match="not committed"):
        one.sending(0, age=0)
    one.committed(5)
    assert of(Submit, one.sending(7, age=0)) == [Submit()]
    assert (one.record.committed_at, one.record.sent_at) == (5, 7)
    assert one.sending(8, age=0) == []
    one.outcome_unknown(9)
    assert one.sending(10, age=0) == []


@pytest.mark.parametrize(
    ("age", "blocked", "reason"),
    [
        (MAX_AGE + 1, None, "too_late"),
        (0, "halted", "halted"),
        (MAX_AGE + 1, "not_reconciled", "not_reconciled"),
    ],
)
def test_the_last_check_rejects_and_never_sends_late(age: int, blocked: str | None, reason: str) -> None:
    one = machine()
    one.committed(0)
    effects = one.sending(1, age=age, blocked=blocked)
    assert (callbacks(effects), of(Submit, effects)) == (["rejected"], [])
    assert (one.record.state, one.record.reason, one.record.sent_at) == ("REJECTED", reason, None)
    assert one.sending(2, age=0) == []


def test_the_greatest_age_may_leave() -> None:
    one = machine()
    one.committed(0)
    assert of(Submit, one.sending(1, age=MAX_AGE))


def test_what_cannot_be_committed_is_rejected() -> None:
    one = machine()
    assert callbacks(one.refused(1, "persistence_unavailable")) == ["rejected"]
    one.committed(2)
    assert one.sending(3, age=0) == []


def test_a_record_is_written_when_it_changes_and_only_then() -> None:
    one = open_()
    assert one.reported(report("ACK"), 1) == []
    assert of(WriteOrder, one.reported(report("ACK", time=2), 1)) == [WriteOrder()]


def test_fills_add_up_exactly_whatever_the_precision_of_the_thread() -> None:
    one = open_()
    with localcontext() as context:
        context.prec = 2
        one.filled(fill("a", "0.123456789", "100.123456789"), 1)
        one.filled(fill("b", "0.000000001", "0.000000001", fee=Decimal("-0.00012345"), fee_currency="BNB"), 1)
        one.filled(fill("c", 1, fee=Decimal("0.001"), fee_currency="BTC"), 1)
        one.filled(fill("d", 1, fee=Decimal("0.00200001"), fee_currency="BTC"), 1)
    record = one.record
    assert record.filled_quantity == Decimal("2.123456790")
    assert record.filled_cost == Decimal("100.123456789") * Decimal("0.123456789") + Decimal("1e-18") + 200
    assert record.fees == {
        "USDT": Decimal("0.1"),
        "BNB": Decimal("-0.00012345"),
        "BTC": Decimal("0.00300001"),
    }
    assert record.state is OrderState.PARTIAL
    assert record.average_price == divide(record.filled_cost, record.filled_quantity)


def test_an_execution_id_counts_once_also_after_a_restart() -> None:
    one = open_()
    assert of(BookFill, one.filled(fill("a", 4), 1))
    assert one.filled(fill("a", 4), 2) == []
    again = OrderMachine(one.record, TIMINGS, ["a"])
    again.restored(3)
    assert again.filled(fill("a", 4), 4) == []
    assert again.record.filled_quantity == 4
    assert of(BookFill, again.filled(fill("b", 4), 5))


def test_a_report_before_the_answer_acknowledges_the_order() -> None:
    one = sent()
    assert callbacks(one.reported(report("ACK"), 1)) == ["acknowledged"]
    assert callbacks(one.answered(report("ACK"), 2)) == []
    assert one.record.acknowledged_at == 1


def test_a_fill_before_the_acknowledgement_is_a_proof_of_arrival() -> None:
    one = sent()
    assert callbacks(one.filled(fill("a", 4), 1)) == ["partial_fill"]
    assert (one.record.state, one.record.venue_order_id) == ("PARTIAL", "v1")
    assert callbacks(one.answered(report("ACK"), 2)) == []
    assert one.record.state is OrderState.PARTIAL


def test_a_late_report_does_not_move_an_order_back() -> None:
    one = open_()
    one.filled(fill("a", 10), 1)
    assert one.record.state is OrderState.FILLED
    for state in OrderState:
        one.reported(report(state, 3, time=0), 2)
        assert one.record.state is OrderState.FILLED


def test_an_end_waits_for_the_missing_fills() -> None:
    one = open_()
    effects = one.reported(report("CANCELLED", 6), 0)
    assert (of(QueryFills, effects), callbacks(effects)) == ([], [])
    assert (one.record.state, one.needs_tick) == ("ACK", True)
    assert of(QueryFills, one.tick(SECOND - 1)) == []
    assert of(QueryFills, one.tick(SECOND)) == [QueryFills()]
    assert of(QueryFills, one.tick(2 * SECOND - 1)) == []
    assert of(QueryFills, one.tick(2 * SECOND)) == [QueryFills()]
    assert callbacks(one.filled(fill("a", 4), 3)) == ["partial_fill"]
    effects = one.filled(fill("b", 2), 4)
    assert callbacks(effects) == ["partial_fill", "cancelled"]
    states = [each.order.state for each in of(Callback, effects)]
    assert states == ["PARTIAL", "CANCELLED"]
    assert not one.needs_tick


def test_a_filled_report_ends_the_order_with_its_last_fill() -> None:
    one = open_()
    one.reported(report("FILLED", 10), 1)
    one.filled(fill("a", 4), 1)
    [callback] = of(Callback, one.filled(fill("b", 6), 1))
    assert (callback.kind, callback.fill, callback.order.state) == ("on_order_filled", fill("b", 6), "FILLED")


def test_an_open_report_with_more_than_the_fills_asks_for_them() -> None:
    one = open_()
    assert of(QueryFills, one.reported(report("PARTIAL", 2), 1)) == []
    assert of(QueryFills, one.reported(report("PARTIAL", 2), 2, asked_at=1)) == [QueryFills()]
    assert (one.record.state, one.record.filled_quantity) == ("ACK", 0)
    one.filled(fill("a", 2), 3)
    assert not one.needs_tick


def test_a_lost_answer_to_a_query_is_requested_again() -> None:
    again = OrderMachine(order(committed_at=1), TIMINGS)
    assert of(QueryOrder, again.restored(0)) == [QueryOrder()]
    assert of(QueryOrder, again.tick(SECOND)) == [QueryOrder()]
    again.reported(report("ACK"), 2 * SECOND, asked_at=SECOND)
    assert (again.needs_tick, again.tick(9 * SECOND)) == (False, [])
    # An order that is not uncertain otherwise.
    refused = open_()
    refused.cancel(1)
    assert of(QueryOrder, refused.cancel_refused(2, "unknown_order")) == [QueryOrder()]
    assert of(QueryOrder, refused.tick(2 + SECOND)) == [QueryOrder()]
    refused.reported(report("ACK"), 2 * SECOND + 3, asked_at=2 * SECOND)
    assert of(QueryOrder, refused.tick(9 * SECOND)) == []


def test_the_refusal_of_a_second_copy_is_not_that_of_the_order() -> None:
    one = sent()
    effects = one.refused(1, "duplicate_client_id")
    assert (callbacks(effects), of(QueryOrder, effects)) == (["unknown"], [QueryOrder()])
    assert callbacks(one.reported(report("ACK"), 2, asked_at=1)) == ["acknowledged"]


@pytest.mark.parametrize("state", ENDS)
def test_a_fill_after_the_end_is_a_fact(state: OrderState) -> None:
    one = open_()
    one.reported(report(state), 1)
    assert one.record.state is state
    effects = one.filled(fill("a", 4), 2)
    assert (faults(effects), callbacks(effects)) == (["fill_after_end"], ["partial_fill"])
    assert of(BookFill, effects)
    assert (one.record.state, one.record.filled_quantity) == (state, 4)
    effects = one.filled(fill("b", 6), 3)
    assert (faults(effects), callbacks(effects)) == (["fill_after_end"], ["filled"])
    assert one.record.state is OrderState.FILLED


def test_a_cancel_that_crosses_a_fill() -> None:
    one = open_()
    assert of(SendCancel, one.cancel(1))
    effects = one.cancel_refused(2, "unknown_order")
    assert (callbacks(effects), of(QueryOrder, effects)) == ([], [QueryOrder()])
    assert one.record.state is OrderState.ACK
    assert callbacks(one.filled(fill("a", 10), 2 * SECOND)) == ["filled"]


def test_an_overfill_is_booked_and_reported() -> None:
    one = open_()
    one.filled(fill("a", 9), 1)
    effects = one.filled(fill("b", 2), 1)
    assert (faults(effects), callbacks(effects)) == (["overfilled"], ["filled"])
    assert one.record.filled_quantity == 11


@pytest.mark.parametrize("change", [{"side": "Sell"}, {"symbol": "ETH-USDT"}, {"quantity": Decimal(0)}])
def test_a_fill_that_is_not_of_this_order_is_not_booked(change: dict[str, Any]) -> None:
    one = open_()
    effects = one.filled(fill("a", 1)._replace(**change), 1)
    assert (faults(effects), of(BookFill, effects)) == (["fill_mismatch"], [])
    assert one.record.filled_quantity == 0


def test_a_twin_under_the_same_id_changes_nothing() -> None:
    one = open_()
    assert faults(one.reported(report("CANCELLED", venue_order_id="v2"), 1)) == ["order_mismatch"]
    rejected = report("REJECTED", venue_order_id=None, reason="duplicate_client_id")
    assert of(QueryOrder, one.reported(rejected, 1)) == [QueryOrder()]
    assert one.record.state is OrderState.ACK


def test_a_refusal_after_a_report_asks() -> None:
    one = sent()
    one.reported(report("ACK"), 1)
    effects = one.refused(2, "duplicate_client_id")
    assert (faults(effects), of(QueryOrder, effects)) == (["refused_but_reported"], [QueryOrder()])
    assert one.record.state is OrderState.ACK


# Cancels


def test_a_cancel_before_the_commit_ends_the_order() -> None:
    one = machine()
    effects = one.cancel(1)
    assert (callbacks(effects), of(SendCancel, effects)) == (["cancelled"], [])
    one.committed(2)
    assert one.sending(3, age=0) == []
    assert (one.record.state, one.record.reason) == ("CANCELLED", "cancelled_before_sending")


def test_a_cancel_waits_for_the_answer() -> None:
    one = sent()
    assert of(SendCancel, one.cancel(1)) == []
    assert of(SendCancel, one.tick(5 * SECOND)) == []
    assert of(SendCancel, one.answered(report("ACK"), 6 * SECOND)) == [SendCancel()]


def test_a_cancel_is_repeated_until_the_venue_reports_the_end() -> None:
    one = open_()
    assert of(SendCancel, one.cancel(0)) == [SendCancel()]
    # Each repetition waits twice as long as the last one, up to 8 s.
    for second in (1, 3, 7, 15, 23, 31):
        assert of(SendCancel, one.tick(second * SECOND)) == []
        one.cancel_failed()
        assert of(SendCancel, one.tick(second * SECOND - 1)) == []
        assert of(SendCancel, one.tick(second * SECOND)) == [SendCancel()]
        assert of(SendCancel, one.tick(second * SECOND)) == []
    assert one.cancel_answered(32 * SECOND) == []
    assert one.record.state is OrderState.ACK
    assert callbacks(one.cancel_answered(32 * SECOND, report("CANCELLED"))) == ["cancelled"]
    assert one.tick(99 * SECOND) == []


def test_a_cancel_wanted_of_an_unknown_order_is_sent_when_the_order_appears() -> None:
    one = sent()
    one.cancel(0)
    assert of(SendCancel, one.outcome_unknown(SECOND)) == [SendCancel()]
    one.cancel_refused(SECOND, "unknown_order")
    assert one.record.state is OrderState.UNKNOWN
    assert of(SendCancel, one.reported(report("ACK"), SECOND + 1)) == [SendCancel()]


def test_a_refused_cancel_calls_the_owner_once() -> None:
    one = open_()
    one.cancel(0)
    assert callbacks(one.cancel_refused(1, "too_many")) == ["cancel_rejected"]
    one.tick(SECOND)
    assert callbacks(one.cancel_refused(SECOND, "too_many")) == []


def test_a_wish_survives_a_restart() -> None:
    one = open_()
    one.cancel(0)
    again = OrderMachine(one.record, TIMINGS)
    assert of(SendCancel, again.restored(0)) == [SendCancel()]


def test_an_open_order_is_not_queried_by_itself_after_a_restart() -> None:
    again = OrderMachine(open_().record, TIMINGS)
    assert (again.restored(0), again.tick(SECOND)) == ([], [])
    # One that was found after an earlier restart, of which reconciling does not ask.
    found = OrderMachine(order(committed_at=1, acknowledged_at=1, state=OrderState.ACK), TIMINGS)
    assert of(QueryOrder, found.restored(0)) == [QueryOrder()]


def test_an_order_expires_by_a_cancel() -> None:
    one = open_(expires_at=5 * SECOND)
    assert (one.needs_tick, of(SendCancel, one.tick(5 * SECOND - 1))) == (True, [])
    assert of(SendCancel, one.tick(5 * SECOND)) == [SendCancel()]
    assert one.record.cancel_wanted


# Unknown orders


def test_an_unknown_outcome_becomes_what_the_venue_says() -> None:
    one = sent()
    effects = one.outcome_unknown(1)
    assert (callbacks(effects), of(QueryOrder, effects)) == (["unknown"], [QueryOrder()])
    assert callbacks(one.reported(report("ACK"), 2, asked_at=1)) == ["acknowledged"]
    assert (one.record.state, one.record.reason) == ("ACK", None)


def test_a_pending_row_was_perhaps_sent() -> None:
    one = OrderMachine(order(committed_at=1), TIMINGS)
    effects = one.restored(0)
    assert callbacks(effects) == ["unknown"]
    assert one.sending(1, age=0) == []
    assert one.not_found(9 * SECOND, 9 * SECOND, absent=True) == []
    one.not_found(10 * SECOND, 10 * SECOND, absent=True)
    assert callbacks(one.not_found(12 * SECOND, 12 * SECOND, absent=True)) == ["rejected"]


def test_an_order_never_arrived_after_two_answers_two_seconds_apart() -> None:
    one = sent()
    one.outcome_unknown(SECOND)
    assert one.not_found(10 * SECOND - 1, 11 * SECOND, absent=True) == []
    assert one.not_found(10 * SECOND, 11 * SECOND, absent=True) == []
    assert one.not_found(12 * SECOND - 1, 13 * SECOND, absent=True) == []
    assert one.record.state is OrderState.UNKNOWN
    assert callbacks(one.not_found(12 * SECOND, 13 * SECOND, absent=True)) == ["rejected"]
    assert one.record.reason == "never_arrived"


def test_the_second_query_does_not_wait_for_the_slow_pace() -> None:
    one = sent()
    one.outcome_unknown(0)
    asked = [second for second in range(1, 17) if of(QueryOrder, one.tick(second * SECOND))]
    assert asked == [1, 3, 7, 15]
    one.not_found(15 * SECOND, 15 * SECOND, absent=True)
    assert of(QueryOrder, one.tick(16 * SECOND))
    one.not_found(16 * SECOND, 16 * SECOND, absent=True)
    assert of(QueryOrder, one.tick(18 * SECOND))
    assert callbacks(one.not_found(18 * SECOND, 18 * SECOND, absent=True)) == ["rejected"]


def test_an_answer_that_is_not_confirmed_by_orders_and_fills_starts_again() -> None:
    one = sent()
    one.outcome_unknown(SECOND)
    one.not_found(10 * SECOND, 10 * SECOND, absent=True)
    one.not_found(12 * SECOND, 12 * SECOND, absent=False)
    assert one.not_found(14 * SECOND, 14 * SECOND, absent=True) == []
    assert one.record.state is OrderState.UNKNOWN


def test_an_order_that_never_arrived_and_is_filled() -> None:
    one = sent()
    one.outcome_unknown(0)
    one.not_found(10 * SECOND, 10 * SECOND, absent=True)
    one.not_found(12 * SECOND, 12 * SECOND, absent=True)
    effects = one.filled(fill("a", 4), 13 * SECOND)
    assert (faults(effects), one.record.state) == (["fill_after_end"], "REJECTED")
    assert of(QueryOrder, effects)
    effects = one.reported(report("PARTIAL", 4), 14 * SECOND, asked_at=13 * SECOND)
    assert (faults(effects), of(SendCancel, effects)) == (["open_after_end"], [SendCancel()])
    assert one.record.state is OrderState.REJECTED


def test_an_open_order_that_the_venue_no_longer_knows() -> None:
    one = open_()
    assert one.not_found(1, 1, absent=True) == []
    assert (one.record.state, one.needs_tick) == ("ACK", True)
    assert of(QueryOrder, one.tick(2 * SECOND)) == [QueryOrder()]
    assert one.not_found(2 * SECOND + 1, 2 * SECOND + 1, absent=True) == [CheckForgotten()]
    assert callbacks(one.forgotten(3 * SECOND, agrees=False)) == ["unknown"]
    assert one.not_found(4 * SECOND, 4 * SECOND, absent=True) == [CheckForgotten()]
    assert callbacks(one.forgotten(5 * SECOND, agrees=True)) == ["cancelled"]
    assert one.record.reason == "forgotten"


@pytest.mark.parametrize("news", ["report", "fill"])
def test_news_makes_the_check_of_a_forgotten_order_void(news: str) -> None:
    one = open_()
    one.not_found(1, 1, absent=True)
    one.not_found(3 * SECOND, 3 * SECOND, absent=True)
    if news == "report":
        one.reported(report("ACK", time=2), 4 * SECOND)
    else:
        one.filled(fill("a", 1), 4 * SECOND)
    assert one.forgotten(5 * SECOND, agrees=True) == []


def test_a_stale_report_does_not_clear_an_order_that_the_venue_forgot() -> None:
    one = open_()
    one.not_found(1, 1, absent=True)
    one.not_found(3 * SECOND, 3 * SECOND, absent=True)
    one.forgotten(4 * SECOND, agrees=False)
    one.reported(report("ACK"), 5 * SECOND)
    one.reported(report("ACK"), 6 * SECOND, asked_at=4 * SECOND - 1)
    assert one.record.state is OrderState.UNKNOWN
    assert callbacks(one.reported(report("ACK"), 7 * SECOND, asked_at=6 * SECOND)) == ["acknowledged"]


def test_a_fill_that_is_withheld_keeps_the_order_open_until_an_operator_ends_it() -> None:
    one = open_()
    one.reported(report("CANCELLED", 3), 1)
    assert one.not_found(9 * SECOND, 9 * SECOND, absent=True) == []
    one.resolve(OrderState.CANCELLED, "resolved", 10 * SECOND)
    assert (one.record.state, one.record.reason, one.needs_tick) == ("CANCELLED", "resolved", False)


def test_an_operator_ends_unknown_orders_only() -> None:
    with pytest.raises(ValueError, match="its state is ACK"):
        open_().resolve(OrderState.CANCELLED, "resolved", 1)
    one = sent()
    one.outcome_unknown(0)
    for state in (OrderState.ACK, OrderState.FILLED):
        with pytest.raises(ValueError, match="expected CANCELLED"):
            one.resolve(state, "resolved", 1)
    assert callbacks(one.resolve(OrderState.REJECTED, "resolved", 1)) == ["rejected"]


def test_only_fills_change_an_order_that_has_ended() -> None:
    for state, following in TRANSITIONS.items():
        if state.is_final:
            assert following <= {OrderState.FILLED}
        else:
            assert OrderState.PENDING not in following
