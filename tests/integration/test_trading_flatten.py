"""Flattening a scope, and orders that the database has lost."""

from collections.abc import Generator
from decimal import Decimal

import psycopg
import pytest

from meltica.errors import Conflict, NotFound, OrderRefused
from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.model.orders import OrderSnapshot
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.flatten import Flattened
from meltica.trading.lost_orders import LostOrder, adopt
from meltica.trading.operator import Act
from meltica.trading.risk.limits import GlobalRiskLimits
from meltica.trading.risk.scopes import GLOBAL, Scope
from tests.support.risk import BTC
from tests.support.trading_world import IDS, PaperVenue, TradingWorld

ACT = Act("alice", "too hot")
ACTIONS = "select action, subject, acted_by, reason from operator_actions order by id"


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    world = TradingWorld(database_url, lock)
    world.risk.registry.set_limits(GLOBAL, GlobalRiskLimits.model_validate({"priceBandPercent": 1}))
    world.start()
    yield world
    world.close()


@pytest.mark.parametrize("runs", [True, False])
def test_a_flatten_cancels_and_sells_the_position_and_nothing_else(world: TradingWorld, runs: bool) -> None:
    world.buy("2", "100.01")
    world.wait_for("filled")
    resting = world.buy("1", "99.5")
    world.wait_for("filled", "acknowledged")
    if not runs:
        world.desk.stop_orders(world.owner)
        world.risk.registry.scopes[Scope.instance(world.owner)].symbols = {}  # type: ignore[attr-defined]
        world.risk.registry.set_reconciled("p", reconciled=True)
    flattened = world.operate(lambda operator: operator.flatten(Scope.instance(world.owner), ACT))
    [sale] = flattened.closing
    assert (flattened.open, flattened.unclosed) == ([], [])
    assert (sale.state, sale.side, sale.quantity, sale.reduce_only) == (OrderState.FILLED, Side.SELL, 2, True)
    assert world.positions.quantity(sale.position_key) == 0
    world.wait_for("cancelled", "filled")
    assert resting.state is OrderState.CANCELLED
    # The coins of the account that belong to no instance are still there.
    assert world.books.lines("p", "BTC").venue == 1000
    with pytest.raises(OrderRefused, match="is halted: too hot"):
        world.buy("1", "99.5")
    assert world.query(ACTIONS) == [("flatten", "instance:a", "alice", "too hot")]
    assert world.query("select halted_by from halts") == [("alice",)]
    assert not world.desk.gate.operators


def test_a_flatten_of_another_scope_leaves_everything(world: TradingWorld) -> None:
    world.buy("2", "100.01")
    world.wait_for("filled")
    order = world.buy("1", "99.5")
    world.wait_for("filled", "acknowledged")
    scope = Scope(HaltScope.INSTANCE, "b")
    assert world.operate(lambda operator: operator.flatten(scope, ACT)) == Flattened([], [], [])
    assert order.is_open


def test_a_flatten_reports_what_could_not_be_closed(world: TradingWorld) -> None:
    world.buy("2", "100.01")
    world.wait_for("filled")
    world.risk.registry.set_limits(GLOBAL, GlobalRiskLimits.model_validate({"priceBandPercent": 0}))
    [unclosed] = world.operate(lambda operator: operator.flatten(GLOBAL, ACT)).unclosed
    assert (unclosed.key.symbol, unclosed.rule) == (BTC, "price_band")


class Restored:
    """A gateway whose database was restored from a dump that does not have its orders."""

    def __init__(self, url: str, lock: GatewayLock) -> None:
        self.url, self.lock = url, lock
        self.venue = PaperVenue()
        self.worlds = [TradingWorld(url, lock, self.venue)]

    @property
    def world(self) -> TradingWorld:
        """The gateway that runs."""
        return self.worlds[-1]

    def restart(self) -> TradingWorld:
        """Starts the next gateway; its account is not reconciled yet."""
        self.world.close()
        self.worlds.append(TradingWorld(self.url, self.lock, self.venue, self.world.owner.uid))
        self.world.trading.start()
        return self.world

    def lose(self) -> str:
        """Makes an order that is filled in part, loses it, and restarts; returns its client order id."""
        self.world.start()
        order = self.world.buy("2", "99")
        self.world.wait_for("acknowledged")
        with psycopg.connect(self.url, options="-c search_path=meltica", autocommit=True) as connection:
            self.world.close()
            connection.execute("delete from orders")
        self.venue.account.trade(BTC, Decimal("98.9"), Decimal(1), Side.SELL, self.world.desk.clock())
        self.worlds.append(TradingWorld(self.url, self.lock, self.venue, self.world.owner.uid))
        self.world.trading.start()
        while not self.world.desk.accounts.link("p", Mode.LIVE).lost:
            pass
        return order.client_order_id

    def reconcile(self) -> None:
        """Waits until orders may leave."""
        while not self.world.call(lambda: self.world.trader.trading):
            pass


