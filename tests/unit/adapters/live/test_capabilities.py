"""What a live account supports: refusals without a request, and fills that are listed by symbol."""

from collections.abc import Coroutine, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast

import pytest

from meltica import BalanceUpdate
from meltica.adapters.fake.wire import FakeAccount, FakeWire
from meltica.adapters.live.order_tracker import OrderTracker
from meltica.errors import OrderRefused
from meltica.model.account import AccountCapabilities, CancelAllScope
from meltica.model.enums import OrderState, OrderType, Side
from meltica.model.fills import START, Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.runtime.loop_thread import LoopThread
from meltica.testing import Rig
from tests.support.scripted import until
from tests.support.scripted_venue import T0, Wire, buy, fill, order, reported, trading

POOR = AccountCapabilities(
    amend=False, cancel_all=CancelAllScope.SYMBOL, reduce_only=False, dead_man=False, account_fills=False
)


class PoorAccount(FakeAccount):
    """An account at a venue that can do little, and lists fills by symbol only."""

    capabilities = POOR

    def __init__(self, venue: FakeWire, loop: LoopThread) -> None:
        super().__init__(venue, loop)
        self.queried: list[tuple[str | None, FillMark]] = []

    async def fetch_fills(self, symbol: str | None, mark: FillMark) -> Sequence[Fill]:
        self.queried.append((symbol, mark))
        return [fill for fill in await super().fetch_fills(None, mark) if fill.symbol == symbol]


class PoorWire(Wire):
    def make_account(self, loop: LoopThread) -> FakeAccount:
        return PoorAccount(self, loop)


async def test_what_the_venue_cannot_do_is_refused_without_a_request() -> None:
    async with trading(PoorWire) as (fake, rig):
        account = rig.account
        refused: list[tuple[Coroutine[object, object, object], str]] = [
            (account.amend("BTC-USDT", "a", price=Decimal(1)), "amend_unsupported"),
            (account.cancel_all(), "cancel_all_unsupported"),
            (account.submit(replace(buy("a"), reduce_only=True)), "reduce_only_unsupported"),
        ]
        before = len(fake.http.requests)
        for request, reason in refused:
            with pytest.raises(OrderRefused) as error:
                await request
            assert error.value.reason == reason
        assert len(fake.http.requests) == before
        await account.submit(buy("a"))
        await account.cancel_all("BTC-USDT")
        assert fake.http.requests[-1].target == "/v1/orders?symbol=BTC-USDT"


async def test_no_scope_cancels_no_orders() -> None:
    none = replace(POOR, cancel_all=CancelAllScope.NONE)
    for symbol in ("BTC-USDT", None):
        with pytest.raises(OrderRefused, match="cancel each order"):
            none.check_cancel_all(symbol)


async def test_fills_that_are_listed_by_symbol_are_read_for_each_symbol_from_its_mark() -> None:
    async with trading(PoorWire) as (fake, rig):
        account = cast(PoorAccount, rig.account)
        fake.fills = [
            {**fill(1, "a", T0 + 1), "symbol": "ETH-USDT"},
            fill(2, "b", T0 + 2),
            fill(3, "c", T0 + 3),
        ]
        marks = {"BTC-USDT": FillMark(T0 + 2), "ETH-USDT": START, "XRP-USDT": START}
        fills = await account.fills_since(marks)
        assert [each.execution_id for each in fills] == ["1", "2", "3"]
        assert account.queried == [*marks.items()]
        account.queried.clear()
        assert await account.fills_since({}) == ()
        assert account.queried == []


