"""What would refuse an order of an instance now: each obstacle is listed while it lasts."""

from collections.abc import Generator
from decimal import Decimal

import pytest

from meltica.model.enums import Mode
from meltica.persistence.lock import GatewayLock
from meltica.trading import clock
from meltica.trading.faults import FaultKind, TradingFault
from meltica.trading.obstacles import Obstacle, obstacles
from meltica.trading.risk.scopes import GLOBAL, Scope
from tests.support.trading_world import TradingWorld

BTC = "BTC-USDT"


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    with TradingWorld(database_url, lock).on_lossy_account() as world:
        yield world


def found(world: TradingWorld, **scope: tuple[str, ...]) -> list[Obstacle]:
    return obstacles(world.desk, world.owner, scope or {"p": (BTC,)}, world.trading.faults())


def test_halts_of_every_scope_are_listed(world: TradingWorld) -> None:
    assert found(world) == []
    with world.desk.lock:
        for scope in (GLOBAL, Scope.provider("p"), Scope.instance(world.owner)):
            world.risk.halt(scope, "too hot", "alice", clock.now())
    assert [(each.rule, each.subject, each.detail) for each in found(world)] == [
        ("halted", scope, "halted by alice: too hot") for scope in ("global", "provider:p", "instance:a")
    ]
    with world.desk.lock:
        for scope in (GLOBAL, Scope.provider("p"), Scope.instance(world.owner)):
            world.risk.resume(scope, "alice", clock.now())
    assert found(world) == []


def test_an_order_in_state_unknown_is_listed_with_its_id(world: TradingWorld) -> None:
    order = world.buy()
    world.wait_for("acknowledged")
    assert found(world) == []
    with world.desk.lock:
        world.risk.set_unknown(order.id, unknown=True)
    [each] = found(world)
    assert (each.rule, each.subject, each.id) == ("unknown_order", "p BTC-USDT", str(order.id))
    assert f"order {order.client_order_id} of a is unknown" in each.detail


def test_an_account_that_is_not_reconciled_is_listed_once(world: TradingWorld) -> None:
    faults = [TradingFault(FaultKind.NOT_RECONCILED, "the account is reconciling", "p", Mode.LIVE)]
    world.desk.set_reconciled("p", Mode.LIVE, reconciled=False)
    listed = obstacles(world.desk, world.owner, {"p": (BTC,)}, faults)
    assert listed == [Obstacle("not_reconciled", "the account is reconciling", "p live")]
    # Without the fault, as while the provider is stopped, the rule says it.
    world.desk.connect("p", Mode.LIVE, None)
    listed = obstacles(world.desk, world.owner, {"p": (BTC,)}, [])
    assert [(each.rule, each.subject) for each in listed] == [("not_reconciled", "a")]


def test_a_market_without_fresh_prices_is_listed(world: TradingWorld) -> None:
    with world.desk.lock:
        limits = world.risk.registry.scopes[GLOBAL].limits
        fresh = limits.model_copy(update={"stale_market_seconds": Decimal(1)})
        world.risk.registry.set_limits(GLOBAL, fresh)
    quote = world.market.quotes["p", BTC]
    quote.top_time = clock.now() - 5 * 10**9
    [each] = found(world)
    assert (each.rule, each.subject) == ("market_stale", "p BTC-USDT")
    assert "ms old" in each.detail
    del world.market.quotes["p", BTC]
    [each] = found(world)
    assert (each.rule, "neither bid and ask" in each.detail) == ("no_reference", True)


def test_faults_of_other_instances_accounts_and_modes_are_not_listed(world: TradingWorld) -> None:
    others = [
        TradingFault(FaultKind.NOT_RECONCILED, "x", "q", Mode.LIVE),
        TradingFault(FaultKind.NOT_RECONCILED, "x", "p", Mode.PAPER),
        TradingFault(FaultKind.LEDGER_FROZEN, "x", subject="b"),
        TradingFault(FaultKind.ABSENT_INSTANCE, "x", subject="a"),
    ]
    assert obstacles(world.desk, world.owner, {"p": (BTC, "*")}, others) == []
    own = [
        TradingFault(FaultKind.NO_ORDERS, "lock_not_held"),
        TradingFault(FaultKind.LEDGER_FROZEN, "x", subject="a"),
        TradingFault(FaultKind.DIFFERENCE, "1", "p", Mode.LIVE, "USDT"),
    ]
    assert [(each.rule, each.subject) for each in obstacles(world.desk, world.owner, {"p": (BTC,)}, own)] == [
        ("no_orders", ""),
        ("ledger_frozen", "a"),
        ("difference", "p live USDT"),
    ]


def test_a_symbol_that_the_venue_does_not_trade_is_listed(world: TradingWorld) -> None:
    with world.desk.lock:
        world.risk.registry.set_instance(
            world.owner,
            {"p": (BTC, "ETH-USDT")},
            world.risk.registry.scopes[Scope.instance(world.owner)].limits,  # pyright: ignore[reportArgumentType]
        )
    listed = found(world, p=(BTC, "ETH-USDT"))
    assert [(each.rule, each.subject) for each in listed] == [
        ("instrument", "p ETH-USDT"),
        ("no_reference", "p ETH-USDT"),
    ]
