"""The rules of the order tracker, one by one."""

from decimal import Decimal

from meltica.adapters.live.order_tracker import LATE, UNKNOWN_TO_VENUE
from meltica.adapters.live.reports import BalanceReport, OrderReport
from meltica.model.balances import Balance, Transfer
from meltica.model.enums import OrderState
from tests.support.tracked_account import TrackedAccount
from tests.support.venue_model import T0, new_order

SECOND = 10**9


def test_an_open_order_that_the_venue_no_longer_knows_is_published_once(account: TrackedAccount) -> None:
    order = account.place("a", filled=3)
    account.receive()
    order.forgotten = True
    assert account.reconnect() == [("a", OrderState.UNKNOWN, 3)]
    assert account.reconnect() == []
    assert account.queried == ["a"]
    # It is known again, unchanged.
    order.forgotten = False
    assert account.reconnect() == [("a", OrderState.PARTIAL, 3)]
    assert account.reconnect() == []
    # The venue knows its end only.
    order.forgotten = True
    assert account.reconnect() == [("a", OrderState.UNKNOWN, 3)]
    order.forgotten = False
    account.venue.now += SECOND
    account.venue.end(order, OrderState.CANCELLED)
    assert account.reconnect() == [("a", OrderState.CANCELLED, 3)]
    account.venue.now += 2 * LATE
    assert account.reconnect() == []
    assert account.reconnect() == []
    assert account.queried == []


def test_an_unknown_order_is_queried_until_the_venue_knows_it(account: TrackedAccount) -> None:
    order = account.place("a")
    account.receive()
    order.forgotten = True
    assert account.reconnect() == [("a", OrderState.UNKNOWN, 0)]
    # It ends without a fill, so neither the open orders nor the fills lead to it.
    order.forgotten = False
    account.venue.end(order, OrderState.EXPIRED)
    assert account.reconnect() == [("a", OrderState.EXPIRED, 0)]


def test_an_unknown_order_that_the_venue_knows_with_less_is_published(account: TrackedAccount) -> None:
    order = account.place("a", filled=3)
    account.receive()
    order.forgotten = True
    assert account.reconnect() == [("a", OrderState.UNKNOWN, 3)]
    # As after the venue restored an older backup.
    order.forgotten, order.filled = False, Decimal(1)
    assert account.reconnect() == [("a", OrderState.PARTIAL, 1)]
    assert account.reconnect() == []


def test_reports_of_a_reading_never_take_back_what_was_published(account: TrackedAccount) -> None:
    venue, tracker = account.venue, account.tracker
    order = account.place("a", filled=2)
    account.receive()
    reading = tracker.start_reading(venue.now)
    reading.time = venue.now
    tracker.queries(reading, venue.open_orders(), [])
    # The stream is ahead of the answer.
    venue.fill(order, Decimal(1))
    account.receive()
    assert tracker.reconciled(reading) == []
    venue.end(order, OrderState.CANCELLED)
    account.receive()
    assert tracker.reconciled(reading) == []
    assert account.reconnect() == []


def test_an_answer_from_before_the_end_does_not_reopen_the_order(account: TrackedAccount) -> None:
    venue, tracker = account.venue, account.tracker
    order = account.place("a")
    account.receive()
    reading = tracker.start_reading(venue.now)
    tracker.queries(reading, venue.open_orders(), [])
    venue.end(order, OrderState.CANCELLED)
    account.receive()
    assert tracker.reconciled(reading) == []


def test_an_ended_order_that_the_venue_no_longer_knows_is_not_unknown(account: TrackedAccount) -> None:
    order = account.place("a")
    account.venue.end(order, OrderState.CANCELLED)
    account.receive()
    # Its late fill leads to a query.
    account.venue.fill(order, Decimal(1))
    order.forgotten = True
    assert account.reconnect() == []
    assert account.queried == ["a"]


def test_an_amendment_is_published(account: TrackedAccount) -> None:
    order = account.place("a")
    account.receive()
    account.venue.now += 1
    account.venue.amend(order, Decimal(7))
    assert account.reconnect() == [("a", OrderState.ACK, 0)]
    assert account.reconnect() == []


def test_a_final_answer_to_a_request_is_published_when_the_venue_forgets_the_order(
    account: TrackedAccount,
) -> None:
    venue = account.venue
    sent = account.tracker.sent(new_order("a"))
    venue.place(new_order("a"))
    order = venue.current("a")
    assert order is not None
    venue.fill(order, order.quantity)
    account.tracker.accepted(sent, order.snapshot())
    order.forgotten = True
    assert account.reconnect() == [("a", OrderState.FILLED, order.quantity)]
    assert account.reconnect() == []


def test_the_report_of_an_unknown_order_has_the_reason_and_the_time(account: TrackedAccount) -> None:
    order = account.place("a")
    account.receive()
    order.forgotten = True
    account.venue.now += SECOND
    reading = account.tracker.start_reading(account.venue.now)
    reading.time = account.venue.now
    [query] = account.tracker.queries(reading, [], [])
    reading.answered(query, None)
    [report] = account.tracker.reconciled(reading)
    assert isinstance(report, OrderReport)
    kind, symbol, payload, time = report.event
    assert (kind, symbol, time) == ("ExecReport", "BTC-USDT", account.venue.now)
    assert (payload["state"], payload["reason"]) == ("UNKNOWN", UNKNOWN_TO_VENUE)
    # A report that arrives during the reading proves that the venue knows it.
    account.venue.fill(order, Decimal(1))
    account.receive()
    assert account.tracker.reconciled(reading) == []


