"""What the requests of orders make of the venue's answers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from meltica.model.account import Account, AccountCapabilities, CancelAllScope, LastCheck, unchecked
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState
from meltica.model.fills import Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.order import OrderRecord
from meltica.trading.positions import Positions
from meltica.trading.reconciliation import Reconciler
from meltica.trading.requests import Requests
from meltica.trading.restore import StoredOrders
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.state_machine import OrderMachine
from tests.support.risk import BTC, UNLIMITED, FakeMarket, instrument
from tests.unit.trading.orders import OWNER, SECOND, TIMINGS, fill, order


class ForgetfulAccount(Account):
    """An account that has an order's fills and balances, and no longer knows the order."""

    def __init__(
        self, fills: Sequence[Fill], balances: Mapping[str, Balance], venue_time: int | None = None
    ) -> None:
        self._fills, self._balances, self._time = fills, balances, venue_time

    @property
    def capabilities(self) -> AccountCapabilities:
        return AccountCapabilities(
            amend=True,
            cancel_all=CancelAllScope.NONE,
            reduce_only=False,
            dead_man=False,
            account_fills=True,
        )

    @property
    def arrives_within(self) -> float:
        return 1.0

    @property
    def reconciled(self) -> bool:
        return True

    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        raise AssertionError(order)

    async def cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        raise AssertionError(client_order_id)

    async def cancel_all(self, symbol: str | None = None) -> None:
        raise AssertionError(symbol)

    async def amend(
        self,
        symbol: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        last_check: LastCheck = unchecked,
    ) -> OrderSnapshot:
        raise AssertionError(client_order_id)

    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        return None

    async def open_orders(self) -> Sequence[OrderSnapshot]:
        return []

    async def fills_since(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        return [each for each in self._fills if each.time >= marks[each.symbol].time]

    async def time(self) -> int | None:
        return self._time

    async def balances(self) -> Mapping[str, Balance]:
        return self._balances


def traded_by(account: Account, clock: Callable[[], int]) -> tuple[Desk, Balances]:
    """Returns a desk with an account, and its balances."""
    books = Balances(Mode.LIVE)
    risk = Risk(Mode.LIVE, books, UNLIMITED)
    risk.registry.set_instrument("fake", instrument(BTC), Decimal("0.001"))
    risk.registry.set_instance(OWNER, {"fake": (BTC,)}, InstanceRiskLimits())
    desk = Desk({Mode.LIVE: risk}, Positions(), {Mode.LIVE: books}, FakeMarket(), clock)
    desk.connect("fake", Mode.LIVE, account)
    return desk, books


async def end_of(
    record: OrderRecord, account: Account, booked: Sequence[str], *, now: int = 100 * SECOND
) -> OrderMachine:
    """Returns an order of an earlier run after thirty seconds with an account."""
    desk, books = traded_by(account, lambda: now)
    for currency, balance in (await account.balances()).items():
        books.restore_not_ours("fake", currency, balance.total)
    machine = OrderMachine(record, TIMINGS, booked)
    with desk.lock:
        desk.restore(machine)
    if record.sent_at is not None:
        # Reconciling asks for an order that is not among the open ones.
        desk.apply(machine, lambda m, at: m.not_found(at, at, absent=True))
    requests = Requests(desk)
    for _ in range(30):
        for each, effect in desk.take_requests():
            requests.begin(each, effect)
        for _ in range(20):
            await asyncio.sleep(0)
        now += SECOND
        desk.tick()
    await requests.close(1.0)
    return machine


async def test_an_order_that_was_filled_in_part_and_forgotten_ends() -> None:
    record = order(
        committed_at=1,
        sent_at=1,
        acknowledged_at=1,
        state=OrderState.PARTIAL,
        filled_quantity=Decimal(4),
        filled_cost=Decimal(400),
        fees={"USDT": Decimal("0.1")},
    )
    balance = Balance(Decimal(50), Decimal(50), 1)
    account = ForgetfulAccount([fill("a", 4)], {"BTC": balance, "USDT": balance})
    machine = await end_of(record, account, ["a"])
    assert (record.state, record.reason) == ("CANCELLED", "forgotten")
    assert machine.record.filled_quantity == 4


async def test_a_fill_that_is_found_proves_that_the_order_arrived() -> None:
    record = order(committed_at=1)
    balance = Balance(Decimal(50), Decimal(50), 1)
    account = ForgetfulAccount([fill("a", 4)], {"BTC": balance, "USDT": balance})
    await end_of(record, account, [])
    assert record.filled_quantity == 4
    # The balances do not have the fill, so the order may have more of them.
    assert record.state is OrderState.UNKNOWN


async def test_a_fill_is_found_although_our_clock_is_ahead_of_the_venues() -> None:
    ahead = 10 * 60 * SECOND
    record = order(committed_at=1, intent_at=ahead)
    balance = Balance(Decimal(50), Decimal(50), 1)
    found = fill("a", 4, time=SECOND)
    account = ForgetfulAccount([found], {"BTC": balance, "USDT": balance}, 101 * SECOND)
    await end_of(record, account, [], now=ahead + 100 * SECOND)
    assert record.filled_quantity == 4


async def test_the_fills_of_a_new_account_are_read_from_the_venues_time_on() -> None:
    """Our clock is ten minutes ahead: a place by our clock would skip the fills of ten minutes."""
    balance = Balance(Decimal(50), Decimal(50), 100 * SECOND)
    account = ForgetfulAccount([], {"BTC": balance, "USDT": balance}, 100 * SECOND)
    desk, _ = traded_by(account, lambda: 700 * SECOND)
    stored = StoredOrders(desk, None, lambda *_: TIMINGS)  # type: ignore[arg-type]
    task = asyncio.create_task(Reconciler(desk, stored, "fake", Mode.LIVE).run())
    link = desk.accounts.link("fake", Mode.LIVE)
    while not link.reconciled:
        await asyncio.sleep(0)
    assert link.marks == {BTC: FillMark(100 * SECOND)}
    task.cancel()


async def test_an_order_of_which_the_venue_has_nothing_never_arrived() -> None:
    record = order(committed_at=1)
    await end_of(record, ForgetfulAccount([], {}), [])
    assert (record.state, record.reason) == ("REJECTED", "never_arrived")
