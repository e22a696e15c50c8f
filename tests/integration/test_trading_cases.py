"""Repeated fills, old balances, amendments that cross fills, bad rows, and orders that waited too long."""

import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from meltica.errors import OrderRefused
from meltica.model.account import LastCheck, unchecked
from meltica.model.enums import Mode, OrderState, Side
from meltica.model.fills import Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.model.trader import Order
from meltica.persistence.lock import GatewayLock
from meltica.simulator.paper.orders import PaperReport
from meltica.trading import clock
from meltica.trading.risk.limits import GlobalRiskLimits
from meltica.trading.risk.scopes import GLOBAL
from tests.support.lossy_account import Fate, LossyAccount
from tests.support.trading_world import TradingWorld

BTC = "BTC-USDT"


class Account(LossyAccount):
    """An account that refuses orders for a given reason, and that trades while it is asked for its fills."""

    refusals: list[str]
    while_reading: threading.Event

    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        """Sends an order, unless a refusal waits."""
        if self.refusals:
            last_check()
            raise OrderRefused(self.refusals.pop())
        return await super().submit(order, last_check)

    async def fills_since(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        """Returns the fills; the venue trades right after it has answered."""
        fills = await super().fills_since(marks)
        if self.while_reading.is_set():
            self.while_reading.clear()
            sell(self._world, "1")
        return fills

    def __init__(self, world: TradingWorld) -> None:
        super().__init__(world.account)
        self._world = world
        self.refusals = []
        self.while_reading = threading.Event()


def start(world: TradingWorld) -> TradingWorld:
    """Starts a gateway with an account that loses requests."""
    world.lossy = Account(world)
    world.desk.connect("p", Mode.LIVE, world.lossy)
    world.start()
    return world


@pytest.fixture(name="worlds")
def _worlds(database_url: str, lock: GatewayLock) -> Any:
    """Gateways, one after the other; the last one is closed."""
    worlds = [start(TradingWorld(database_url, lock))]
    yield worlds
    worlds[-1].close()


@pytest.fixture(name="world")
def _world(worlds: list[TradingWorld]) -> TradingWorld:
    return worlds[0]


def restart(worlds: list[TradingWorld]) -> TradingWorld:
    """Ends the gateway, and starts the next one."""
    last = worlds[-1]
    last.close()
    worlds.append(start(TradingWorld(last.url, last._lock, last.venue, last.owner.uid)))  # pyright: ignore[reportPrivateUsage]
    return worlds[-1]


def sell(world: TradingWorld, quantity: str) -> None:
    """Lets someone sell at 98, which fills our bids."""
    world.account.trade(BTC, Decimal(98), Decimal(quantity), Side.SELL, clock.now())


def position(world: TradingWorld) -> Decimal:
    """Returns the position of the instance."""
    found = world.call(lambda: world.trader.position(BTC)).quantity
    assert isinstance(found, Decimal)
    return found


def rows(world: TradingWorld, query: str) -> list[tuple[Any, ...]]:
    """Runs a query until it returns rows."""
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        while not (found := connection.execute(query.encode()).fetchall()):
            pass
    return found


def agrees(world: TradingWorld) -> bool:
    """Returns whether nothing is reserved, and the venue's balances, once read, are explained."""
    balances = world.call_loop(world.account.balances)
    for currency, balance in balances.items():
        world.desk.balance("p", Mode.LIVE, currency, balance)
    lines = [world.books.lines("p", currency) for currency in ("BTC", "USDT")]
    return not any(line.difference for line in lines) and not world.risk.registry.held("p", "USDT")


def recorded(world: TradingWorld) -> list[PaperReport]:
    """Returns the reports of the account's stream from now on."""
    reports: list[PaperReport] = []
    report = world.venue.report

    def record(each: PaperReport) -> None:
        reports.append(each)
        report(each)

    world.venue.report = record
    return reports


def test_an_execution_id_counts_once_also_after_a_restart(worlds: list[TradingWorld]) -> None:
    world = worlds[0]
    reports = recorded(world)
    partly, wholly = world.buy("2", "99"), world.buy("1", "98.5")
    world.wait_for("acknowledged", "acknowledged")
    sell(world, "1")
    world.wait_for("partial_fill")
    sell(world, "2")
    world.wait_for("filled", "filled")
    assert (partly.filled_quantity, wholly.filled_quantity) == (2, 1)
    for _ in range(2):
        for each in reports:
            assert world.desk.report("p", Mode.LIVE, each.order, each.fill)
        assert (position(world), agrees(world)) == (3, True)
        world = restart(worlds)
    assert len(rows(world, "select 1 from fills")) == 3


def test_nothing_is_traded_at_a_restart_with_a_position(worlds: list[TradingWorld]) -> None:
    worlds[0].buy("1", "100.01")
    worlds[0].quote()
    worlds[0].wait_for("filled")
    marks: Mapping[str, FillMark] | None = None
    for _ in range(2):
        world = restart(worlds)
        assert (position(world), agrees(world)) == (1, True)
        # What was read is not read again, and nothing in between is left out.
        found = dict(world.desk.accounts.link("p", Mode.LIVE).marks)
        assert found == marks or marks is None
        marks = found
        assert world.lossy.requests == {"submit": [], "cancel": [], "amend": []}
        assert world.names == []


def test_a_deposit_while_the_gateway_is_away_is_a_difference_of_its_currency_only(
    worlds: list[TradingWorld],
) -> None:
    worlds[0].account._funds.restore({"BTC": Decimal(1005)})  # pyright: ignore[reportPrivateUsage]
    world = restart(worlds)
    lines = {currency: world.books.lines("p", currency) for currency in ("BTC", "USDT")}
    assert {currency: line.difference for currency, line in lines.items()} == {"BTC": 5, "USDT": 0}
    assert lines["BTC"].not_ours == 1000
    [(found,)] = rows(world, "select found from reconciliations where found::text <> '{}'")
    assert found == {"differences": {"BTC": "5"}}


def test_a_fill_that_arrives_while_reconciling_counts_once(world: TradingWorld) -> None:
    order = world.buy("3", "99")
    world.wait_for("acknowledged")
    sell(world, "1")
    world.wait_for("partial_fill")
    assert isinstance(world.lossy, Account)
    world.lossy.while_reading.set()
    world.lossy.disconnect()
    world.wait_for("partial_fill", "partial_fill")
    while not world.call(lambda: world.trader.trading):
        pass
    assert (order.filled_quantity, position(world)) == (2, 2)
    world.call(lambda: world.trader.cancel(order))
    world.wait_for("cancelled")
    assert agrees(world)


def test_a_balance_from_before_a_fill_does_not_undo_it(world: TradingWorld) -> None:
    before = world.call_loop(world.account.balances)
    world.buy("1", "100.01")
    world.quote()
    world.wait_for("filled")
    spent = world.risk.free("p", "USDT")
    assert spent == 1_000_000 - Decimal("100.01") * Decimal("1.001")
    for _ in range(2):
        for currency, balance in before.items():
            world.desk.balance("p", Mode.LIVE, currency, balance)
        assert world.risk.free("p", "USDT") == spent
        # Now the venue's own balance includes the fill, and the old one comes once more.
        assert agrees(world)


def test_an_amendment_below_what_is_filled_meanwhile_ends_the_order(world: TradingWorld) -> None:
    order = world.buy("3", "99")
    world.wait_for("acknowledged")
    report, world.venue.report = world.venue.report, _drop
    sell(world, "2")
    world.call(lambda: world.trader.amend(order, quantity="1"))
    world.wait_for("cancelled")
    world.venue.report = report
    assert (order.filled_quantity, position(world), agrees(world)) == (2, 2, True)


def test_an_amendment_down_that_the_venue_never_receives_frees_nothing(world: TradingWorld) -> None:
    order = world.buy("3", "99")
    world.wait_for("acknowledged")
    world.lossy.fates["amend"].append(Fate.NEVER_ARRIVES)
    world.call(lambda: world.trader.amend(order, quantity="1"))
    sell(world, "2")
    world.wait_for("partial_fill")
    assert world.risk.registry.held("p", "USDT") == 99 * Decimal("1.001")
    world.wait_for("amend_rejected")
    assert (order.quantity, order.filled_quantity, order.state) == (3, 2, OrderState.PARTIAL)
    sell(world, "1")
    world.wait_for("filled")
    assert (position(world), agrees(world)) == (3, True)


def test_an_amendment_is_lost_and_the_order_is_filled_at_the_old_size(world: TradingWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    world.lossy.fates["amend"].append(Fate.NEVER_ARRIVES)
    world.call(lambda: world.trader.amend(order, quantity="3"))
    sell(world, "1")
    world.wait_for("filled")
    assert (order.quantity, order.filled_quantity, order.pending_amend) == (1, 1, False)
    assert (position(world), agrees(world)) == (1, True)


def test_a_bad_row_fails_alone_and_its_order_never_leaves(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tags are checked before; this one stands for what no check has foreseen.
    monkeypatch.setattr("meltica.trading.trader.tag_of", str)

    def place() -> list[Order]:
        tags = "first", "bad \0", "last"
        return [world.trader.place(Side.BUY, BTC, "1", "50", tag=tag) for tag in tags]

    first, bad, last = world.call(place)
    world.wait_for("rejected")
    world.wait_for("acknowledged", "acknowledged")
    assert (bad.state, bad.reason, bad.sent_at) == (OrderState.REJECTED, "persistence_refused", None)
    assert world.lossy.requests["submit"] == [first.client_order_id, last.client_order_id]
    assert rows(world, "select 1 from dead_letters")
    for order in (first, last):
        world.call(lambda order=order: world.trader.cancel(order))
    world.wait_for("cancelled", "cancelled")
    assert agrees(world)


def test_no_order_leaves_once_a_fill_could_not_be_stored(world: TradingWorld) -> None:
    resting = world.buy("1", "50")
    world.wait_for("acknowledged")
    order = world.buy("1", "99")
    world.wait_for("acknowledged", "acknowledged")
    # The venue's time does not fit into a column.
    world.account.trade(BTC, Decimal(98), Decimal(1), Side.SELL, 1 << 63)
    world.wait_for("filled", "cancelled")
    assert resting.state is OrderState.CANCELLED
    with pytest.raises(OrderRefused, match="ledger_frozen"):
        world.buy("1", "50")
    assert world.call(lambda: world.trader.trading).why == "ledger_frozen"
    assert order.filled_quantity == 1


@pytest.mark.parametrize(("reason", "halts"), [("venue_rejected", True), ("would_cross", False)])
def test_rejections_of_the_venue_count_as_breaches(world: TradingWorld, reason: str, halts: bool) -> None:
    limits = GlobalRiskLimits.model_validate(
        world.risk.registry.scopes[GLOBAL].limits.model_dump(by_alias=True) | {"maxRiskBreaches": 2}
    )
    world.risk.registry.set_limits(GLOBAL, limits)
    for number in range(2):
        assert isinstance(world.lossy, Account)
        world.lossy.refusals.append(reason)
        world.buy()
        world.wait_for(*["rejected"] * (number + 1))
    # The count follows the callback.
    world.call(lambda: None)
    status = world.call(lambda: world.trader.trading)
    assert (not status.on) is halts


def test_a_reason_that_cannot_be_stored_is_stored_without_what_prevents_it(world: TradingWorld) -> None:
    assert isinstance(world.lossy, Account)
    world.lossy.refusals.append("odd \0 reason" + "x" * 1_000_000)
    order = world.buy()
    world.wait_for("rejected")
    world.buy()
    world.wait_for("acknowledged")
    assert order.state is OrderState.REJECTED
    [(reason,)] = rows(world, "select reason from orders where state = 'REJECTED'")
    assert reason.startswith("odd \N{REPLACEMENT CHARACTER} reason")
    assert len(reason) == 1000


def test_orders_that_waited_too_long_are_rejected_and_never_sent(world: TradingWorld, max_age: int) -> None:
    stopped, released = threading.Event(), threading.Event()

    async def stop_loop() -> None:
        stopped.set()
        released.wait()

    stopping = threading.Thread(target=world.call_loop, args=[stop_loop])
    stopping.start()
    stopped.wait()
    # Trading's loop is stopped, as by SIGSTOP; the strategy's thread is not.
    try:
        orders = [world.buy("0.3") for _ in range(50)]
        while clock.now() <= orders[-1].requested_at + max_age:
            pass
    finally:
        released.set()
        stopping.join()
    world.wait_for(*["rejected"] * 50)
    assert {(order.state, order.reason, order.sent_at) for order in orders} == {
        (OrderState.REJECTED, "too_late", None)
    }
    assert world.lossy.requests["submit"] == []
    assert agrees(world)


def _drop(_report: PaperReport) -> None:
    return None