async def test_after_a_reconnect_fills_are_read_of_the_symbols_of_the_orders() -> None:
    async with trading(PoorWire) as (fake, rig):
        account = cast(PoorAccount, rig.account)
        await account.submit(buy("a"))
        eth = NewOrder("e", "ETH-USDT", Side.BUY, Decimal(2), Decimal(100))
        await account.submit(eth)
        await fake.send_private({"type": "order", **order("b"), "symbol": "XRP-USDT"})
        await until(lambda: len(reported(rig)) == 1, "the report")
        fake.fills = [fill(1, "late", T0 + 1)]
        fake.orders["late"] = order("late", "FILLED", "2", time=T0 + 1)
        await fake.private.close(1012)
        await until(lambda: ("late", "FILLED", 2) in reported(rig), "the order of the fill")
        assert {symbol for symbol, _ in account.queried} == {"BTC-USDT", "ETH-USDT", "XRP-USDT"}


async def test_fills_that_are_listed_together_are_returned_of_the_symbols_with_a_mark() -> None:
    async with trading() as (fake, rig):
        fake.fills = [
            {**fill(1, "a", T0 + 1), "symbol": "ETH-USDT"},
            {**fill(2, "b", T0 + 2), "symbol": "XRP-USDT"},
            fill(3, "c", T0 + 2),
            fill(4, "d", T0 + 1),
        ]

        async def read(**marks: FillMark) -> list[str]:
            fills = await rig.account.fills_since({f"{name}-USDT": mark for name, mark in marks.items()})
            return [each.execution_id for each in fills]

        assert await read(BTC=START) == ["3", "4"]
        assert await read(BTC=FillMark(T0 + 2), ETH=FillMark(T0)) == ["1", "3"]
        # With an id, the venue's order of the list decides: what is booked late has an earlier time.
        assert await read(BTC=FillMark(T0 + 2, "3")) == ["3", "4"]
        [request] = fake.http.requests[-1:]
        assert "since=0&after=2" in request.target


@pytest.mark.parametrize("reads", [1, 3])
def test_an_order_of_another_client_is_reported_and_not_queried(reads: int) -> None:
    tracker = OrderTracker()
    foreign = OrderSnapshot(
        "", "17", "BTC-USDT", Side.BUY, OrderState.ACK, OrderType.LIMIT, Decimal(2), Decimal(0), time=T0
    )
    for each in (foreign, foreign._replace(venue_order_id="18")):
        [report] = tracker.order_reported(each)
        tracker.published(report)
    assert tracker.kept_orders == 0
    fills = [_foreign_fill(number) for number in (1, 2)]
    for _ in range(reads):
        reading = tracker.start_reading(0.0)
        reading.time = T0 + 5
        assert tracker.queries(reading, [foreign], fills) == []
        assert tracker.reconciled(reading) == []
        tracker.complete(reading)
        assert tracker.unexplained_fills == ()


async def test_what_other_clients_and_transfers_do_is_published() -> None:
    async with trading() as (fake, rig):
        foreign = {key: value for key, value in order("x", "FILLED", "2").items() if key != "clientOrderId"}
        await fake.send_private({"type": "order", **foreign})
        balance = {"type": "balance", "currency": "USDT", "total": "5", "available": "4", "time": T0 + 2}
        transfer = {"change": "-2.5", "reason": "withdrawal", "transferId": "t7"}
        await fake.send_private({**balance, **transfer})
        await until(lambda: any(each.transfer_id for each in _balances(rig)), "the withdrawal")
        assert reported(rig) == [("", "FILLED", 2)]
        [withdrawal] = [each for each in _balances(rig) if each.transfer_id is not None]
        assert (withdrawal.transfer_id, withdrawal.reason) == ("t7", "withdrawal")
        assert (withdrawal.change_decimal, withdrawal.total_decimal) == (Decimal("-2.5"), 5)


def _balances(rig: Rig) -> list[BalanceUpdate]:
    return [cast(BalanceUpdate, event) for event in rig.since(0, "BalanceUpdate", "USDT")]


def _foreign_fill(number: int) -> Fill:
    parts: dict[str, Any] = {"fee": Decimal(0), "fee_currency": "USDT"}
    return Fill(str(number), T0, "BTC-USDT", "", "17", Side.BUY, Decimal(100), Decimal(1), **parts)
