"""What happens to orders while a gateway is away: at a restart, at a reconnect, and without the database."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState
from meltica.model.orders import NewOrder
from meltica.persistence.lock import GatewayLock
from tests.support.commit_proxy import CommitProxy, Cut, commit_proxy
from tests.support.scripted import until
from tests.support.trading_world import PaperVenue, TradingWorld
from tests.unit.trading.orders import SECOND

StartWorld = Callable[[], TradingWorld]


class Gateways:
    """One gateway after the other, on one database and one venue."""

    def __init__(self, url: str, lock: GatewayLock) -> None:
        self._url, self._lock = url, lock
        self.venue = PaperVenue()
        self.world: TradingWorld | None = None

    def start(self) -> TradingWorld:
        """Ends the last gateway, and starts the next one."""
        uid = None
        if self.world is not None:
            self.end()
            uid = self.world.owner.uid
        self.world = TradingWorld(self._url, self._lock, self.venue, uid)
        self.world.start()
        return self.world

    def end(self) -> None:
        """Ends the gateway."""
        assert self.world is not None
        self.world.close()

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a query."""
        with psycopg.connect(self._url, options="-c search_path=meltica") as connection:
            return connection.execute(statement.encode()).fetchall()

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a query until a commit has brought rows."""
        while not (rows := self.query(statement)):
            pass
        return rows


@pytest.fixture(name="gateways")
def _gateways(database_url: str, lock: GatewayLock) -> Any:
    gateways = Gateways(database_url, lock)
    yield gateways
    gateways.end()


def test_no_order_leaves_while_a_difference_that_a_restart_found_may_settle(
    gateways: Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider has the key of another account: what was bought is not there."""
    for name in ("balances", "reconciliation"):
        monkeypatch.setattr(f"meltica.trading.{name}.SETTLES_WITHIN", SECOND)
    world = gateways.start()
    world.buy("1", "100.01")
    world.wait_for("filled")
    gateways.venue = PaperVenue()
    world = gateways.start()
    assert {each.currency: each.amount for each in world.books.faults} == {
        "BTC": -1,
        "USDT": Decimal("100.11001"),
    }
    with pytest.raises(OrderRefused, match="difference"):
        world.buy("1", "50")


def test_fills_while_the_gateway_was_away_are_found_and_booked_once(gateways: Gateways) -> None:
    world = gateways.start()
    order = world.buy("2", "99")
    world.wait_for("acknowledged")
    gateways.end()
    gateways.venue.book("98.50", "98.90")
    world = gateways.start()
    machine = world.desk.find(order.id)
    assert machine is not None
    assert (machine.record.state, machine.record.filled_quantity) == (OrderState.FILLED, 2)
    assert world.call(lambda: world.trader.position("BTC-USDT")).quantity == 2
    assert world.books.lines("p", "USDT").difference == 0
    assert world.books.lines("p", "BTC").difference == 0
    world = gateways.start()
    assert world.call(lambda: world.trader.position("BTC-USDT")).quantity == 2
    assert gateways.rows("select quantity, recovered from fills") == [(Decimal(2), True)]


def test_an_open_order_is_followed_after_a_restart(gateways: Gateways) -> None:
    world = gateways.start()
    order = world.buy("2", "99")
    world.wait_for("acknowledged")
    world = gateways.start()
    free = world.risk.free("p", "USDT")
    assert free == Decimal(1_000_000) - 198 * Decimal("1.001")
    world.quote("98.50", "98.90")
    world.wait_for("filled")
    machine = world.desk.find(order.id)
    assert machine is not None
    assert machine.record.state is OrderState.FILLED
    assert world.books.lines("p", "USDT").difference == 0


def test_an_order_that_was_committed_but_never_left_is_rejected_and_not_sent(gateways: Gateways) -> None:
    world = gateways.start()
    world.desk.pass_last_check = lambda *_, **__: False  # type: ignore[method-assign]
    order = world.buy("2", "99")
    gateways.rows("select 1 from orders")
    world = gateways.start()
    world.wait_for("rejected")
    machine = world.desk.find(order.id)
    assert machine is not None
    assert (machine.record.state, machine.record.reason) == (OrderState.REJECTED, "never_arrived")
    assert world.risk.free("p", "USDT") == 1_000_000


async def test_a_foreign_fill_becomes_an_entry_of_not_ours(gateways: Gateways) -> None:
    gateways.start()
    gateways.end()
    await gateways.venue.account.submit(
        NewOrder("foreign", "BTC-USDT", _buy(), Decimal(1), Decimal("100.01"))
    )
    gateways.venue.book()
    world = gateways.start()
    assert world.books.lines("p", "BTC").difference == 0
    assert world.books.lines("p", "BTC").not_ours == 1001
    kinds = gateways.rows("select kind, currency, amount from ledger_entries where kind = 'foreign_fill'")
    assert sorted(kinds) == [
        ("foreign_fill", "BTC", Decimal(1)),
        ("foreign_fill", "USDT", Decimal("-100.11001000")),
    ]


def _buy() -> Any:
    from meltica.model.enums import Side

    return Side.BUY


def test_an_order_with_our_mark_but_without_a_row_stops_trading_there(gateways: Gateways) -> None:
    world = gateways.start()
    world.buy("2", "99")
    world.wait_for("acknowledged")
    gateways.end()
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        connection.execute("delete from orders")
    world = TradingWorld(world.url, gateways.world._lock, gateways.venue, world.owner.uid)  # type: ignore[union-attr]
    gateways.world = world
    world.trading.start()
    [(found,)] = gateways.rows("select found from reconciliations where not agreed limit 1")
    assert not world.call(lambda: world.trader.trading)
    assert len(found["lost"]) == 1


