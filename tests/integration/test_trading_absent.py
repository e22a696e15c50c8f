"""Orders and positions of instances and providers that an edit of the configuration removed."""

from collections.abc import Generator
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from meltica.model.enums import Mode, Side
from meltica.model.trader import OnStop, Trader, TradingSpec
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.server import wait_until
from meltica.trading.absent import Configured, unmanaged
from meltica.trading.accounts import AccountLink
from meltica.trading.faults import FaultKind
from meltica.trading.instances import Instances
from meltica.trading.order import Owner, PositionKey
from meltica.trading.risk.limits import InstanceRiskLimits
from tests.support.lossy_account import LossyAccount
from tests.support.risk import BTC, instrument
from tests.support.strategy_world import Venues
from tests.support.trading_world import IDS, PATIENCE, PaperVenue, TradingWorld, timings

OTHER = Owner("b", UUID(int=2), Mode.LIVE)


class AbsentWorld(TradingWorld):
    """A gateway whose provider `p` is renamed to `q` in the configuration."""

    def rename(self, *configured: str) -> AccountLink:
        """Gives the account of `p` to `q`, and returns its link."""
        desk, registry = self.desk, self.risk.registry
        desk.configured = Configured(configured)
        desk.connect("p", Mode.LIVE, None)
        registry.set_instrument("q", instrument(BTC), Decimal("0.001"))
        registry.set_instance(OTHER, {"q": (BTC,)}, InstanceRiskLimits())
        self.venue.report = lambda report: desk.report("q", Mode.LIVE, report.order, report.fill)
        desk.connect("q", Mode.LIVE, self.account)
        return desk.accounts.link("q", Mode.LIVE)

    def alias(self) -> AccountLink:
        """Gives the account of `p` to `q` as well; returns the link of `q`."""
        link = self.rename("p", "q")
        self.desk.connect("p", Mode.LIVE, LossyAccount(self.account))
        return link

    def exchange(self) -> AccountLink:
        """Gives the account of `p` to `q` and another account to `p`; returns the link of `q`."""
        link = self.rename("p", "q")
        self.desk.connect("p", Mode.LIVE, PaperVenue().account)
        return link

    def restore_name(self) -> None:
        """Gives the account back to `p`."""
        self.desk.configured = Configured({"p"})
        self.venue.report = self._report
        self.desk.connect("q", Mode.LIVE, None)
        # Each run of a provider has another account.
        self.desk.connect("p", Mode.LIVE, LossyAccount(self.account))

    def faults(self) -> list[tuple[FaultKind, str | None, str | None]]:
        """Returns kind, provider and subject of the faults."""
        return [(each.kind, each.provider, each.subject) for each in self.trading.faults()]

    def open(
        self, provider: str, on_stop: OnStop = "cancel", symbols: tuple[str, ...] = (BTC,)
    ) -> tuple[Instances, Trader]:
        """Opens the instance `a` with a provider as its scope."""
        instances = Instances(
            self.trading, self.positions, self.market, IDS, timings, Venues(), lambda _: self.owner.uid
        )
        spec = TradingSpec(instance="a", scope={provider: symbols}, dry_run=False, on_stop=on_stop)
        return instances, instances.open(spec, self.instance.post)


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[AbsentWorld]:
    world = AbsentWorld(database_url, lock)
    world.start()
    yield world
    world.close()


@pytest.mark.parametrize("is_filled", [False, True])
def test_an_order_of_an_absent_provider_is_of_no_other_account(world: AbsentWorld, is_filled: bool) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    if is_filled:
        world.venue.report = lambda _: None
        world.venue.book("98.50", "98.90")
    link = world.rename("q")
    assert wait_until(lambda: link.misplaced == (order.client_order_id,), PATIENCE)
    misplaced = (FaultKind.MISPLACED_ORDER, "q", order.client_order_id)
    assert (link.ready, misplaced in world.faults()) == (False, True)
    assert (FaultKind.UNREACHABLE_ORDER, "p", order.client_order_id) in world.faults()
    if not is_filled:
        world.venue.book("98.50", "98.90")
        assert world.books.lines("q", "BTC").not_ours == 1000, "its stream does not book the fill either"
    assert world.query("select * from ledger_entries where kind = 'foreign_fill'") == []
    world.restore_name()
    world.wait_for("filled")
    assert world.positions.quantity(PositionKey(world.owner, "p", BTC)) == 1


def test_what_was_booked_before_a_rename_does_not_stop_the_account(world: AbsentWorld) -> None:
    world.buy("2", "100.01")
    world.wait_for("filled")
    link = world.rename("q")
    assert wait_until(lambda: link.ready, PATIENCE)
    assert (FaultKind.ABSENT_PROVIDER, "p", "a") in world.faults()


