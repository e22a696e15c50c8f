"""Tests of trading: life of an order, refusals, reconciliation, errors, clocks and limits."""

import itertools
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import cast

import pytest

from meltica._core import BookSnapshot
from meltica.errors import OrderRefused, OutcomeUnknown, RateLimited, Unauthenticated, VenueUnavailable
from meltica.model.account import CancelAllScope
from meltica.model.enums import Side, TimeInForce
from meltica.model.fills import START, FillMark
from meltica.model.orders import NewOrder
from meltica.model.symbols import currencies
from meltica.testing.rig import Rig
from meltica.testing.stage import Stage

_IDS = (f"c{number}" for number in itertools.count(1))


class AccountContract:
    """The contract of an adapter that trades."""

    def test_an_order_rests_is_amended_and_cancelled_with_a_report_each(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            _, quote = currencies(symbol)
            before = rig.do(account.balances())[quote]
            far = order(at="far")
            status = rig.do(account.submit(far))
            assert (status.client_order_id, status.state, status.filled_quantity) == (
                far.client_order_id,
                "ACK",
                0,
            )
            assert status.venue_order_id
            [open_order] = rig.do(account.open_orders())
            assert open_order == rig.do(account.order(symbol, far.client_order_id))
            assert (open_order.price, open_order.quantity) == (far.price, far.quantity)
            held = rig.do(account.balances())[quote]
            assert held.total == before.total
            assert held.available < before.available
            assert held.time >= before.time
            states = ["ACK", "CANCELLED"]
            if account.capabilities.amend:
                amended = rig.do(account.amend(symbol, far.client_order_id, quantity=far.quantity / 2))
                assert (amended.client_order_id, amended.quantity) == (far.client_order_id, far.quantity / 2)
                assert amended == rig.do(account.order(symbol, far.client_order_id))
                states = ["ACK", *states]
            cancelled = rig.do(account.cancel(symbol, far.client_order_id))
            assert cancelled.client_order_id == far.client_order_id
            ended = rig.do(account.order(symbol, far.client_order_id))
            assert ended is not None
            assert (ended.state, rig.do(account.open_orders())) == ("CANCELLED", [])
            assert rig.do(account.balances())[quote][:2] == before[:2]
            rig.wait(
                lambda: [report.state for report in rig.reports(far.client_order_id)] == states,
                "reports of the order, its amendment and its cancellation",
            )

    def test_a_feature_that_the_venue_does_not_have_is_refused(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            has = account.capabilities
            if not has.reduce_only:
                self._refuses(
                    rig, account.submit(order(at="far", reduce_only=True)), "reduce_only_unsupported"
                )
            far = order(at="far")
            rig.do(account.submit(far))
            if not has.amend:
                change = account.amend(symbol, far.client_order_id, quantity=far.quantity / 2)
                self._refuses(rig, change, "amend_unsupported")
            scopes: list[tuple[str | None, set[CancelAllScope]]] = [
                (None, {CancelAllScope.ACCOUNT}),
                (symbol, {CancelAllScope.ACCOUNT, CancelAllScope.SYMBOL}),
            ]
            for of, supported in scopes:
                if has.cancel_all not in supported:
                    self._refuses(rig, account.cancel_all(of), "cancel_all_unsupported")
            assert [o.client_order_id for o in rig.do(account.open_orders())] == [far.client_order_id]

    def test_all_orders_of_a_symbol_or_of_the_account_are_cancelled(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            scope = account.capabilities.cancel_all
            if scope is CancelAllScope.NONE:
                pytest.skip(f"{type(account).__name__} cannot cancel all orders")
            for of in (symbol, None) if scope is CancelAllScope.ACCOUNT else (symbol,):
                ids: list[str] = []
                for each in (order(at="far"), order(at="far")):
                    rig.do(account.submit(each))
                    ids.append(each.client_order_id)
                rig.do(account.cancel_all(of))
                assert rig.do(account.open_orders()) == []
                rig.wait(
                    lambda ids=ids: all(r[-1:] and r[-1].state == "CANCELLED" for r in map(rig.reports, ids)),
                    "the reports of the cancellations",
                )

    @staticmethod
    def _refuses(rig: Rig, request: Coroutine[object, object, object], reason: str) -> None:
        with pytest.raises(OrderRefused) as refused:
            rig.do(request)
        assert refused.value.reason == reason

    def test_fills_add_up(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            base, quote = currencies(symbol)
            before = rig.do(account.balances())
            buy = order()
            rig.do(account.submit(buy))
            status = rig.do(account.order(symbol, buy.client_order_id))
            assert status is not None
            assert (status.state, status.filled_quantity) == ("FILLED", buy.quantity)
            fills = [
                fill
                for fill in rig.do(account.fills_since({symbol: START}))
                if fill.client_order_id == buy.client_order_id
            ]
            assert sum(fill.quantity for fill in fills) == buy.quantity
            assert len({fill.execution_id for fill in fills}) == len(fills)
            last = fills[-1]
            for mark in (FillMark(last.time), FillMark.at(last)):
                assert rig.do(account.fills_since({symbol: mark}))[-1] == last
            assert rig.do(account.fills_since({symbol: FillMark(last.time + 1)})) == []
            assert rig.do(account.fills_since({stage.symbols[1]: START})) == []
            assert not rig.do(account.fills_since({}))
            rig.wait(
                lambda: [r.state for r in rig.reports(buy.client_order_id)][-1:] == ["FILLED"],
                "the report of the last fill",
            )
            reports = rig.reports(buy.client_order_id)
            filled = [report.filled_quantity_decimal for report in reports]
            assert filled == sorted(filled)
            assert filled[-1] == buy.quantity
            reported_fills = {r.execution_id: r.last_quantity_decimal for r in reports if r.execution_id}
            # Venues may leave fills out of their reports.
            assert reported_fills in ({}, {fill.execution_id: fill.quantity for fill in fills})
            after = rig.do(account.balances())
            paid = sum(fill.price * fill.quantity for fill in fills)
            fees = {
                currency: sum(f.fee for f in fills if f.fee_currency == currency)
                for currency in (base, quote)
            }
            assert after[base].total == before[base].total + buy.quantity - fees[base]
            assert after[quote].total == before[quote].total - paid - fees[quote]
            update = rig.wait(lambda: rig.since(0, "BalanceUpdate", quote), "the balance's update")
            assert update

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"quantity": Decimal("1e6")}, None),
            ({"quantity": Decimal("1e-12")}, None),
            ({"at": "cross", "post_only": True}, None),
        ],
        ids=["too much", "too little", "post-only that would trade"],
    )
    def test_a_refused_order_changes_nothing(
        self, stage: Stage, change: dict[str, object], reason: str | None
    ) -> None:
        with trading(stage) as (rig, order):
            before = rig.do(rig.account.balances())
            with pytest.raises(OrderRefused) as refused:
                rig.do(rig.account.submit(order(**{"at": "far", **change})))
            assert refused.value.reason
            assert reason is None or refused.value.reason == reason
            assert rig.do(rig.account.open_orders()) == []
            after = rig.do(rig.account.balances())
            assert {name: each[:2] for name, each in after.items()} == {
                name: each[:2] for name, each in before.items()
            }

    def test_nothing_is_sent_if_the_last_check_fails(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            checks: list[str] = []

            def fail() -> None:
                checks.append("fails")
                raise OrderRefused("too_late")

            late, sent = order(at="far"), order(at="far")
            self._refuses(rig, account.submit(late, fail), "too_late")
            assert rig.do(account.order(symbol, late.client_order_id)) is None
            rig.do(account.submit(sent, lambda: checks.append("passes")))
            if account.capabilities.amend:
                change = account.amend(
                    symbol, sent.client_order_id, quantity=sent.quantity / 2, last_check=fail
                )
                self._refuses(rig, change, "too_late")
            # An account may repeat a check that passes before each part of its request.
            results = [result for result, _ in itertools.groupby(checks)]
            assert results == ["fails", "passes", "fails"][: 2 + account.capabilities.amend]
            [resting] = rig.do(account.open_orders())
            assert (resting.client_order_id, resting.quantity) == (sent.client_order_id, sent.quantity)

    def test_an_unknown_order_is_reported_as_unknown(self, stage: Stage) -> None:
        with trading(stage) as (rig, _):
            symbol = stage.symbols[0]
            assert rig.do(rig.account.order(symbol, "unknown")) is None
            with pytest.raises(OrderRefused) as refused:
                rig.do(rig.account.cancel(symbol, "unknown"))
            assert refused.value.reason == "unknown_order"
            if rig.account.capabilities.amend:
                with pytest.raises(OrderRefused) as refused:
                    rig.do(rig.account.amend(symbol, "unknown", quantity=Decimal(1)))
                assert refused.value.reason == "unknown_order"

    def test_the_same_id_is_refused_while_it_is_open(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            far = order(at="far")
            rig.do(account.submit(far))
            with pytest.raises(OrderRefused) as refused:
                rig.do(account.submit(far))
            assert refused.value.reason == "duplicate_client_id"
            assert len(rig.do(account.open_orders())) == 1
            # The first order continues and its end is reported, whatever happens to the second.
            rig.do(account.cancel(symbol, far.client_order_id))
            states = rig.wait(
                lambda: [r.state for r in rig.reports(far.client_order_id) if r.state != "ACK"],
                "the end of the first order",
            )
            assert states == ["CANCELLED"]

    def test_an_ioc_order_without_a_match_ends(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            symbol = stage.symbols[0]
            away = order(at="far", time_in_force=TimeInForce.IOC)
            assert rig.do(rig.account.submit(away)).filled_quantity == 0
            status = rig.do(rig.account.order(symbol, away.client_order_id))
            assert status is not None
            assert status.state in {"EXPIRED", "CANCELLED"}
            assert rig.do(rig.account.open_orders()) == []

    def test_after_a_disconnect_missed_changes_are_reported(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            stays, goes = order(at="far"), order(at="far")
            for each in (stays, goes):
                rig.do(account.submit(each))
                rig.wait(lambda each=each: rig.reports(each.client_order_id), "the report of the order")
            mark = len(rig.events)
            # The order is cancelled while the streams are disconnected, so its report is lost.
            stage.behave(report_late=1.0, report_late_for=3600.0)
            rig.do(account.cancel(symbol, goes.client_order_id))
            stage.behave(report_late=0.0)
            stage.disconnect(0.2)
            rig.comes("MarketStale", symbol, mark)
            rig.agrees(stage, symbol, mark)
            assert [o.client_order_id for o in rig.do(account.open_orders())] == [stays.client_order_id]
            rig.wait(
                lambda: [r.state for r in rig.reports(goes.client_order_id, mark)] == ["CANCELLED"],
                "the report of a change during the disconnect",
            )
            rig.do(account.cancel(symbol, stays.client_order_id))
            rig.wait(
                lambda: [r.state for r in rig.reports(stays.client_order_id)][-1:] == ["CANCELLED"],
                "the order's end",
            )

    def test_failed_requests_report_their_outcome(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            errors: set[type[Exception]] = set()
            for _ in range(60):
                far = order(at="far")
                stage.behave(transient_error=1.0)
                with pytest.raises((VenueUnavailable, OutcomeUnknown)) as failed:
                    rig.do(account.submit(far))
                with pytest.raises(VenueUnavailable):
                    rig.do(account.order(symbol, far.client_order_id))
                stage.behave(transient_error=0.0)
                status = rig.do(account.order(symbol, far.client_order_id))
                if isinstance(failed.value, OutcomeUnknown):
                    # An unknown outcome is not a refusal: here the request was executed.
                    assert status is not None
                    rig.do(account.cancel(symbol, far.client_order_id))
                else:
                    assert status is None
                errors.add(type(failed.value))
                if len(errors) == 2:
                    break
            assert {VenueUnavailable, OutcomeUnknown} == errors

    def test_late_and_repeated_reports_stay_correct(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            account, symbol = rig.account, stage.symbols[0]
            stage.behave(report_late=0.3, report_late_for=0.05, report_duplicate=0.3, report_reorder=0.3)
            orders = [order() for _ in range(8)]
            for each in orders:
                rig.do(account.submit(each))
            for each in orders:
                rig.wait(
                    lambda each=each: any(r.state == "FILLED" for r in rig.reports(each.client_order_id)),
                    "the report of the last fill",
                )
                status = rig.do(account.order(symbol, each.client_order_id))
                assert status is not None
                reported = {report.filled_quantity_decimal for report in rig.reports(each.client_order_id)}
                assert max(reported) == status.filled_quantity == each.quantity
            fills = rig.do(account.fills_since({symbol: START}))
            mine = {each.client_order_id for each in orders}
            assert sum(f.quantity for f in fills if f.client_order_id in mine) == sum(
                each.quantity for each in orders
            )
            assert len({fill.execution_id for fill in fills}) == len(fills)

    def test_a_random_rejection_is_reported(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            stage.behave(reject=1.0)
            far = order(at="far")
            with pytest.raises(OrderRefused):
                rig.do(rig.account.submit(far))
            rig.wait(
                lambda: [r.state for r in rig.reports(far.client_order_id)] == ["REJECTED"],
                "the report of the rejection",
            )
            assert rig.do(rig.account.open_orders()) == []

    def test_wrong_credentials_are_refused(self, stage: Stage) -> None:
        with (
            pytest.raises(Unauthenticated) as refused,
            Rig(stage.adapter(**stage.wrong_credentials())) as rig,
        ):
            rig.do(rig.account.balances())
        assert refused.value.terminal

    @pytest.mark.parametrize("seconds", [-90.0, 90.0])
    def test_a_wrong_clock_is_corrected(self, stage: Stage, seconds: float) -> None:
        with trading(stage) as (rig, order):
            far = order(at="far")
            rig.do(rig.account.submit(far))
            stage.skew(seconds)
            # Only a refusal shows the skew: a query measures the clock, and an order is not lost.
            assert len(rig.do(rig.account.open_orders())) == 1
            rig.do(rig.account.cancel(stage.symbols[0], far.client_order_id))

    def test_rate_limits_of_the_venue_are_kept(self, stage: Stage) -> None:
        with trading(stage) as (rig, order):
            stage.limit(5)
            for _ in range(12):
                rig.do(rig.account.balances())
            stage.limit(1)
            refused: RateLimited | None = None
            sent: list[str] = []
            for _ in range(6):
                far = order(at="far")
                try:
                    rig.do(rig.account.submit(far))
                    sent.append(far.client_order_id)
                except RateLimited as error:
                    refused = error
            assert refused is not None, "an order does not wait for the rate limit"
            assert refused.retry_after > 0
            stage.limit(0)
            rig.wait(
                lambda: sorted(o.client_order_id for o in rig.do(rig.account.open_orders())) == sorted(sent),
                "exactly the orders that were accepted",
            )


class trading:  # noqa: N801
    """A rig with a market and an account, and a factory of orders for it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._rig: Rig | None = None

    def __enter__(self) -> tuple[Rig, Callable[..., NewOrder]]:
        stage, symbol = self._stage, self._stage.symbols[0]
        size = stage.order_size(symbol)
        rig = self._rig = Rig(stage.adapter()).__enter__()
        try:
            rig.subscribe(("BookSnapshot", symbol), ("ExecReport", None), ("BalanceUpdate", None))
            first = cast(BookSnapshot, rig.comes("BookSnapshot", symbol, mark=0))
        except BaseException:
            rig.close()
            raise
        best = first.best_ask
        assert best is not None
        tick = Decimal(1).scaleb(-2)

        def order(at: str | None = None, quantity: Decimal = size, **more: object) -> NewOrder:
            """Returns a buy order: a market order, one far below the market, or one that would trade."""
            part = {None: None, "far": Decimal("0.9"), "cross": Decimal("1.05")}[at]
            price = None if part is None else (best.price_decimal * part).quantize(tick)
            return NewOrder(next(_IDS), symbol, Side.BUY, quantity, price, **more)  # pyright: ignore[reportArgumentType]

        return rig, order

    def __exit__(self, *_: object) -> None:
        if self._rig is not None:
            self._rig.close()
