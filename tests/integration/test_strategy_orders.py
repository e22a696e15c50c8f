"""What a strategy sees of its orders: callbacks, positions and balances, and what it missed."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest

import meltica
from meltica import OrderState
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.operator import Act
from meltica.trading.risk.scopes import Scope
from tests.support.risk import BTC
from tests.support.strategy_world import StrategyWorld, strategy_world


class Sees(meltica.Lambda):
    """Notes each callback with what it reads there."""

    places_orders = True

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []

    def note(self, name: str, order: meltica.Order, *more: object) -> None:
        self.notes.append((name, order.state, self.position(BTC).quantity, *more))

    def on_start(self) -> None:
        self.notes.append(("start", len(self.orders()), self.position(BTC).quantity))

    def on_trade(self, trade: meltica.Trade) -> None:
        self.notes.append(("trade", trade.price))

    def on_order_acknowledged(self, order: meltica.Order) -> None:
        self.note("acknowledged", order)

    def on_order_filled(self, order: meltica.Order, fill: meltica.Fill | None) -> None:
        assert fill is not None
        self.note("filled", order, fill.price, self.fills(order) == (fill,), order.recovered)

    def on_order_cancelled(self, order: meltica.Order) -> None:
        self.note("cancelled", order, order.recovered)

    def on_order_amended(self, order: meltica.Order) -> None:
        self.note("amended", order, order.price, order.quantity)

    def on_order_amend_rejected(self, order: meltica.Order) -> None:
        self.note("amend rejected", order, order.reason)

    def on_save(self) -> object:
        return len(self.notes)

    def on_load(self, state: object) -> None:
        self.notes.append(("load", state))


class StopsBadly(Sees):
    """Places an order in `on_stop`."""

    def on_stop(self) -> None:
        try:
            self.buy(BTC, 1, 90)
        except meltica.OrderRefused as refused:
            self.notes.append(("stop", refused.rule, bool(self.trading)))
        self.cancel_all()


@pytest.fixture(name="world")
async def _world(database_url: str) -> AsyncGenerator[StrategyWorld]:
    async with strategy_world(database_url) as world:
        yield world


async def _started(world: StrategyWorld, cls: type[Sees] = Sees) -> Sees:
    await world.start(cls)
    world.quote_book("99.99", "100.01")
    subject = world.run.subject
    assert isinstance(subject, Sees)
    return subject


def _names(subject: Sees) -> list[str]:
    return [note[0] for note in subject.notes]


async def test_order_position_and_balance_hold_what_a_callback_reports(world: StrategyWorld) -> None:
    subject = await _started(world)
    before = world.call(lambda: subject.balance("USDT"))

    def buy() -> tuple[meltica.Order, OrderState]:
        placed = subject.buy(BTC, "0.5", price="99.50", tag="entry")
        return placed, placed.state

    order, state = world.call(buy)
    assert (state, order.tag, order.remaining_quantity) == (OrderState.PENDING, "entry", Decimal("0.5"))
    world.wait(lambda: _names(subject) == ["start", "acknowledged"])
    assert world.call(lambda: subject.orders(BTC, tag="entry")) == [order]
    assert world.call(lambda: subject.order(order.client_order_id)) is order
    world.quote_book("99.00", "99.02")
    world.wait(lambda: _names(subject)[-1] == "filled")
    assert subject.notes[1:] == [
        ("acknowledged", OrderState.ACK, 0),
        ("filled", OrderState.FILLED, Decimal("0.5"), Decimal("99.50"), True, False),
    ]
    fees = world.call(lambda: subject.position(BTC).fees)
    assert before is not None
    assert world.call(lambda: subject.balance("USDT")) == before - Decimal("49.75") - fees["USDT"]
    assert world.call(lambda: subject.pnl().fees) == fees["USDT"]


async def test_an_order_is_amended_and_cancelled(world: StrategyWorld) -> None:
    subject = await _started(world)
    order = world.call(lambda: subject.buy(BTC, cost=1000, price=99))
    world.wait(lambda: _names(subject)[-1] == "acknowledged")
    world.call(lambda: subject.amend(order, price="99.10", quantity=2))
    world.wait(lambda: _names(subject)[-1] == "amended")
    assert subject.notes[-1] == ("amended", OrderState.ACK, 0, Decimal("99.10"), 2)
    world.call(lambda: subject.cancel(order))
    world.wait(lambda: _names(subject)[-1] == "cancelled")


async def test_a_position_is_closed(world: StrategyWorld) -> None:
    subject = await _started(world)
    world.call(lambda: subject.buy(BTC, 2, 100))
    world.quote_book("99.97", "99.99")
    world.wait(lambda: _names(subject)[-1] == "filled")
    closing = world.call(lambda: subject.close(BTC))
    assert closing is not None
    world.wait(lambda: not closing.is_open)
    assert world.call(lambda: (subject.position(BTC).flat, subject.close(BTC))) == (True, None)


async def test_all_orders_are_cancelled(world: StrategyWorld) -> None:
    subject = await _started(world)
    placed = [world.call(lambda price=price: subject.buy(BTC, 1, price)) for price in (99, "99.10")]
    world.wait(lambda: _names(subject).count("acknowledged") == 2)

    def cancel_all() -> list[bool]:
        subject.cancel_all()
        return [each.pending_cancel for each in placed]

    assert world.call(cancel_all) == [True, True]
    world.wait(lambda: _names(subject).count("cancelled") == 2)
    assert [each.state for each in placed] == [OrderState.CANCELLED] * 2


@pytest.mark.parametrize(
    ("arguments", "options", "rule"),
    [
        ((BTC, "0.00001", 99), {}, "quantity_increment"),
        ((BTC, 1, "99.001"), {}, "price_increment"),
        ((BTC, "0.01", 99), {}, "min_notional"),
        ((BTC, 1, 50), {}, "price_band"),
        (("ETH-USDT", 1, 99), {}, "out_of_scope"),
        ((BTC, 1, 99), {"time_in_force": "GTX"}, "invalid_order"),
        ((BTC,), {}, "invalid_order"),
        ((7, 1, 99), {}, "invalid_order"),
        ((BTC, 1, 99), {"tag": "\ud800"}, "invalid_order"),
        ((BTC, 1, 99), {"tag": "a\0b"}, "invalid_order"),
        ((BTC, 1, 99), {"tag": "x" * 257}, "invalid_order"),
        ((BTC, 1, 99), {"tag": 7}, "invalid_order"),
        ((BTC, 1, 99), {"expires_in": 1e11}, "invalid_order"),
    ],
)
async def test_a_refused_order_names_its_rule(
    world: StrategyWorld, arguments: tuple[Any, ...], options: dict[str, Any], rule: str
) -> None:
    subject = await _started(world)
    with pytest.raises(meltica.OrderRefused) as refused:
        world.call(lambda: subject.buy(*arguments, **options))
    assert (refused.value.rule, world.orders()) == (rule, [])


async def test_orders_in_on_stop_are_refused_and_cancels_go_out(world: StrategyWorld) -> None:
    subject = await _started(world, StopsBadly)
    world.call(lambda: subject.buy(BTC, 1, 99))
    world.wait(lambda: _names(subject)[-1] == "acknowledged")
    await world.stop()
    assert subject.notes[-1] == ("stop", "instance_stopping", False)
    world.wait(lambda: not world.orders())


async def test_what_happened_while_it_was_stopped_is_delivered_once_and_before_events(
    database_url: str,
) -> None:
    async with strategy_world(database_url) as world:
        await world.start(Sees, on_stop="keep")
        world.quote_book("99.99", "100.01")
        subject = world.run.subject
        assert isinstance(subject, Sees)
        world.call(lambda: subject.buy(BTC, 1, "99.50"))
        kept = world.call(lambda: subject.buy(BTC, 1, "99.10"))
        first = subject
        world.wait(lambda: _names(first).count("acknowledged") == 2)
        await world.stop()
        venue = world.world.venue
    venue.book("99.20", "99.22")
    async with strategy_world(database_url, venue) as world:
        for run in range(2):
            await world.start(Sees, on_stop="keep")
            subject = world.run.subject
            assert isinstance(subject, Sees)
            notes = subject.notes
            world.trade("99.21")
            world.wait(lambda notes=notes: notes[-1][0] == "trade")
            missed = [("filled", OrderState.FILLED, 1, Decimal("99.50"), True, True)] if run == 0 else []
            assert subject.notes[1:] == [("start", 1, 1), *missed, ("trade", 99.21)]
            assert subject.notes[0][0] == "load"
            assert [each.client_order_id for each in world.call(subject.orders)] == [kept.client_order_id]
            await world.stop()


class Controlled(Sees):
    """Notes what risk blocks."""

    def on_risk_control(self, control: meltica.RiskControl) -> None:
        shown = (control.strategy_id, control.provider, control.symbol, control.status, control.breach_type)
        self.notes.append((*shown, control.reason, control.kill_switch_engaged, bool(self.trading)))


async def test_halts_are_events_of_the_strategy(world: StrategyWorld) -> None:
    await world.start(Controlled)
    scope = Scope(HaltScope.INSTANCE, "s")
    world.world.operate(lambda operator: operator.halt(scope, Act("alice", "prices look wrong")))
    triggered = ("s", "p", BTC, "TRIGGERED", "operator", "prices look wrong", True, False)
    subject = world.run.subject
    assert isinstance(subject, Controlled)
    world.wait(lambda: triggered in subject.notes)
    world.world.operate(lambda operator: operator.resume(scope, Act("alice", "they are right")))
    cleared = ("s", "p", BTC, "CLEARED", "operator", "prices look wrong", False, True)
    world.wait(lambda: cleared in subject.notes)
    assert world.errors() == 0
    await world.stop()
