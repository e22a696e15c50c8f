"""What operators do to trading: it acts, and is recorded with who did it and why."""

from collections.abc import Generator
from decimal import Decimal

import psycopg
import pytest

from meltica.errors import Conflict, DatabaseUnavailable, NotFound, OrderRefused
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.server import wait_until
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading import clock, service
from meltica.trading.balances import SETTLES_WITHIN
from meltica.trading.operator import Act
from meltica.trading.order import PositionKey
from meltica.trading.risk.scopes import GLOBAL, InstanceState, Scope
from tests.support.risk import BTC
from tests.support.trading_world import PATIENCE, TradingWorld

ACT = Act("alice", "too hot")
INSTANCE = Scope(HaltScope.INSTANCE, "a")
ACTIONS = "select action, subject, acted_by, reason from operator_actions order by id"
AUDIT = (
    "select action, subject, actor, after ->> 'reason', extract(epoch from acted_at) from audit order by id"
)


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    with TradingWorld(database_url, lock).on_lossy_account() as world:
        yield world


@pytest.mark.parametrize("scope", [GLOBAL, Scope.provider("p"), INSTANCE])
def test_a_halt_cancels_the_open_orders_and_is_recorded_until_a_resume(
    world: TradingWorld, scope: Scope
) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    assert world.operate(lambda operator: operator.halt(scope, ACT))
    assert world.query("select scope, subject, rule, reason, halted_by from halts") == [
        (scope.kind, scope.name, "operator", "too hot", "alice")
    ]
    with pytest.raises(OrderRefused, match="halted: too hot"):
        world.buy("1", "99")
    world.wait_for("cancelled")
    assert order.state is OrderState.CANCELLED
    assert not world.operate(lambda operator: operator.halt(scope, Act("bob", "again")))
    assert world.operate(lambda operator: operator.resume(scope, Act("bob", "cooled")))
    assert world.call(lambda: world.trader.trading).on
    world.buy("1", "98")
    assert not world.operate(lambda operator: operator.resume(scope, Act("bob", "cooled")))
    assert world.query(ACTIONS) == [
        ("halt", str(scope), "alice", "too hot"),
        ("resume", str(scope), "bob", "cooled"),
    ]
    assert world.query("select cleared_by from halts") == [("bob",)]


def test_a_halt_of_risk_is_resumed_although_it_was_raised_just_now(world: TradingWorld) -> None:
    with world.desk.lock:
        world.risk.halt(INSTANCE, "lost 5 %", "meltica", clock.now())
    assert world.operate(lambda operator: operator.resume(INSTANCE, ACT))
    assert world.call(lambda: world.trader.trading).on
    assert world.query("select halted_by, cleared_by from halts") == [("meltica", "alice")]


def test_a_resume_ends_the_cooldown_of_a_breaker(world: TradingWorld) -> None:
    state = world.risk.registry.state(INSTANCE)
    assert isinstance(state, InstanceState)
    state.breaches.closed_at, state.breaches.cooldown = clock.now() + 10**12, 10**12
    with pytest.raises(OrderRefused, match="circuit breaker"):
        world.buy("1", "99")
    assert world.operate(lambda operator: operator.resume(INSTANCE, ACT))
    world.buy("1", "99")
    assert world.query(ACTIONS) == [("resume", "instance:a", "alice", "too hot")]


def test_a_halt_acts_without_the_database_and_is_recorded_when_it_is_back(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "RECORD_SECONDS", 0.2)
    world.buy("1", "99")
    world.wait_for("acknowledged")
    with psycopg.connect(world.url, options="-c search_path=meltica") as connection:
        connection.execute("lock table operator_actions in access exclusive mode")
        with pytest.raises(DatabaseUnavailable, match="not recorded yet"):
            world.operate(lambda operator: operator.halt(GLOBAL, ACT))
        world.wait_for("cancelled")
        with pytest.raises(OrderRefused, match="halted"):
            world.buy("1", "99")
        acted_before = clock.now()
    monkeypatch.undo()
    world.operate(lambda operator: operator.recorded())
    assert world.query(ACTIONS) == [("halt", "global", "alice", "too hot")]
    [(*row, acted_at)] = world.query(AUDIT)
    assert row == ["risk.halt", "global", "alice", "too hot"]
    assert acted_at < acted_before / 10**9


@pytest.mark.parametrize("act", [Act("", "why"), Act("alice", " ")])
def test_nothing_happens_without_who_and_why(world: TradingWorld, act: Act) -> None:
    with pytest.raises(ValueError, match="who acts and why"):
        world.operate(lambda operator: operator.halt(GLOBAL, act))
    assert world.call(lambda: world.trader.trading).on


def test_an_operator_ends_an_unknown_order(world: TradingWorld) -> None:
    order = world.buy_unknown()
    with pytest.raises(OrderRefused, match="unknown"):
        world.buy("1", "99")
    with pytest.raises(Conflict, match="expected CANCELLED, REJECTED or EXPIRED"):
        world.operate(lambda operator: operator.resolve(order.id, OrderState.FILLED, ACT))
    world.operate(lambda operator: operator.resolve(order.id, OrderState.REJECTED, ACT))
    world.wait_for("rejected")
    assert world.query("select state, reason from orders") == [("REJECTED", "resolved by alice: too hot")]
    assert world.query(ACTIONS) == [("resolve", str(order.id), "alice", "too hot")]
    assert world.risk.free("p", "USDT") == 1_000_000
    with pytest.raises(Conflict, match="not UNKNOWN"):
        world.operate(lambda operator: operator.resolve(order.id, OrderState.REJECTED, ACT))
    world.buy("1", "98")


