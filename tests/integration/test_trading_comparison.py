"""Orders and balances are compared while the account runs, and a stream that reports nothing is noticed."""

from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal

import pytest

from meltica.model.enums import Mode, OrderState, Side
from meltica.model.orders import OrderSnapshot
from meltica.persistence.lock import GatewayLock
from meltica.simulator.paper.orders import PaperReport
from meltica.trading import clock
from meltica.trading.faults import FaultKind
from tests.support.lossy_account import LossyAccount
from tests.support.risk import BTC
from tests.support.trading_world import TradingWorld


class Account(LossyAccount):
    """An account whose list of open orders can be empty, and that counts its queries."""

    lists = True
    streams = False
    queries = 0
    lists_read = 0
    reconnects = 0

    @property
    def has_stream(self) -> bool:
        """What the test says."""
        return self.streams

    async def reconnect(self) -> None:
        """Counts the reconnects; the stream is back at once."""
        self.reconnects += 1
        self.disconnect()

    async def open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns the open orders, or none."""
        orders = await super().open_orders()
        self.lists_read += 1
        return orders if self.lists else []

    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order."""
        self.queries += 1
        return await super().order(symbol, client_order_id)


@pytest.fixture(name="account")
def _account(world: TradingWorld) -> Account:
    assert isinstance(world.lossy, Account)
    return world.lossy


@pytest.fixture(name="world")
async def _world(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[TradingWorld]:
    monkeypatch.setattr("meltica.trading.comparison.EVERY", 0.01)
    monkeypatch.setattr("meltica.trading.comparison.SETTLED", 0)
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    world = TradingWorld(database_url, lock)
    world.lossy = Account(world.account)
    world.desk.connect("p", Mode.LIVE, world.lossy)
    world.start()
    yield world
    world.close()
    await lock.release()


def drop(_report: PaperReport) -> None:
    return None


def losses(world: TradingWorld) -> int:
    """Returns how often the account had to be reconciled again."""
    return world.desk.accounts.link("p", Mode.LIVE).losses


def wait_for_lists(account: Account, count: int) -> None:
    """Waits for a number of comparisons."""
    until = account.lists_read + count
    while account.lists_read < until:
        pass


def test_an_order_that_ended_without_a_report_is_found(world: TradingWorld, account: Account) -> None:
    order = world.buy()
    world.wait_for("acknowledged")
    world.venue.report = drop
    before = losses(world)
    world.call_loop(lambda: world.account.cancel(BTC, order.client_order_id))
    world.wait_for("cancelled")
    assert (order.state, order.recovered) == (OrderState.CANCELLED, True)
    while not world.call(lambda: world.trader.trading):
        pass
    # No order left before everything was read again, and the disagreement is over with that.
    assert losses(world) == before + 1
    assert world.trading.faults() == []
    assert account.queries > 0


def test_a_fill_without_a_report_is_found(world: TradingWorld) -> None:
    order = world.buy("2", "99")
    world.wait_for("acknowledged")
    world.venue.report = drop
    world.account.trade(BTC, Decimal(98), Decimal(1), Side.SELL, clock.now())
    world.wait_for("partial_fill")
    assert (order.filled_quantity, order.recovered) == (1, True)
    assert world.call(lambda: world.trader.position(BTC)).quantity == 1


def test_a_disagreement_is_a_fault_and_refuses_orders(
    world: TradingWorld, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.buy("2", "99")
    world.wait_for("acknowledged")
    # While the balances are read, reconciling does not begin.
    faults: list[FaultKind] = []
    balances = account.balances

    async def look() -> object:
        faults.extend(each.kind for each in world.trading.faults())
        return await balances()

    monkeypatch.setattr(account, "balances", look)
    world.venue.report = drop
    world.call_loop(lambda: world.account.cancel(BTC, order.client_order_id))
    world.wait_for("cancelled")
    while FaultKind.DISAGREEMENT not in faults:
        pass
    assert FaultKind.NOT_RECONCILED in faults


def test_a_list_that_a_query_does_not_confirm_is_no_disagreement(
    world: TradingWorld, account: Account
) -> None:
    order = world.buy()
    world.wait_for("acknowledged")
    before = losses(world)
    account.lists = False
    wait_for_lists(account, 3)
    assert account.queries > 0
    assert (order.state, losses(world), world.names) == (OrderState.ACK, before, ["acknowledged"])


def test_an_order_that_changed_lately_is_not_compared(
    world: TradingWorld, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltica.trading.comparison.SETTLED", 3600 * 10**9)
    world.buy()
    world.wait_for("acknowledged")
    account.lists = False
    wait_for_lists(account, 3)
    assert account.queries == 0


def test_a_balance_without_a_report_is_found(world: TradingWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meltica.trading.balances.SETTLES_WITHIN", 0)
    world.account._funds.restore({"BTC": Decimal(1005)})  # pyright: ignore[reportPrivateUsage]
    while [(each.kind, each.detail) for each in world.trading.faults()] != [(FaultKind.DIFFERENCE, "5")]:
        pass


def test_a_stream_that_does_not_report_an_order_is_connected_again(
    world: TradingWorld, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltica.trading.comparison.EVERY", 3600.0)
    monkeypatch.setattr("meltica.trading.accounts.REPORTED_WITHIN", 3600 * 10**9)
    account.streams = True
    world.venue.report = drop
    order = world.buy("2", "99")
    world.wait_for("acknowledged")
    world.account.trade(BTC, Decimal(98), Decimal(1), Side.SELL, clock.now())
    monkeypatch.setattr("meltica.trading.accounts.REPORTED_WITHIN", 0)
    while not account.reconnects:
        pass
    world.wait_for("partial_fill")
    assert (order.filled_quantity, order.recovered) == (1, True)


def test_an_order_that_the_stream_reports_leaves_the_stream_alone(
    world: TradingWorld, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.streams = True
    world.buy("1", "100.01")
    world.quote()
    world.wait_for("filled")
    while world.desk.accounts.link("p", Mode.LIVE).unreported:
        pass
    monkeypatch.setattr("meltica.trading.accounts.REPORTED_WITHIN", 0)
    wait_for_lists(account, 3)
    assert account.reconnects == 0
