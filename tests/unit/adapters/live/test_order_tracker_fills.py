"""Fills that the stream did not report: the order tracker finds each of them."""

from decimal import Decimal

import pytest

from meltica.adapters.live.order_tracker import LATE
from meltica.model.enums import OrderState
from tests.support.tracked_account import TrackedAccount
from tests.support.venue_model import new_order

SECOND = 10**9


@pytest.mark.parametrize(("behind", "found"), [(LATE - 1, True), (LATE + 1, False)])
def test_a_fill_whose_report_is_late_is_found_within_the_window(
    account: TrackedAccount, behind: int, found: bool
) -> None:
    venue = account.venue
    # Somebody else's order, filled at once: nothing but its fill leads to it.
    other = account.place("other", filled=8)
    venue.stream.clear()
    # A change that happened later is reported before the stream is lost.
    venue.now += behind
    account.place("later")
    account.receive()
    venue.now += SECOND
    published = account.reconnect()
    assert (("other", OrderState.FILLED, other.quantity) in published) is found


def test_fills_are_read_again_as_far_back_as_a_report_can_be_late() -> None:
    account = TrackedAccount()
    venue = account.venue
    assert account.tracker.start_reading(venue.now).fills_from is None
    account.reconnect()
    first = venue.now
    venue.now += LATE - SECOND
    account.place("a")
    account.receive()
    # What happened before the first reading is not news.
    assert account.tracker.start_reading(venue.now).fills_from == first
    account.reconnect()
    venue.now += LATE
    account.reconnect()
    assert account.tracker.start_reading(venue.now).fills_from == venue.now - LATE


@pytest.mark.parametrize("disconnected", [True, False])
def test_reports_before_a_complete_reading_do_not_hide_missed_fills(
    account: TrackedAccount, disconnected: bool
) -> None:
    venue, tracker = account.venue, account.tracker
    account.reconnect()
    if disconnected:
        tracker.disconnected()
    else:
        # The venue does not answer: this reading is never complete.
        tracker.start_reading(venue.now)
    venue.now += SECOND
    other = account.place("other", filled=8)
    venue.stream.clear()
    venue.now += 2 * LATE
    # The stream is back before the next reading.
    account.place("a")
    account.receive()
    assert ("other", OrderState.FILLED, other.quantity) in account.reconnect()


def test_a_fill_that_is_listed_after_a_reading_is_found(account: TrackedAccount) -> None:
    venue = account.venue
    order = account.place("other")
    venue.now += SECOND
    account.receive()
    venue.end(order, OrderState.CANCELLED)
    account.reconnect()
    account.reconnect()
    # Listed after the reading, with an earlier time.
    venue.now -= SECOND
    venue.fill(order, order.quantity)
    venue.now += 2 * SECOND
    assert account.reconnect() == [("other", OrderState.CANCELLED, order.quantity)]


def test_a_late_fill_is_found_behind_fills_from_before_the_window(account: TrackedAccount) -> None:
    venue = account.venue
    order = account.place("a", filled=3)
    venue.now += 2 * LATE
    venue.end(order, OrderState.CANCELLED)
    account.receive()
    # Booked after the end, with the time of the trade.
    venue.now -= SECOND
    venue.fill(order, Decimal(1))
    venue.now += SECOND
    assert account.reconnect() == [("a", OrderState.CANCELLED, 4)]


def test_a_fill_of_an_order_that_the_venue_does_not_know_yet_is_not_lost(account: TrackedAccount) -> None:
    venue, tracker = account.venue, account.tracker
    sent = tracker.sent(new_order("a"))
    tracker.outcome_unknown(sent, venue.now)
    order = account.place("a", filled=8)
    order.forgotten = True
    assert account.reconnect() == []
    venue.now += 2 * LATE
    assert account.reconnect() == []
    assert account.queried == ["a"]
    order.forgotten = False
    assert account.reconnect() == [("a", OrderState.FILLED, order.quantity)]
    venue.now += 2 * LATE
    assert account.reconnect() == []
    assert account.queried == []


