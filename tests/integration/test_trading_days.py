"""Days of a gateway: kills with quotes, long absences, fees in base, sweeps, and a change of the mode."""

from collections.abc import AsyncGenerator, Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState, Side
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.trading import clock
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.order import Owner, PositionKey
from meltica.trading.positions import Position, Positions
from meltica.trading.restore import restore
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import GLOBAL
from meltica.trading.stored import position_row
from tests.support.risk import BTC, UNLIMITED, FakeMarket, RiskWorld, instrument
from tests.support.trading_world import PaperVenue, TradingWorld, timings

DAY = 24 * 3600 * 10**9
BAND = GlobalRiskLimits.model_validate(UNLIMITED.model_dump(by_alias=True) | {"priceBandPercent": 1})
Begin = Callable[..., TradingWorld]


@pytest.fixture(name="begin")
async def _begin(database_url: str) -> AsyncGenerator[Begin]:
    """Starts a gateway at a venue; the one before is ended, without a chance to cancel anything."""
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    worlds: list[TradingWorld] = []

    def begin(venue: PaperVenue | None = None, later: int = 0, **rules: str) -> TradingWorld:
        last = worlds[-1] if worlds else None
        if last is not None:
            last.close()
        venue = venue or (last.venue if last else PaperVenue())
        world = TradingWorld(database_url, lock, venue, last.owner.uid if last else None)
        world.desk.clock = lambda: clock.now() + later
        world.risk.registry.set_instrument("p", instrument(BTC, **rules), Decimal("0.001"))
        worlds.append(world)
        world.start()
        return world

    yield begin
    worlds[-1].close()
    await lock.release()


def rows(world: TradingWorld, query: str) -> list[tuple[Any, ...]]:
    """Runs a query until it returns rows."""
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        while not (found := connection.execute(query.encode()).fetchall()):
            pass
    return found


def differences(world: TradingWorld) -> set[Decimal | None]:
    """Returns the unexplained part of each currency."""
    return {world.books.lines("p", currency).difference for currency in ("BTC", "USDT")}


def position(world: TradingWorld) -> Decimal:
    """Returns the position of the instance."""
    quantity = world.call(lambda: world.trader.position(BTC)).quantity
    assert isinstance(quantity, Decimal)
    return quantity


def test_a_kill_with_quotes_while_the_price_moves(begin: Begin) -> None:
    world = begin()
    bids = [world.buy("1", price) for price in ("99.50", "99", "90")]
    world.wait_for(*["acknowledged"] * 3)
    world.venue.report = lambda _: None
    # The price falls by 5 % while no gateway listens.
    world.venue.book("94.90", "95")
    world = begin()
    assert (position(world), differences(world)) == (2, {Decimal(0)})
    states = [world.desk.find(bid.id) for bid in bids]
    assert [each and each.record.state for each in states] == [
        OrderState.FILLED,
        OrderState.FILLED,
        OrderState.ACK,
    ]
    assert world.risk.registry.held("p", "USDT") == 90 * Decimal("1.001")
    # Nothing is ordered by the restart itself.
    assert [order.id for order in world.account.resting_orders()] == [bids[2].client_order_id]


def test_a_gateway_that_was_down_for_three_days_reads_every_fill_once(begin: Begin) -> None:
    world = begin()
    order = world.buy("260", "99")
    world.wait_for("acknowledged")
    world.venue.report = lambda _: None
    for _ in range(2500):
        world.account.trade(BTC, Decimal(98), Decimal("0.1"), Side.SELL, clock.now())
    for _ in range(2):
        world = begin(later=3 * DAY)
        machine = world.desk.find(order.id)
        assert machine is not None
        assert (machine.record.state, machine.record.filled_quantity) == (OrderState.PARTIAL, 250)
        assert (position(world), differences(world)) == (250, {Decimal(0)})
    found = rows(world, "select count(*), count(distinct execution_id), bool_and(recovered) from fills")
    assert found == [(2500, 2500, True)]


def test_a_clock_that_is_set_back_before_a_restart_does_not_lengthen_the_life_of_an_order(
    begin: Begin,
) -> None:
    world = begin()
    minute, hour = 60 * 10**9, 3600 * 10**9
    order = world.buy("1", "50", expires_in=60)
    world.wait_for("acknowledged")
    for later in (-hour, 0, -2 * hour):
        world = begin(later=later)
        machine = world.desk.find(order.id)
        assert machine is not None
        assert machine.record.expires_at is not None
        assert 0 < machine.record.expires_at - world.desk.clock() <= minute


