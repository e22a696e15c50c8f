"""Amendments that race with fills, cancels, lost answers and reconnects: ours equals the venue's ledger."""

import contextlib
import random
from collections import defaultdict
from collections.abc import Generator
from decimal import Decimal
from threading import Event

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, Side
from meltica.model.fills import START
from meltica.model.trader import Order
from meltica.persistence.lock import GatewayLock
from meltica.trading import clock
from tests.support.lossy_account import Fate
from tests.support.risk import BTC
from tests.support.trading_world import PATIENCE, TradingWorld

STEPS = 120
FATES = [Fate.ANSWER_LOST, Fate.LATE, Fate.NEVER_ARRIVES]


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    with TradingWorld(database_url, lock).on_lossy_account() as world:
        yield world


class Race:
    """Random actions on the orders of one world."""

    def __init__(self, world: TradingWorld, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.orders: list[Order] = []

    def step(self) -> None:
        """Does something, and waits for a moment or not at all."""
        chance, world = self.chance, self.world
        if chance.random() < 0.2:
            # Not those of new orders: an unknown one refuses all others of its symbol.
            world.lossy.fates[chance.choice(["amend", "amend", "cancel"])].append(chance.choice(FATES))
        if sum(order.is_open for order in self.orders) < 4:
            self.place()
        actions = [self.place, self.amend, self.amend, self.amend, self.cancel, self.fill, self.fill]
        chance.choice([*actions, self.late, self.amend_and_cancel, self.disconnect, self.stop])()
        Event().wait(chance.choice([0, 0.002, 0.01, 0.03]))

    def place(self) -> None:
        """Places an order that rests."""
        quantity, price = str(self.chance.randint(1, 5)), f"99.{self.chance.randint(10, 60)}"
        with contextlib.suppress(OrderRefused):
            self.orders.append(self.world.buy(quantity, price))

    def some(self) -> Order | None:
        """Returns one of the open orders."""
        found = [order for order in self.orders if order.is_open]
        return self.chance.choice(found) if found else None

    def amend(self) -> None:
        """Amends an order up or down, below what may be filled by then, too."""
        order = self.some()
        if order is None:
            return
        quantity = self.chance.choice([None, str(self.chance.randint(1, 8))])
        price = (
            f"99.{self.chance.randint(10, 60)}" if quantity is None or self.chance.random() < 0.5 else None
        )
        with contextlib.suppress(OrderRefused):
            self.world.call(lambda: self.world.trader.amend(order, price=price, quantity=quantity))

    def cancel(self) -> None:
        """Cancels an order."""
        order = self.some()
        if order is not None:
            self.world.call(lambda: self.world.trader.cancel(order))

    def amend_and_cancel(self) -> None:
        """Amends an order and cancels it in the same callback."""
        order = self.some()
        if order is None:
            return

        def both() -> None:
            with contextlib.suppress(OrderRefused):
                self.world.trader.amend(order, quantity="7")
            self.world.trader.cancel(order)

        self.world.call(both)

    def fill(self) -> None:
        """Trades at the venue, through some of the orders."""
        price, quantity = Decimal(f"99.{self.chance.randint(5, 60)}"), Decimal(self.chance.randint(1, 4)) / 2

        async def trade() -> None:
            self.world.account.trade(BTC, price, quantity, Side.SELL, clock.now())

        self.world.call_loop(trade)

    def late(self) -> None:
        """Lets late requests arrive."""
        self.world.call_loop(self.world.lossy.carry_out_late)

    def stop(self) -> None:
        """Stops the instance for a moment, as while a callback does not return."""
        world = self.world
        world.desk.stop_orders(world.owner)
        if self.chance.random() < 0.5:
            world.call(lambda: world.trader.cancel_all())
        Event().wait(self.chance.choice([0, 0.002]))
        with world.desk.lock:
            world.desk.gate.open(world.owner)

    def disconnect(self) -> None:
        """Loses the stream for a moment."""
        if self.chance.random() < 0.2:
            self.world.lossy.disconnect()

    def settle(self) -> None:
        """Ends all orders, and waits until each is certain."""
        world, deadline = self.world, clock.now() + int(PATIENCE * 10**9)
        for fates in world.lossy.fates.values():
            fates.clear()
        while True:
            self.late()
            world.call(lambda: world.trader.cancel_all())
            with world.desk.lock.reading:
                left = [each.record for each in world.desk.open_machines()]
            if not left and not any(order.is_open for order in self.orders):
                return
            assert clock.now() < deadline, left
            Event().wait(0.02)


@pytest.mark.parametrize("seed", range(6))
def test_ours_equals_the_ledger_of_the_venue(world: TradingWorld, seed: int) -> None:
    race = Race(world, seed)
    for _ in range(STEPS):
        race.step()
    race.settle()
    venue: defaultdict[str, Decimal] = defaultdict(Decimal)
    for fill in world.call_loop(lambda: world.account.fills_since({BTC: START})):
        venue[fill.client_order_id] += fill.quantity
    for order in race.orders:
        theirs = world.call_loop(lambda order=order: world.account.order(BTC, order.client_order_id))
        assert order.filled_quantity == venue[order.client_order_id], order
        if theirs is not None:
            assert (order.state, order.quantity) == (theirs.state, theirs.quantity), order
            assert order.price == theirs.price, order
        else:
            assert order.filled_quantity == 0
        assert not order.pending_amend
    [position] = [each.quantity for each in world.positions] or [Decimal(0)]
    assert position == sum(venue.values())
    assert world.risk.reservations.all() == []
    balances = world.call_loop(world.account.balances)
    for currency, balance in balances.items():
        world.desk.balance("p", Mode.LIVE, currency, balance)
        assert world.books.lines("p", currency).difference == 0, currency
    assert world.desk.lock.failure is None
    # Each change was sent at most once.
    for name in ("submit",):
        ids = world.lossy.requests[name]
        assert len(ids) == len(set(ids))
