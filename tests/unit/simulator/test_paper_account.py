"""The paper account through the port that trading uses."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal

import pytest

from meltica.errors import OrderRefused
from meltica.model.balances import Balance
from meltica.model.enums import OrderState, Side, TimeInForce
from meltica.model.fills import START, FillMark
from meltica.model.orders import NewOrder
from meltica.simulator.catalogue import instrument
from meltica.simulator.paper.account import PaperAccount
from meltica.simulator.paper.orders import PaperReport
from meltica.simulator.paper.settings import PaperSettings

SYMBOL = "BTC-USDT"


class Rig:
    """An account with a book of one level each side, and a clock that the test moves."""

    def __init__(self, **settings: object) -> None:
        self.now = 1
        self.reports: list[PaperReport] = []
        self.balances: dict[str, Balance] = {}
        values = {"latency": "0s", "quiet": "1ms", **settings}
        self.account = PaperAccount(PaperSettings.model_validate(values), self.publish, lambda: self.now)
        self.account.list_instrument(instrument(SYMBOL))
        self.book()

    def publish(self, report: PaperReport, balances: Mapping[str, Balance]) -> None:
        self.reports.append(report)
        self.balances.update(balances)

    def book(self, bid: str = "59999", ask: str = "60001") -> None:
        self.now += 1
        one = Decimal(1)
        self.account.book(SYMBOL, [(Decimal(bid), one)], [(Decimal(ask), one)], self.now)
        self.now += 1

    async def submit(self, id: str, side: Side, quantity: str, price: str, **options: object) -> OrderState:
        new = NewOrder(id, SYMBOL, side, Decimal(quantity), Decimal(price), **options)  # pyright: ignore[reportArgumentType]
        return (await self.account.submit(new)).state


async def test_an_order_is_accepted_and_filled_by_a_later_book() -> None:
    rig = Rig()
    assert await rig.submit("a", Side.BUY, "0.5", "60001") is OrderState.ACK
    assert rig.reports == []
    rig.book()
    [(order, fill)] = rig.reports
    assert order.time is not None
    assert (order.state, order.average_price, fill and fill.rule) == (OrderState.FILLED, 60001, "taker")
    fee = Decimal("30.0005")
    assert (order.fee, order.fee_currency) == (fee, "USDT")
    assert rig.balances["USDT"] == Balance(
        100_000 - Decimal("30000.5") - fee, Decimal("69969.4995"), order.time
    )
    assert rig.balances["BTC"].total == Decimal("0.5")
    assert await rig.account.order(SYMBOL, "a") == order
    assert await rig.account.open_orders() == []


async def test_fills_are_listed_from_a_mark_on() -> None:
    rig = Rig()
    for id in ("a", "b"):
        await rig.submit(id, Side.BUY, "0.1", "60001")
        rig.book()
    first, second = (report.fill for report in rig.reports)
    assert first is not None
    assert second is not None
    assert await rig.account.fills_since({SYMBOL: START}) == [first, second]
    assert await rig.account.fills_since({SYMBOL: FillMark.at(second)}) == [second]
    assert await rig.account.fills_since({"ETH-USDT": START}) == []
    assert await rig.account.fills_since({}) == []


async def test_an_unchanged_book_fills_without_another_event() -> None:
    rig = Rig()
    await rig.submit("a", Side.BUY, "0.5", "60001")
    rig.now += 10_000_000
    while not rig.reports:
        await asyncio.sleep(0)
    assert rig.reports[0].order.state is OrderState.FILLED


async def test_a_stale_market_fills_nothing() -> None:
    rig = Rig()
    await rig.submit("a", Side.BUY, "0.5", "60001")
    rig.account.mark_stale(SYMBOL)
    rig.account.trade(SYMBOL, Decimal(50000), Decimal(9), Side.SELL, rig.now)
    assert rig.account.advance() is None
    assert rig.reports == []


async def test_cancels_and_amendments_return_the_order() -> None:
    rig = Rig()
    await rig.submit("a", Side.BUY, "0.5", "50000")
    amended = await rig.account.amend(SYMBOL, "a", quantity=Decimal("0.2"), price=Decimal(51000))
    assert (amended.quantity, amended.price) == (Decimal("0.2"), 51000)
    assert rig.balances["USDT"].reserved == Decimal("10210.2")
    assert (await rig.account.cancel(SYMBOL, "a")).state is OrderState.CANCELLED
    with pytest.raises(OrderRefused, match="unknown_order"):
        await rig.account.cancel(SYMBOL, "a")
    assert rig.balances["USDT"].reserved == 0


async def test_cancel_all_reports_every_end() -> None:
    rig = Rig()
    rig.account.list_instrument(instrument("ETH-USDT"))
    for id in ("a", "b"):
        await rig.submit(id, Side.BUY, "0.1", "50000")
    await rig.account.cancel_all("ETH-USDT")
    assert len(await rig.account.open_orders()) == 2
    await rig.account.cancel_all()
    assert [(order.client_order_id, order.state) for order, _ in rig.reports] == [
        ("a", OrderState.CANCELLED),
        ("b", OrderState.CANCELLED),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": "XRP-EUR"}, "unknown_symbol"),
        ({"quantity": Decimal("0.00005")}, "lot_size"),
        ({"reduce_only": True}, "reduce_only_unsupported"),
        ({"client_order_id": "open"}, "duplicate_order_id"),
        ({"quantity": Decimal(10)}, "insufficient_funds"),
    ],
)
async def test_a_refused_order_changes_nothing(change: dict[str, object], reason: str) -> None:
    rig = Rig()
    await rig.submit("open", Side.BUY, "0.1", "50000")
    values = {
        "client_order_id": "a",
        "symbol": SYMBOL,
        "side": Side.BUY,
        "quantity": Decimal("0.1"),
        "price": Decimal(50000),
    } | change
    with pytest.raises(OrderRefused) as refused:
        await rig.account.submit(NewOrder(**values))  # pyright: ignore[reportArgumentType]
    assert refused.value.reason == reason
    assert len(await rig.account.open_orders()) == 1
    assert rig.reports == []


async def test_a_restart_keeps_balances_and_orders() -> None:
    before = Rig()
    await before.submit("taken", Side.BUY, "0.5", "60001", time_in_force=TimeInForce.IOC)
    before.book()
    await before.submit("resting", Side.SELL, "0.25", "61000")
    totals = {currency: balance.total for currency, balance in (await before.account.balances()).items()}
    [resting] = before.account.resting_orders()
    after = Rig()
    after.now = before.now
    after.account.restore(totals, [resting], last_id=99)
    assert [order.client_order_id for order in await after.account.open_orders()] == ["resting"]
    balances = await after.account.balances()
    assert (balances["BTC"].total, balances["BTC"].available) == (Decimal("0.5"), Decimal("0.25"))
    after.book(ask="61000")
    after.account.trade(SYMBOL, Decimal(61001), Decimal(1), Side.BUY, after.now)
    [(order, fill)] = after.reports
    assert order.state is OrderState.FILLED
    assert fill is not None
    assert int(fill.execution_id) > 99


@pytest.mark.parametrize("kind", [TimeInForce.IOC, TimeInForce.FOK])
async def test_an_order_that_does_not_rest_ends_with_a_restart(kind: TimeInForce) -> None:
    before = Rig()
    before.account.mark_stale(SYMBOL)
    await before.submit("taking", Side.BUY, "0.5", "60001", time_in_force=kind)
    totals = {currency: balance.total for currency, balance in (await before.account.balances()).items()}
    [taking] = before.account.resting_orders()
    after = Rig()
    after.now = before.now
    after.account.restore(totals, [taking], last_id=99)
    assert await after.account.open_orders() == []
    order = await after.account.order(SYMBOL, "taking")
    assert order is not None
    assert order.state is OrderState.EXPIRED
    after.book()
    assert (after.reports, (await after.account.balances())["USDT"].reserved) == ([], 0)


async def test_the_last_check_comes_before_the_way_to_the_venue() -> None:
    rig = Rig(latency="1ms")

    def refuse() -> None:
        raise OrderRefused("too_late")

    with pytest.raises(OrderRefused, match="too_late"):
        await rig.account.submit(NewOrder("a", SYMBOL, Side.BUY, Decimal(1), Decimal(50000)), refuse)
    assert await rig.account.open_orders() == []
    await rig.submit("b", Side.BUY, "1", "50000")
    with pytest.raises(OrderRefused, match="too_late"):
        await rig.account.amend(SYMBOL, "b", quantity=Decimal(2), last_check=refuse)
    assert [each.quantity for each in await rig.account.open_orders()] == [1]