def test_an_accepted_order_that_the_venue_no_longer_knows_is_published(account: TrackedAccount) -> None:
    sent, answer = account.send("a")
    account.tracker.accepted(sent, answer)
    order = account.venue.current("a")
    assert order is not None
    order.forgotten = True
    assert account.reconnect() == [("a", OrderState.UNKNOWN, 0)]
    assert account.reconnect() == []


def test_an_order_accepted_during_a_reading_is_not_unknown(account: TrackedAccount) -> None:
    sent = account.tracker.sent(new_order("a"))
    reading = account.tracker.start_reading(account.venue.now)
    reading.time = account.venue.now
    [query] = account.tracker.queries(reading, [], [])
    reading.answered(query, account.venue.find("a"))
    answer = account.venue.place(new_order("a"))
    assert answer is not None
    account.tracker.accepted(sent, answer)
    assert account.tracker.reconciled(reading) == []
    account.tracker.complete(reading)
    # Its report is lost: the next reading finds it.
    order = account.venue.current("a")
    assert order is not None
    account.venue.end(order, OrderState.EXPIRED)
    assert account.reconnect() == [("a", OrderState.EXPIRED, 0)]


def test_a_request_with_an_unknown_outcome_is_queried_until_it_can_no_longer_arrive(
    account: TrackedAccount,
) -> None:
    venue, tracker = account.venue, account.tracker
    sent = tracker.sent(new_order("a"))
    assert tracker.may_arrive("a", venue.now)
    tracker.outcome_unknown(sent, venue.now + SECOND)
    assert account.reconnect() == []
    assert account.queried == ["a"]
    assert tracker.may_arrive("a", venue.now)
    venue.now += SECOND
    assert not tracker.may_arrive("a", venue.now)
    assert account.reconnect() == []
    assert account.queried == ["a"]
    account.reconnect()
    assert account.queried == []


def test_ended_and_unknown_orders_are_kept_up_to_a_number() -> None:
    account = TrackedAccount(closed_orders=3)
    account.reconnect()
    stays = account.place("stays")
    account.receive()
    for number in range(20):
        order = account.place(f"o{number}")
        account.receive()
        if number % 2:
            account.venue.end(order, OrderState.CANCELLED)
            account.receive()
        else:
            order.forgotten = True
            account.reconnect()
    assert account.tracker.kept_orders == 4
    # The open one is not among those that were forgotten.
    account.venue.end(stays, OrderState.CANCELLED)
    assert ("stays", OrderState.CANCELLED, 0) in account.reconnect()


def test_a_report_that_could_not_be_published_is_news_again(account: TrackedAccount) -> None:
    account.place("a")
    reading = account.tracker.start_reading(account.venue.now)
    reading.time = account.venue.now
    account.tracker.queries(reading, account.venue.open_orders(), [])
    assert account.tracker.reconciled(reading) == account.tracker.reconciled(reading) != []


def test_a_balance_is_published_unless_a_newer_one_was(account: TrackedAccount) -> None:
    old, new = Balance(Decimal(1), Decimal(1), T0 + 1), Balance(Decimal(2), Decimal(2), T0 + 2)
    [report] = account.tracker.balance_reported("USDT", new)
    account.tracker.published(report)
    assert account.tracker.balance_reported("USDT", old) == []
    assert account.tracker.balance_reported("BTC", old) != []
    assert account.tracker.balance_reported("USDT", old._replace(time=T0 + 2)) != []
    reading = account.tracker.start_reading(0)
    reading.time, reading.balances = T0 + 1, {"USDT": old, "BTC": old}
    assert [each.event[1] for each in account.tracker.reconciled(reading)] == ["BTC"]


def test_a_deposit_is_published_with_an_older_balance_and_does_not_hide_the_newer(
    account: TrackedAccount,
) -> None:
    old, new = Balance(Decimal(1), Decimal(1), T0 + 1), Balance(Decimal(2), Decimal(2), T0 + 2)
    tracker = account.tracker
    [report] = tracker.balance_reported("USDT", new)
    tracker.published(report)
    [late] = tracker.balance_reported("USDT", old, Transfer("t1", Decimal(1)))
    assert late.event[2] == {
        "currency": "USDT",
        "total": 1,
        "available": 1,
        "change": 1,
        "reason": "deposit",
        "transferId": "t1",
    }
    tracker.published(late)
    assert tracker.balance_reported("USDT", old) == []
    assert tracker.balance_reported("USDT", new) != []


def test_a_currency_that_is_no_longer_listed_is_published_as_empty(account: TrackedAccount) -> None:
    tracker = account.tracker
    for currency, time in (("USDT", T0 + 1), ("BTC", T0 + 3)):
        [report] = tracker.balance_reported(currency, Balance(Decimal(1), Decimal(1), time))
        tracker.published(report)
    reading = tracker.start_reading(0)
    reading.time = T0 + 2
    # The balance in BTC is newer than the reading.
    [report] = tracker.reconciled(reading)
    assert report == BalanceReport("USDT", Balance(Decimal(0), Decimal(0), T0 + 2))
    tracker.published(report)
    assert tracker.reconciled(reading) == []
