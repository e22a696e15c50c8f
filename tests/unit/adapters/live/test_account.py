"""A live account: reports of the stream, reconciliation, and the outcome of each request."""

import asyncio
import json
import logging
import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest

from meltica._core import ExecReport
from meltica.errors import (
    OrderRefused,
    OutcomeUnknown,
    ProtocolError,
    VenueUnavailable,
)
from meltica.model.fills import START
from tests.support.scripted import CUT, HANG, ReceivedRequest, Reply, error, reply, until
from tests.support.scripted_venue import T0, buy, fill, order, reported, trading


async def test_orders_and_balances_of_the_stream_are_published() -> None:
    async with trading() as (venue, rig):
        account = rig.account
        status = await account.submit(buy("a"))
        assert (status.state, status.venue_order_id) == ("ACK", "xa")
        for each in (
            order("a"),
            order("a", "FILLED", "2"),
            order("a", "PARTIAL", "1"),
            order("a", "FILLED", "2"),
        ):
            await venue.send_private({"type": "order", **each})
        await until(lambda: len(reported(rig)) == 4, "reports, late and repeated")
        assert [state for _, state, _ in reported(rig)] == ["ACK", "FILLED", "PARTIAL", "FILLED"]
        balance = {"type": "balance", "currency": "USDT", "total": "5", "available": "4"}
        await venue.send_private({**balance, "time": T0 + 2})
        await venue.send_private({**balance, "total": "1000", "time": T0 + 1})
        await venue.send_private({**balance, "currency": "BTC", "time": T0 + 3})
        await until(lambda: rig.since(0, "BalanceUpdate", "BTC"), "balances")
        totals = [cast(Any, event).total for event in rig.since(0, "BalanceUpdate", "USDT")]
        assert totals == [1000, 5], "an older balance is ignored"


async def test_missed_changes_are_published_once() -> None:
    async with trading() as (venue, rig):
        account = rig.account
        for id in ("stays", "ends", "fills"):
            await account.submit(buy(id))
            await venue.send_private({"type": "order", **venue.orders[id]})
        await until(lambda: len(reported(rig)) == 3, "the orders")
        # While the stream is down: one is cancelled, one filled, one placed by another client and filled.
        venue.orders["ends"] = order("ends", "CANCELLED", time=T0 + 5)
        venue.orders["fills"] = order("fills", "FILLED", "2", time=T0 + 6)
        venue.orders["other"] = order("other", "FILLED", "2", time=T0 + 7)
        venue.fills = [fill(1, "fills", T0 + 6), fill(2, "other", T0 + 7)]
        venue.balances = {"USDT": "600"}
        venue.now = T0 + 8
        mark = len(rig.events)
        await venue.private.close(1012)
        await until(lambda: rig.since(mark, "BalanceUpdate", "USDT"), "the balance")
        missed = {("ends", "CANCELLED", 0), ("fills", "FILLED", 2), ("other", "FILLED", 2)}
        assert set(reported(rig)[3:]) == missed
        assert len(reported(rig)) == 6
        # After another reconnect nothing was missed.
        mark = len(rig.events)
        venue.now = T0 + 9
        await venue.private.close(1012)
        await until(lambda: rig.since(mark, "BalanceUpdate", "USDT"), "the balance")
        assert len(reported(rig)) == 6
        account = cast(Any, account)
        await until(lambda: account.reconciled, "the end of the reconciliation")


async def test_a_report_before_the_reading_does_not_hide_a_fill_that_was_missed() -> None:
    async with trading() as (venue, rig):
        venue.orders["a"] = order("a")
        venue.orders["other"] = order("other", "FILLED", "2", time=T0 + 5)
        venue.fills = [fill(1, "other", T0 + 5)]
        cast(Any, rig.account).disconnected()
        # The stream is back after ten minutes, and reports before anything is read.
        venue.now = T0 + 600 * 10**9
        await venue.send_private({"type": "order", **venue.orders["a"], "time": venue.now})
        await until(lambda: len(reported(rig)) == 1, "the report of the stream")
        await venue.private.close(1012)
        await until(lambda: ("other", "FILLED", 2) in reported(rig), "the fill")