def test_an_operator_queries_an_order(world: TradingWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    world.venue.report = lambda _: None  # the stream is mute
    world.venue.book("98.50", "98.90")
    assert order.state is OrderState.ACK
    world.operate(lambda operator: operator.query(order.id, ACT))
    world.wait_for("filled")
    assert world.query(ACTIONS) == [("query", str(order.id), "alice", "too hot")]


def _differ(world: TradingWorld, amount: str) -> None:
    total = Decimal(1_000_000) + Decimal(amount)
    world.desk.balance("p", Mode.LIVE, "USDT", Balance(total, total, clock.now()))


def _let_faults_begin(world: TradingWorld) -> None:
    with world.desk.lock:
        world.books.check(clock.now())
        world.books.check(clock.now() + SETTLES_WITHIN)


def test_a_difference_is_booked_only_while_it_is_a_fault(world: TradingWorld) -> None:
    """A fill on its way explains a younger one: booked, its money would be there twice."""
    _differ(world, "-100")
    with pytest.raises(Conflict, match="may settle by itself; book it when it is a fault"):
        world.operate(lambda operator: operator.book("p", Mode.LIVE, "USDT", Decimal(-100), ACT))
    _let_faults_begin(world)
    world.operate(lambda operator: operator.book("p", Mode.LIVE, "USDT", Decimal(-100), ACT))
    assert world.books.lines("p", "USDT").difference == 0


def test_an_operator_books_a_difference_once(world: TradingWorld) -> None:
    _differ(world, "0.5")
    _let_faults_begin(world)
    assert world.books.lines("p", "USDT").difference == Decimal("0.5")
    for amount in ("0.4", "0"):
        with pytest.raises(Conflict, match=r"the difference, which is 0\.5"):
            world.operate(lambda op, n=amount: op.book("p", Mode.LIVE, "USDT", Decimal(n), ACT))
    world.operate(lambda operator: operator.book("p", Mode.LIVE, "USDT", Decimal("0.50"), ACT))
    assert world.books.lines("p", "USDT").difference == 0
    with pytest.raises(Conflict, match="which is 0"):
        world.operate(lambda operator: operator.book("p", Mode.LIVE, "USDT", Decimal("0.5"), ACT))
    assert world.query(
        "select currency, amount, booked_by, note from ledger_entries where kind = 'booking'"
    ) == [("USDT", Decimal("0.50"), "alice", "too hot")]
    assert world.query(ACTIONS) == [("book", "p:live:USDT", "alice", "too hot")]


def test_an_operator_releases_the_position_of_an_instance_that_does_not_run(world: TradingWorld) -> None:
    world.buy("2", "100.01")
    world.wait_for("filled")
    before = world.books.lines("p", "BTC")
    with pytest.raises(Conflict, match="it is running; stop it first"):
        world.operate(lambda operator: operator.release(world.owner, ACT))
    resting = world.buy("1", "50")
    world.wait_for("acknowledged")
    world.desk.detach(world.owner)
    with pytest.raises(Conflict, match="it has open orders; cancel them first"):
        world.operate(lambda operator: operator.release(world.owner, ACT))
    machine = world.desk.find(resting.id)
    assert machine is not None
    world.desk.apply(machine, lambda m, now: m.cancel(now))
    assert wait_until(lambda: machine.record.state.is_final, PATIENCE)
    position = world.positions.get(PositionKey(world.owner, "p", BTC))
    assert position is not None
    realised, cost = position.realised, position.cost
    world.operate(lambda operator: operator.release(world.owner, ACT))
    assert (position.quantity, position.cost, position.realised) == (0, 0, realised)
    after, money = world.books.lines("p", "BTC"), world.books.lines("p", "USDT")
    assert (after.instances, after.not_ours, after.difference) == (0, before.not_ours + 2, 0)
    assert (money.difference, cost) == (0, Decimal("200.02"))
    assert world.query("select quantity, cost from positions") == [(0, 0)]
    entries = world.query("select kind::text, currency, amount from ledger_entries order by 1, 2")
    events = world.query(
        "select payload->>'kind', payload->>'currency', (payload->>'amount')::numeric from outbox"
        " where (aggregate_type, aggregate_id, event_type) = ('balance', 'p', 'balance.entry') order by 1, 2"
    )
    assert len(entries) == 4
    assert events == entries
    assert world.query(
        "select currency, amount, booked_by, note from ledger_entries where kind = 'inventory' order by 1"
    ) == [("BTC", 2, "alice", "too hot"), ("USDT", Decimal("-200.02"), "alice", "too hot")]
    assert world.query(ACTIONS) == [("release", "a", "alice", "too hot")]
    with pytest.raises(NotFound, match="a has no position, mode live"):
        world.operate(lambda operator: operator.release(world.owner, ACT))
    # A restart has the same lines.
    assert world.risk.registry.lane(world.owner, "p", BTC).position == 0