def test_a_fill_while_the_restart_reconciles_a_partly_filled_order(begin: Begin) -> None:
    world = begin()
    order = world.buy("3", "99")
    world.wait_for("acknowledged")
    world.account.trade(BTC, Decimal(98), Decimal(1), Side.SELL, clock.now())
    world.wait_for("partial_fill")
    venue = world.venue
    read = venue.account.fills_since
    sold: list[int] = []

    async def read_and_trade(marks: Any) -> Any:
        fills = await read(marks)
        if not sold:
            sold.append(1)
            venue.account.trade(BTC, Decimal(98), Decimal("0.5"), Side.SELL, clock.now())
        return fills

    venue.account.fills_since = read_and_trade  # type: ignore[method-assign]
    world = begin()
    machine = world.desk.find(order.id)
    assert machine is not None
    while machine.record.filled_quantity < Decimal("1.5"):
        pass
    assert (machine.record.state, position(world)) == (OrderState.PARTIAL, Decimal("1.5"))
    assert (sold, differences(world)) == ([1], {Decimal(0)})


def test_a_fee_in_base_leaves_dust_and_no_endless_exit(begin: Begin) -> None:
    venue = PaperVenue(quantity_increment="0.1", fee_in="base")
    world = begin(venue, quantity_increment="0.1")
    world.buy("67", "100.01")
    world.quote()
    world.wait_for("filled")
    assert position(world) == Decimal("66.933")
    exit = world.call(lambda: world.trader.place(Side.SELL, BTC, "all", "99.99"))
    assert exit.quantity == Decimal("66.9")
    world.quote()
    world.wait_for("filled", "filled")
    view = world.call(lambda: world.trader.position(BTC))
    assert (view.sellable, view.flat) == (0, True)
    assert world.call(lambda: world.trader.close(BTC)) is None
    assert len(rows(world, "select 1 from orders")) == 2


def test_a_position_that_a_fee_made_short_has_nothing_to_close(begin: Begin) -> None:
    """A sale of everything whose fee is in base: an exit without end would keep the symbol closing."""
    world = begin(PaperVenue(fee_in="base"))
    world.buy("200", "100.01")
    world.quote()
    world.wait_for("filled")
    world.call(lambda: world.trader.place(Side.SELL, BTC, "all", "99.99"))
    world.quote()
    world.wait_for("filled", "filled")
    view = world.call(lambda: world.trader.position(BTC))
    assert (view.quantity < 0, view.sellable, view.flat) == (True, 0, False)
    assert world.call(lambda: world.trader.close(BTC)) is None
    world.buy("1", "50")
    world.wait_for("acknowledged")
    assert world.call(lambda: world.trader.close(BTC)) is None
    world.wait_for("cancelled")
    world.wait_until(lambda: not world.desk.closings)
    world.buy("1", "50")
    world.wait_for("cancelled", "acknowledged")
    assert not world.risk.events.take_all()


def test_a_sweep_never_fills_beyond_the_band(begin: Begin) -> None:
    world = begin()
    world.risk.registry.set_limits(GLOBAL, BAND)
    thin = [(Decimal(price), Decimal(1)) for price in ("100.01", "100.90", "101.01", "105")]
    # Risk sees a deep book; when the order arrives, it has become thin.
    world.account.book(BTC, [(Decimal("99.99"), Decimal(1))], thin, clock.now())
    order = world.call(lambda: world.trader.place(Side.BUY, BTC, "4", None))
    world.wait_for("expired")
    fills = world.call(lambda: world.trader.fills(order))
    assert [fill.price for fill in fills] == [Decimal("100.01"), Decimal("100.90")]
    assert (order.filled_quantity, order.state) == (2, OrderState.EXPIRED)


async def test_what_was_bought_on_paper_is_not_sold_live(database_url: str) -> None:
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    paper, live = (Owner("a", uuid4(), mode) for mode in (Mode.PAPER, Mode.LIVE))
    books = {mode: Balances(mode) for mode in Mode}
    risks = {mode: Risk(mode, books[mode], UNLIMITED) for mode in Mode}
    positions = Positions()
    desk = Desk(risks, positions, books, FakeMarket(), clock.now)
    async with await Database.open(database_url) as database:
        held = Position(key=PositionKey(paper, "p", BTC), quantity=Decimal(1), cost=Decimal(100))
        await GroupCommitWriter(database, lock).commit([position_row(held, 1)])
        await restore(desk, TradingLoader(database), timings)
    await lock.release()
    w = RiskWorld()
    for owner in (paper, live):
        registry = risks[owner.mode].registry
        registry.set_instance(owner, {"p": (BTC,)}, InstanceRiskLimits())
        registry.set_instrument("p", instrument(BTC))
        registry.set_reconciled("p", reconciled=True)
    sell = w.request(Side.SELL, 1, owner=live, reduce_only=True)
    with pytest.raises(OrderRefused, match="reduce_only"):
        risks[Mode.LIVE].approve(sell, w.market, w.now)
    assert positions.quantity(PositionKey(live, "p", BTC)) == 0
    assert positions.quantity(PositionKey(paper, "p", BTC)) == 1
