"""Client order ids that are used again: the order tracker takes no order for another."""

from decimal import Decimal

import pytest

from meltica.adapters.live.order_tracker import LATE
from meltica.model.enums import OrderState
from tests.support.tracked_account import TrackedAccount
from tests.support.venue_model import Message, new_order

SECOND = 10**9


@pytest.mark.parametrize("ended", [True, False])
def test_an_order_accepted_before_the_end_of_the_first_is_reported_is_tracked(
    account: TrackedAccount, ended: bool
) -> None:
    venue, tracker = account.venue, account.tracker
    first = account.place("a")
    account.receive()
    venue.end(first, OrderState.CANCELLED)
    end = venue.stream.pop()
    sent, answer = account.send("a")
    if ended:
        account.receive(end)
    tracker.accepted(sent, answer)
    venue.orders[-1].forgotten = True
    assert account.reconnect() == [("a", OrderState.UNKNOWN, 0)]
    assert tracker.sent(new_order("a")).before is not None
    account.receive(end)
    assert account.reconnect() == []
    # The venue knows it again: still the second order.
    venue.orders[-1].forgotten = False
    assert account.reconnect() == [("a", OrderState.ACK, 0)]


def test_a_report_of_a_forgotten_order_does_not_settle_the_request_that_is_accepted_later(
    account: TrackedAccount,
) -> None:
    venue, tracker = account.venue, account.tracker
    # The tracker no longer remembers the first order.
    account.place("a", filled=8)
    late = venue.stream[-1]
    sent = tracker.sent(new_order("a"))
    venue.now += SECOND
    answer = venue.place(new_order("a"))
    assert answer is not None
    account.receive(late)
    tracker.accepted(sent, answer)
    venue.now += SECOND
    venue.end(venue.orders[-1], OrderState.EXPIRED)
    assert account.reconnect() == [("a", OrderState.EXPIRED, 0)]


def test_the_first_report_of_a_reused_id_is_current(account: TrackedAccount) -> None:
    venue = account.venue
    account.place("a", filled=8)
    late = venue.stream[-1]
    account.receive()
    # Another client uses the id again, within the same moment.
    second = account.place("a")
    account.receive()
    account.receive(late)
    venue.end(second, OrderState.CANCELLED)
    assert account.reconnect() == [("a", OrderState.CANCELLED, 0)]


def test_a_report_of_the_open_order_does_not_settle_a_second_request_under_its_id(
    account: TrackedAccount,
) -> None:
    venue, tracker = account.venue, account.tracker
    first = account.place("a")
    account.receive()
    sent = tracker.sent(new_order("a"))
    tracker.outcome_unknown(sent, venue.now + SECOND)
    venue.end(first, OrderState.CANCELLED)
    account.receive()
    assert tracker.may_arrive("a", venue.now)
    # It arrives after the first has ended, and ends unseen.
    second = account.place("a")
    venue.end(second, OrderState.EXPIRED)
    assert account.reconnect() == [("a", OrderState.EXPIRED, 0)]


def test_an_id_can_be_used_again_at_a_venue_without_order_ids(account: TrackedAccount) -> None:
    venue, tracker = account.venue, account.tracker
    first = account.place("a", filled=8)
    first.venue_order_id = None
    account.receive(Message(first.snapshot()))
    sent = tracker.sent(new_order("a"))
    venue.place(new_order("a"))
    second = venue.orders[-1]
    second.venue_order_id = None
    tracker.accepted(sent, second.snapshot())
    assert account.reconnect() == [("a", OrderState.ACK, 0)]


def test_a_late_report_of_a_forgotten_order_does_not_settle_a_request(account: TrackedAccount) -> None:
    venue, tracker = account.venue, account.tracker
    # The tracker no longer remembers the first order.
    account.place("a", filled=8)
    late = venue.stream[-1]
    venue.stream.clear()
    sent, answer = account.send("a")
    tracker.accepted(sent, answer)
    account.receive(late)
    second = venue.orders[-1]
    venue.now += LATE
    venue.end(second, OrderState.CANCELLED)
    assert ("a", OrderState.CANCELLED, 0) in account.reconnect()


@pytest.mark.parametrize("ended", [True, False])
def test_an_answer_with_the_first_order_of_its_id_leaves_no_query(
    account: TrackedAccount, ended: bool
) -> None:
    venue, tracker = account.venue, account.tracker
    first = account.place("a")
    if ended:
        venue.fill(first, first.quantity)
    account.receive()
    sent = tracker.sent(new_order("a"))
    tracker.accepted(sent, first.snapshot())
    if not ended:
        venue.fill(first, first.quantity)
        account.receive()
    assert account.reconnect() == []
    assert account.queried == []


def test_a_rejection_that_overtakes_a_report_does_not_hide_the_order(account: TrackedAccount) -> None:
    account.place("a")
    account.venue.now += 1
    account.venue.reject(new_order("a"), second=True)
    account.receive(account.venue.stream[-1])
    assert account.published == [("a", OrderState.REJECTED, 0)]
    assert account.reconnect() == [("a", OrderState.ACK, 0)]


@pytest.mark.parametrize("reported", [True, False])
def test_the_rejection_of_a_second_order_is_not_published(account: TrackedAccount, reported: bool) -> None:
    venue, tracker = account.venue, account.tracker
    sent, answer = account.send("a")
    tracker.accepted(sent, answer)
    if reported:
        account.receive()
    published = list(account.published)
    venue.stream.clear()
    venue.reject(new_order("a"), second=True)
    account.receive()
    assert account.published == published
    venue.reject(new_order("b"))
    account.receive()
    assert account.published == [*published, ("b", OrderState.REJECTED, 0)]


def test_of_two_requests_under_one_id_the_refusal_of_one_does_not_forget_the_other(
    account: TrackedAccount,
) -> None:
    venue, tracker = account.venue, account.tracker
    first, second = tracker.sent(new_order("a")), tracker.sent(new_order("a"))
    tracker.outcome_unknown(second, venue.now + SECOND)
    tracker.refused(first)
    account.place("a")
    account.venue.end(venue.orders[-1], OrderState.CANCELLED)
    assert account.reconnect() == [("a", OrderState.CANCELLED, 0)]


def test_a_late_report_of_an_ended_order_does_not_end_the_watch_over_its_successor(
    account: TrackedAccount,
) -> None:
    venue, tracker = account.venue, account.tracker
    account.place("a", filled=8)
    late = venue.stream[-1]
    account.receive()
    sent, answer = account.send("a")
    tracker.accepted(sent, answer)
    account.receive(late)
    second = venue.current("a")
    assert second is not None
    venue.end(second, OrderState.CANCELLED)
    assert account.reconnect() == [("a", OrderState.CANCELLED, 0)]


def test_the_answer_to_a_request_is_later_than_a_late_fill_of_the_order_before(
    account: TrackedAccount,
) -> None:
    venue, tracker = account.venue, account.tracker
    first = account.place("a")
    venue.end(first, OrderState.CANCELLED)
    account.receive()
    sent, answer = account.send("a")
    # The first order has a fill after its end, and after the second was accepted.
    venue.now += SECOND
    venue.stream.clear()
    venue.fill(first, Decimal(1))
    account.receive()
    tracker.accepted(sent, answer)
    venue.orders[-1].forgotten = True
    assert account.reconnect() == [("a", OrderState.UNKNOWN, 0)]