async def test_a_fill_of_an_order_that_the_venue_does_not_know_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trading() as (venue, rig):
        venue.now = T0 + 9
        venue.fills = [fill(1, "other", T0 + 5)]
        await venue.private.close(1012)
        await until(lambda: "fill 1 of order other (2 of BTC-USDT)" in caplog.text, "the message")
        venue.orders["other"] = order("other", "FILLED", "2", time=T0 + 5)
        await venue.private.close(1012)
        await until(lambda: reported(rig) == [("other", "FILLED", 2)], "the order")


async def test_a_message_that_cannot_be_handled_reconciles_the_account(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trading() as (venue, rig):
        opened = venue.stream.opened
        # A number that does not fit into an event, in a valid response.
        venue.balances = {"USDT": "1e300"}
        await venue.private.close(1012)
        await until(lambda: venue.stream.opened >= opened + 3, "two more connections")
        assert "Traceback" in caplog.text
        mark = len(rig.events)
        venue.balances = {"USDT": "5"}
        await until(lambda: rig.since(mark, "BalanceUpdate"), "the balance")
        await until(lambda: cast(Any, rig.account).reconciled, "the end of the reconciliation")


async def test_an_order_whose_outcome_was_unknown_is_found_after_a_reconnect() -> None:
    async with trading() as (venue, rig):

        def done_and_lost(body: dict[str, Any]) -> Reply:
            id = body["clientOrderId"]
            venue.orders[id] = order(id, "CANCELLED", reason="for a reason")
            return CUT

        venue.on_order = done_and_lost
        with pytest.raises(OutcomeUnknown):
            await rig.account.submit(buy("lost"))
        assert reported(rig) == []
        await venue.private.close(1012)
        await until(lambda: reported(rig) == [("lost", "CANCELLED", 0)], "the order")


async def test_a_stream_that_is_connected_again_on_request_reconciles_the_account() -> None:
    async with trading() as (venue, rig):
        account, mark = rig.account, len(rig.events)
        assert (account.has_stream, account.disconnects) == (True, 0)
        venue.balances = {"USDT": "600"}
        venue.now = T0 + 8
        await account.reconnect()
        await until(lambda: rig.since(mark, "BalanceUpdate", "USDT"), "the balance")
        assert account.disconnects == 1


async def test_orders_are_refused_until_the_account_is_reconciled() -> None:
    async with trading() as (venue, rig):
        account = rig.account
        assert account.reconciled
        await account.submit(buy("a"))
        late = asyncio.Event()
        venue.http.answer = lambda request: (
            replace(venue.answer(request), after=late)
            if "balances" in request.target
            else venue.answer(request)
        )
        await venue.private.close(1012)
        await until(lambda: venue.count("/v1/balances") == 3, "the reconciliation")
        assert not account.reconciled
        with pytest.raises(VenueUnavailable) as failed:
            await account.submit(buy("b"))
        assert failed.value.code == "not_reconciled"
        await account.amend("BTC-USDT", "a", price=Decimal(99))
        await account.cancel("BTC-USDT", "a")
        late.set()
        await until(lambda: account.reconciled, "the end of the reconciliation")
        await account.submit(buy("b"))
        sent = [
            json.loads(request.body)["clientOrderId"]
            for request in venue.http.requests
            if request.method == "POST"
        ]
        assert sent == ["a", "b"]


async def test_an_order_that_may_still_arrive_is_unsettled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with trading() as (venue, rig):
        account = rig.account
        monkeypatch.setattr(account, "arrives_within", 60.0)
        venue.on_order = lambda _: CUT
        with pytest.raises(OutcomeUnknown):
            await account.submit(buy("late"))
        with pytest.raises(VenueUnavailable) as failed:
            await account.order("BTC-USDT", "late")
        assert failed.value.code == "unsettled"
        assert await account.order("BTC-USDT", "never") is None
        # A reconciliation does not forget the order.
        await venue.private.close(1012)
        await until(lambda: venue.count("/v1/orders/late") == 2, "a query of the order")
        await until(lambda: account.reconciled, "the end of the reconciliation")
        venue.orders["late"] = order("late", "CANCELLED")
        await venue.private.close(1012)
        await until(lambda: reported(rig) == [("late", "CANCELLED", 0)], "the end of the order")
        found = await account.order("BTC-USDT", "late")
        assert found is not None
        # Once the order can no longer arrive, the venue's answer is final.
        monkeypatch.setattr(account, "arrives_within", 0.0)
        with pytest.raises(OutcomeUnknown):
            await account.submit(buy("lost"))
        assert await account.order("BTC-USDT", "lost") is None


async def test_reconciliation_retries_until_the_venue_answers() -> None:
    async with trading() as (venue, rig):
        await rig.account.submit(buy("a"))
        venue.orders["a"] = order("a", "CANCELLED")
        broken = [error(503, "unavailable"), reply(b"<html>", 502), reply(b'{"orders": [{}]}')]
        venue.http.answer = lambda request: (
            broken.pop(0) if request.target == "/v1/orders" and broken else venue.answer(request)
        )
        await venue.private.close(1012)
        await until(lambda: reported(rig) == [("a", "CANCELLED", 0)], "the order")
        assert not broken


async def test_a_failed_query_of_an_order_does_not_repeat_the_reading() -> None:
    async with trading() as (venue, rig):
        ids = [f"a{number}" for number in range(5)]
        for id in ids:
            await rig.account.submit(buy(id))
            venue.orders[id] = order(id, "CANCELLED")
        failed = set[str]()
        reads = venue.count("/v1/fills")

        def answer(request: ReceivedRequest) -> Reply:
            path = request.target.partition("?")[0]
            if path.startswith("/v1/orders/") and path not in failed:
                failed.add(path)
                return error(503, "unavailable")
            return venue.answer(request)

        venue.http.answer = answer
        await venue.private.close(1012)
        await until(lambda: len(reported(rig)) == len(ids), "the orders")
        assert venue.count("/v1/fills") - reads == 1
        assert len(failed) == len(ids)


async def test_an_unreadable_frame_reconciles_the_account() -> None:
    async with trading() as (venue, rig):
        await rig.account.submit(buy("a"))
        opened = venue.stream.opened
        await venue.send_private({"type": "order", "clientOrderId": "a"})
        await until(lambda: venue.stream.opened > opened, "another connection")
        await until(lambda: reported(rig) == [("a", "ACK", 0)], "the order")


@pytest.mark.parametrize(
    "answer", [reply({}, 201), reply([], 201), reply(order("a") | {"state": "BORN"}, 201)]
)
async def test_an_unreadable_answer_leaves_the_outcome_unknown(answer: Reply) -> None:
    async with trading() as (venue, rig):
        venue.on_order = lambda _: answer
        with pytest.raises(OutcomeUnknown) as failed:
            await rig.account.submit(buy("a"))
        assert failed.value.code == "unreadable_answer"
        venue.http.answer = lambda _: reply([])
        with pytest.raises(ProtocolError):
            await rig.account.balances()


async def test_cancelling_the_call_does_not_take_the_order_back(caplog: pytest.LogCaptureFixture) -> None:
    async with trading() as (venue, rig):
        sent = threading.Event()

        def slow(body: dict[str, Any]) -> Reply:
            sent.set()
            venue.orders["a"] = order("a")
            return reply(venue.orders["a"], 201)

        venue.on_order = slow
        task = asyncio.create_task(rig.account.submit(buy("a")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(sent.is_set, "the order to be sent")
        status = await rig.account.order("BTC-USDT", "a")
        assert status is not None
        assert status.state == "ACK"
    assert caplog.text == ""


async def test_a_stop_reports_the_outcome_of_an_order_in_flight() -> None:
    async with trading() as (venue, rig):
        venue.on_order = lambda _: HANG
        venue.http.arrived.clear()
        task = asyncio.create_task(rig.account.submit(buy("a")))
        await venue.http.arrived.wait()
        rig.adapter.stop()
        with pytest.raises(OutcomeUnknown) as failed:
            await task
        assert failed.value.code == "stopped"
        await asyncio.to_thread(rig.close)
        account = rig.account
        for refused in (
            account.submit(buy("b")),
            account.cancel("BTC-USDT", "a"),
            account.amend("BTC-USDT", "a", price=Decimal(1)),
            account.order("BTC-USDT", "a"),
            account.open_orders(),
            account.fills_since({"BTC-USDT": START}),
            account.balances(),
        ):
            with pytest.raises(VenueUnavailable) as failed:
                await refused
            assert failed.value.code == "stopped"
        with pytest.raises(VenueUnavailable):
            await asyncio.to_thread(rig.subscribe, ("Trade", "BTC-USDT"))


async def test_a_refused_order_is_forgotten_and_a_second_of_the_same_id_is_not() -> None:
    async with trading() as (venue, rig):
        venue.on_order = lambda _: error(422, "insufficient_funds")
        with pytest.raises(OrderRefused) as refused:
            await rig.account.submit(buy("poor"))
        assert refused.value.reason == "insufficient_funds"
        venue.on_order = lambda _: CUT
        with pytest.raises(OutcomeUnknown):
            await rig.account.submit(buy("twice"))
        venue.on_order = lambda _: error(409, "duplicate_client_id")
        with pytest.raises(OrderRefused):
            await rig.account.submit(buy("twice"))
        venue.orders["twice"] = order("twice", "CANCELLED")
        await venue.private.close(1012)
        await until(lambda: reported(rig) == [("twice", "CANCELLED", 0)], "the first of them")
        assert venue.count("/v1/orders/poor") == 0


async def test_the_rejection_of_a_second_order_does_not_change_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with trading() as (venue, rig):
        no = {**order("a", "REJECTED", time=T0 + 1), "venueOrderId": None, "reason": "duplicate"}
        # Before the stream reports it, and after.
        await rig.account.submit(buy("a"))
        with caplog.at_level(logging.INFO):
            await venue.send_private({"type": "order", **no})
            await venue.send_private({"type": "order", **order("a")})
            await venue.send_private({"type": "order", **no})
            await venue.send_private({"type": "order", **order("b")})
            await until(lambda: ("b", "ACK", 0) in reported(rig), "the last report")
        assert reported(rig) == [("a", "ACK", 0), ("b", "ACK", 0)]
        assert caplog.text.count("a second order under this id was rejected: duplicate") == 2
        # The order is still queried.
        venue.orders = {"a": order("a", "CANCELLED", time=T0 + 2), "b": order("b")}
        await venue.private.close(1012)
        await until(lambda: reported(rig)[2:] == [("a", "CANCELLED", 0)], "the end of the order")
        # An order that does not exist is reported as rejected.
        await venue.send_private({"type": "order", **no, "clientOrderId": "c"})
        await until(lambda: reported(rig)[3:] == [("c", "REJECTED", 0)], "a rejection")


async def test_late_fills_of_an_ended_order_are_published() -> None:
    async with trading() as (venue, rig):
        await venue.send_private({"type": "order", **order("a", "CANCELLED", time=T0 + 1)})
        await until(lambda: reported(rig) == [("a", "CANCELLED", 0)], "the end of the order")
        venue.orders["a"] = order("a", "CANCELLED", "2", time=T0 + 1)
        venue.fills = [fill(1, "a", T0 + 1)]
        await venue.private.close(1012)
        await until(lambda: reported(rig)[1:] == [("a", "CANCELLED", 2)], "the late fill")


async def test_an_order_that_the_venue_no_longer_knows_is_reported_once() -> None:
    async with trading() as (venue, rig):
        await venue.send_private({"type": "order", **order("a", "PARTIAL", "1")})
        await venue.send_private({"type": "order", **order("b")})
        await until(lambda: len(reported(rig)) == 2, "the orders")
        venue.orders = {"b": order("b")}
        await venue.private.close(1012)
        await until(lambda: reported(rig)[2:] == [("a", "UNKNOWN", 1)], "what the venue no longer knows")
        report = cast(ExecReport, rig.since(0, "ExecReport")[-1])
        assert (report.reason, report.venue_order_id) == ("unknown_to_venue", "xa")
        assert report.to_dict()["payload"]["state"] == "UNKNOWN"
        # Not again after another reconnect; and it may turn up later.
        venue.orders["b"] = order("b", "CANCELLED", time=T0 + 2)
        await venue.private.close(1012)
        await until(lambda: reported(rig)[3:] == [("b", "CANCELLED", 0)], "the end of the other order")
        venue.orders["a"] = order("a", "FILLED", "2", time=T0 + 3)
        await venue.private.close(1012)
        await until(lambda: reported(rig)[4:] == [("a", "FILLED", 2)], "the end of the unknown order")


async def test_a_report_of_a_fill_has_the_fill() -> None:
    async with trading() as (venue, rig):
        of_fill = {"executionId": "7", "lastQuantity": "1", "lastPrice": "99", "lastFee": "0.5"}
        more = {"lastFeeCurrency": "USDT", "liquidity": "maker"}
        await venue.send_private({"type": "order", **order("a", "PARTIAL", "1"), **of_fill, **more})
        await until(lambda: reported(rig) == [("a", "PARTIAL", 1)], "the order")
        payload = cast(ExecReport, rig.since(0, "ExecReport")[0]).to_dict()["payload"]
        assert payload.items() >= (of_fill | more).items()


@pytest.mark.parametrize("first_id", ["xa", None])
async def test_the_id_of_an_ended_order_can_be_reused(first_id: str | None) -> None:
    async with trading() as (venue, rig):
        state = "REJECTED" if first_id is None else "FILLED"
        filled = "0" if first_id is None else "2"
        await venue.send_private({"type": "order", **order("a", state, filled), "venueOrderId": first_id})
        await until(lambda: len(reported(rig)) == 1, "the end of the first")
        second = order("a", time=T0 + 5, venueOrderId="second")
        venue.on_order = lambda _: reply(second, 201)
        await rig.account.submit(buy("a"))
        await venue.send_private({"type": "order", **second})
        if first_id is not None:
            # A late report of the first order is published, and does not hide the second.
            await venue.send_private({"type": "order", **order("a", "FILLED", "2")})
        await venue.send_private({"type": "order", **order("b")})
        await until(lambda: ("b", "ACK", 0) in reported(rig), "the last report")
        mark = len(reported(rig))
        venue.orders = {"b": order("b"), "a": {**second, "state": "CANCELLED", "time": T0 + 6}}
        await venue.private.close(1012)
        await until(lambda: reported(rig)[mark:] == [("a", "CANCELLED", 0)], "the end of the second")


async def test_a_stop_interrupts_the_reconciliation(caplog: pytest.LogCaptureFixture) -> None:
    async with trading() as (venue, rig):
        venue.http.answer = lambda request: HANG if "balances" in request.target else venue.answer(request)
        await venue.private.close(1012)
        await until(lambda: venue.count("/v1/balances") == 3, "the reconciliation")
        query = asyncio.create_task(rig.account.balances())
        await until(lambda: venue.count("/v1/balances") == 4, "a query")
        rig.adapter.stop()
        with pytest.raises(VenueUnavailable) as failed:
            await query
        assert failed.value.code == "stopped"
        await asyncio.to_thread(rig.close)
    assert "account not reconciled" not in caplog.text