@pytest.fixture(name="restored")
def _restored(database_url: str, lock: GatewayLock) -> Generator[Restored]:
    restored = Restored(database_url, lock)
    yield restored
    restored.world.close()


def test_a_lost_order_is_adopted_with_its_fills(restored: Restored) -> None:
    id = restored.lose()
    world = restored.world
    with pytest.raises(NotFound, match="is not a lost order"):
        world.operate(lambda operator: operator.adopt("p", Mode.LIVE, "x" * 18, world.owner, ACT))
    other = world.owner._replace(mode=Mode.PAPER)
    with pytest.raises(Conflict, match="not adopted: a trades paper"):
        world.operate(lambda operator: operator.adopt("p", Mode.LIVE, id, other, ACT))
    record = world.operate(lambda operator: operator.adopt("p", Mode.LIVE, id, world.owner, ACT))
    restored.reconcile()
    world.wait_for("partial_fill")
    assert (record.filled_quantity, record.state) == (1, OrderState.PARTIAL)
    assert world.risk.free("p", "USDT") == 1_000_000 - 2 * Decimal(99) - Decimal("0.198")
    world.quote("98.50", "98.90")
    world.wait_for("partial_fill", "filled")
    assert world.positions.quantity(record.position_key) == 2
    assert world.books.lines("p", "BTC").difference == 0
    assert world.books.lines("p", "USDT").difference == 0
    world.operate(lambda operator: operator.recorded())
    assert world.query("select quantity, recovered from fills order by report") == [(1, True), (1, False)]
    assert world.query(ACTIONS) == [("adopt", id, "alice", "too hot")]
    assert world.query("select instance, state from orders") == [("a", "FILLED")]
    with pytest.raises(NotFound):
        world.operate(lambda operator: operator.adopt("p", Mode.LIVE, id, world.owner, ACT))


def test_a_lost_order_is_disowned_also_after_a_restart(restored: Restored) -> None:
    id = restored.lose()
    world = restored.world
    world.operate(lambda operator: operator.disown("p", Mode.LIVE, id, ACT))
    restored.reconcile()
    assert world.query(ACTIONS) == [("disown", id, "alice", "too hot")]
    assert world.call_loop(restored.venue.account.open_orders) == []
    for _ in range(2):
        assert world.books.lines("p", "BTC").difference == 0
        assert world.books.lines("p", "USDT").difference == 0
        assert list(world.positions) == []
        world = restored.restart()
        restored.reconcile()
    assert world.query(
        "select amount from ledger_entries where kind = 'foreign_fill' and currency = 'BTC'"
    ) == [(1,)]


def test_the_watermark_waits_for_the_fills_of_lost_orders(restored: Restored) -> None:
    id = restored.lose()
    world = restored.world
    mark = world.desk.accounts.link("p", Mode.LIVE).marks[BTC]
    [fill] = world.call_loop(lambda: restored.venue.account.fills_since({BTC: mark}))
    assert mark.time < fill.time
    world.operate(lambda operator: operator.adopt("p", Mode.LIVE, id, world.owner, ACT))
    restored.reconcile()
    assert world.desk.accounts.link("p", Mode.LIVE).marks[BTC].time == fill.time


def test_an_adopted_order_has_a_row_although_its_report_changes_nothing(world: TradingWorld) -> None:
    snapshot = OrderSnapshot(
        client_order_id=IDS.next(),
        venue_order_id="v1",
        symbol=BTC,
        side=Side.BUY,
        state=OrderState.ACK,
        order_type=OrderType.LIMIT,
        quantity=Decimal(1),
        filled_quantity=Decimal(0),
        time_in_force=TimeInForce.GTC,
        price=Decimal(50),
    )
    with world.desk.lock:
        order = LostOrder(snapshot, world.desk.clock())
        adopt(world.desk, order, "p", world.owner, world.trading.timings("p", Mode.LIVE))
    world.desk.wake()
    world.operate(lambda operator: operator.recorded())
    assert world.query("select client_order_id, instance from orders") == [(snapshot.client_order_id, "a")]