def test_orders_end_while_the_database_is_away_and_cancels_still_leave(gateways: Gateways) -> None:
    world = gateways.start()
    resting = world.buy("2", "99")
    world.wait_for("acknowledged")
    _allow_connections(world.url, allowed=False)
    order = world.buy("1", "98")
    world.wait_for("acknowledged", "rejected")
    assert (order.state, order.reason, order.sent_at) == (
        OrderState.REJECTED,
        "persistence_unavailable",
        None,
    )
    world.call(lambda: world.trader.cancel(resting))
    world.wait_for("cancelled")
    assert world.risk.free("p", "USDT") == world.books.spendable("p", "USDT")
    _allow_connections(world.url, allowed=True)
    states = "select state, reason from orders where state in ('REJECTED', 'CANCELLED') order by intent_at"
    while len(gateways.query(states)) < 2:
        pass
    assert gateways.query(states) == [("CANCELLED", None), ("REJECTED", "persistence_unavailable")]


def _allow_connections(url: str, *, allowed: bool) -> None:
    """Opens or closes a database: its server refuses connections, and ends those that exist."""
    name = conninfo_to_dict(url)["dbname"]
    with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as connection:
        value = SQL("true" if allowed else "false")
        connection.execute(SQL("alter database {} allow_connections {}").format(Identifier(str(name)), value))
        if not allowed:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
            )


def test_a_halt_in_the_database_cancels_orders_and_refuses_new_ones(gateways: Gateways) -> None:
    world = gateways.start()
    order = world.buy("2", "99")
    world.wait_for("acknowledged")
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        connection.execute(
            "insert into halts (scope, subject, rule, reason, halted_by)"
            " values ('instance', 'a', 'operator', 'too hot', 'me')"
        )
    world.wait_for("cancelled")
    assert order.state is OrderState.CANCELLED
    status = world.call(lambda: world.trader.trading)
    assert not status.on
    assert "too hot" in (status.why or "")
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        connection.execute("update halts set cleared_at = clock_timestamp(), cleared_by = 'me'")
    while not world.call(lambda: world.trader.trading):
        pass
    world.buy("1", "98")
    assert world.desk.account("p", Mode.LIVE) is gateways.venue.account


@asynccontextmanager
async def commits_cut(
    url: str, lock: GatewayLock, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[tuple[Gateways, Gateways, CommitProxy]]:
    """Yields gateways behind a proxy that can cut commits, others for queries beside it, and the proxy."""
    monkeypatch.setattr("meltica.trading.commits.HALT_POLL", 60.0)
    async with commit_proxy(url) as (proxied, proxy):
        yield Gateways(proxied, lock), Gateways(url, lock), proxy


@pytest.mark.parametrize("cut", ["before", "after", "late"])
async def test_an_order_whose_commit_is_in_doubt_never_leaves(
    database_url: str, lock: GatewayLock, monkeypatch: pytest.MonkeyPatch, cut: Cut
) -> None:
    async with commits_cut(database_url, lock, monkeypatch) as (gateways, direct, proxy):
        world = await asyncio.to_thread(gateways.start)
        await asyncio.to_thread(direct.rows, "select 1 from reconciliations")
        proxy.cut = cut
        order = await asyncio.to_thread(world.buy)
        await asyncio.to_thread(world.wait_for, "rejected")
        assert (order.reason, order.sent_at) == ("persistence_unavailable", None)
        proxy.release.set()
        states = "select state, reason from orders"
        while await asyncio.to_thread(direct.query, states) != [("REJECTED", "persistence_unavailable")]:
            pass
        second = await asyncio.to_thread(world.buy)
        await asyncio.to_thread(world.wait_for, "rejected", "acknowledged")
        assert second.state is OrderState.ACK
        events = "select aggregate_id, event_type from outbox where aggregate_type = 'order'"
        while len(found := await asyncio.to_thread(direct.query, events)) < 2:
            pass
        assert sorted(found) == sorted([(str(order.id), "order.rejected"), (str(second.id), "order.ack")])
        await asyncio.to_thread(gateways.end)


@pytest.mark.parametrize("cut", ["before", "after", "late"])
async def test_a_fill_whose_commit_is_in_doubt_is_stored_once(
    database_url: str, lock: GatewayLock, monkeypatch: pytest.MonkeyPatch, cut: Cut
) -> None:
    async with commits_cut(database_url, lock, monkeypatch) as (gateways, direct, proxy):
        world = await asyncio.to_thread(gateways.start)
        order = await asyncio.to_thread(world.buy, "1", "99")
        await asyncio.to_thread(direct.rows, "select 1 from orders where state = 'ACK'")
        proxy.cut = cut
        world.account.trade("BTC-USDT", Decimal(98), Decimal(1), _sell(), world.desk.clock())
        await asyncio.to_thread(world.wait_for, "filled")
        await until(lambda: proxy.cut is None, "the commit of the fill")
        proxy.release.set()
        await asyncio.to_thread(direct.rows, "select 1 from orders where state = 'FILLED'")
        # The next commit follows what was in doubt.
        await asyncio.to_thread(world.buy)
        await asyncio.to_thread(world.wait_for, "filled", "acknowledged")
        fills = "select f.quantity, p.quantity from fills f, positions p"
        assert await asyncio.to_thread(direct.query, fills) == [(1, 1)]
        events = f"select event_type from outbox where aggregate_id = '{order.id}' order by id"
        found = await asyncio.to_thread(direct.query, events)
        assert [kind for (kind,) in found] == ["order.ack", "fill", "order.filled"]
        await asyncio.to_thread(gateways.end)


def _sell() -> Any:
    from meltica.model.enums import Side

    return Side.SELL