def test_two_names_of_one_account_are_foreign_to_each_other(world: AbsentWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    link = world.rename("p", "q")
    why = f"order {order.client_order_id} of provider `p`, which does not run; start it"
    assert wait_until(lambda: why in (link.problem or ""), PATIENCE)
    world.desk.connect("p", Mode.LIVE, LossyAccount(world.account))
    assert wait_until(lambda: link.ready, PATIENCE)
    assert link.misplaced == ()


@pytest.mark.parametrize("is_filled", [False, True])
def test_an_order_of_a_provider_whose_account_was_exchanged_is_of_no_other(
    world: AbsentWorld, is_filled: bool
) -> None:
    order = world.buy("1", "100.01" if is_filled else "99")
    world.wait_for("filled" if is_filled else "acknowledged")
    link = world.exchange()
    assert wait_until(lambda: link.misplaced == (order.client_order_id,), PATIENCE)
    assert (FaultKind.MISPLACED_ORDER, "q", order.client_order_id) in world.faults()
    if not is_filled:
        world.venue.book("98.50", "98.90")
    assert not link.ready
    assert world.query("select * from ledger_entries where kind = 'foreign_fill'") == []
    world.restore_name()
    world.wait_for("filled")
    assert world.positions.quantity(PositionKey(world.owner, "p", BTC)) == 1
    assert wait_until(lambda: world.books.lines("p", "BTC").difference == 0, PATIENCE)


def test_the_comparison_finds_an_order_of_an_absent_provider(
    world: AbsentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltica.trading.comparison.EVERY", 0.1)
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    link = world.alias()
    assert wait_until(lambda: link.ready, PATIENCE)
    world.desk.configured = Configured({"q"})
    assert wait_until(lambda: link.misplaced == (order.client_order_id,), PATIENCE)


@pytest.mark.parametrize("change", ["symbol", "none"])
def test_a_live_position_that_a_run_does_not_trade_is_named(
    world: AbsentWorld, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    world.buy("2", "100.01")
    world.wait_for("filled")
    named = "does not trade its live position of 2 BTC-USDT at p"
    paper = world.owner._replace(mode=Mode.PAPER)
    with world.desk.lock:
        assert unmanaged(world.desk, world.owner, {"p": ("*",)}) == []
        assert unmanaged(world.desk, paper, {"p": ("*",)}) == ["2 BTC-USDT at p"]
    world.open("p", symbols=("ETH-USDT",) if change == "symbol" else (BTC,))
    assert (named in caplog.text) is (change == "symbol")


def test_an_absent_instance_is_a_fault_while_it_has_something(world: AbsentWorld) -> None:
    world.desk.configured = Configured({"p"}, lambda _: world.owner.uid)
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    assert world.faults() == []
    world.desk.configured = Configured({"p"}, lambda _: uuid4())
    [fault] = world.trading.faults()
    assert (fault.kind, fault.subject) == (FaultKind.ABSENT_INSTANCE, "a")
    assert f"it has order {order.client_order_id} at p; put it back" in fault.detail
    world.call(lambda: world.trader.cancel(order))
    world.wait_for("cancelled")
    assert world.faults() == []
    world.buy("2", "100.01")
    world.wait_for("filled")
    [fault] = world.trading.faults()
    assert "it has 2 BTC-USDT at p; put it back" in fault.detail


@pytest.mark.parametrize(("quantity", "is_fault"), [("0.0001", True), ("0.00009", False)])
def test_a_position_below_the_least_order_is_no_fault(
    world: AbsentWorld, quantity: str, is_fault: bool
) -> None:
    world.positions.transfer(PositionKey(world.owner, "p", BTC), Decimal(quantity), Decimal(100))
    world.desk.configured = Configured({"p"}, lambda _: None)
    assert bool(world.faults()) is is_fault


def test_an_instance_does_not_start_while_it_has_something_at_an_absent_provider(world: AbsentWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    link = world.alias()
    assert wait_until(lambda: link.ready, PATIENCE)
    world.desk.configured = Configured({"q"})
    instances, trader = world.open("q", "keep")
    text = f"the end of order {order.client_order_id} at p, which is not configured"
    assert instances.waits_for(trader) == text
    machine = world.desk.find(order.id)
    assert machine is not None
    world.positions.transfer(PositionKey(world.owner, "p", BTC), Decimal(2), Decimal(100))
    world.restore_name()
    world.desk.apply(machine, lambda m, now: m.cancel(now))
    world.wait_for("cancelled")
    world.desk.configured = Configured({"q"})
    assert instances.waits_for(trader) == "its position of 2 BTC-USDT at p, which is not configured"
    world.desk.configured = Configured({"p", "q"})
    assert instances.waits_for(trader) == "the live account of q is not reconciled"


@pytest.mark.parametrize(("failed", "ends"), [(True, True), (False, False)])
async def test_an_instance_that_fails_keeps_no_order(
    database_url: str, lock: GatewayLock, failed: bool, ends: bool
) -> None:
    world = AbsentWorld(database_url, lock)
    world.start()
    instances, trader = world.open("p", "keep")
    await instances.ready(trader)
    order = world.call(lambda: trader.place(Side.BUY, BTC, "1", "99"))
    assert wait_until(lambda: bool(trader.orders()) and order.sent_at is not None, PATIENCE)
    await instances.close(trader, failed=failed)
    machine = world.desk.find(order.id)
    assert machine is not None
    assert machine.record.cancel_wanted is ends
    world.close()