def test_a_fill_of_a_later_order_that_the_venue_does_not_know_yet_is_not_lost(
    account: TrackedAccount,
) -> None:
    venue = account.venue
    account.place("a", filled=8)
    account.receive()
    second = account.place("a", filled=3)
    second.state, second.forgotten = OrderState.CANCELLED, True
    assert account.reconnect() == []
    venue.now += 2 * LATE
    account.reconnect()
    second.forgotten = False
    assert account.reconnect() == [("a", OrderState.CANCELLED, 3)]
    venue.now += 2 * LATE
    account.reconnect()
    assert account.queried == []


def test_an_answer_that_lags_behind_the_fills_is_read_again(account: TrackedAccount) -> None:
    venue = account.venue
    order = account.place("a", filled=2)
    venue.end(order, OrderState.CANCELLED)
    account.receive()
    venue.fill(order, Decimal(3))
    order.filled = Decimal(2)
    assert account.reconnect() == []
    venue.now += 2 * LATE
    assert account.reconnect() == []
    order.filled = Decimal(5)
    assert account.reconnect() == [("a", OrderState.CANCELLED, 5)]
    venue.now += 2 * LATE
    assert account.reconnect() == []
    assert account.queried == []


def test_a_fill_after_the_end_is_found(account: TrackedAccount) -> None:
    venue = account.venue
    order = account.place("a", filled=3)
    venue.now += 2 * LATE
    venue.end(order, OrderState.CANCELLED)
    account.receive()
    # What was filled before lies outside of the window that is read.
    venue.fill(order, Decimal(1))
    assert account.reconnect() == [("a", OrderState.CANCELLED, 4)]
    venue.now += SECOND
    venue.fill(order, Decimal(2))
    assert account.reconnect() == [("a", OrderState.CANCELLED, 6)]


def test_a_fill_that_the_end_did_not_include_is_found_by_the_sum(account: TrackedAccount) -> None:
    venue = account.venue
    order = account.place("a")
    venue.now += SECOND
    venue.end(order, OrderState.CANCELLED)
    account.receive()
    # Booked later, with the time of the trade.
    venue.now -= SECOND
    venue.fill(order, Decimal(3))
    venue.now += SECOND
    assert account.reconnect() == [("a", OrderState.CANCELLED, 3)]


def test_a_fill_of_an_order_before_the_one_before_calls_for_queries_within_the_window_only(
    account: TrackedAccount,
) -> None:
    venue = account.venue
    account.place("a", filled=8)
    account.receive()
    for _ in range(2):
        venue.now += SECOND
        venue.end(account.place("a"), OrderState.CANCELLED)
        account.receive()
    assert account.reconnect() == []
    assert account.queried == ["a"]
    venue.now += 2 * LATE
    account.reconnect()
    assert account.reconnect() == []
    assert account.queried == []


def test_fills_of_a_venue_without_order_ids_are_explained_by_their_sum(account: TrackedAccount) -> None:
    venue = account.venue
    order = account.place("a")
    order.venue_order_id = None
    venue.stream.clear()
    venue.fill(order, order.quantity)
    account.receive()
    for _ in range(2):
        venue.now += 2 * LATE
        assert account.reconnect() == []
    assert account.queried == []


def test_fills_without_a_known_order_are_kept_up_to_a_number() -> None:
    account = TrackedAccount(closed_orders=3)
    account.reconnect()
    account.place("open")
    account.receive()
    for number in range(5):
        account.venue.now += 1
        order = account.place(f"o{number}")
        account.venue.fill(order, order.quantity)
        order.forgotten = True
    account.reconnect()
    account.venue.now += 2 * LATE
    account.reconnect()
    account.reconnect()
    # The latest of them.
    assert account.queried == ["o2", "o3", "o4"]
