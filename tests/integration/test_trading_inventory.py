"""Inventories: coins that instances take over, once, and never more than are of no instance."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from meltica.errors import ConfigError
from meltica.model.enums import Mode, Side
from meltica.model.trader import Inventory, Trader, TradingSpec
from meltica.persistence.lock import GatewayLock
from meltica.trading.balances import Lines
from meltica.trading.instances import Instances
from meltica.trading.order import Owner, PositionKey
from meltica.trading.positions import Position
from tests.support.risk import BTC
from tests.support.strategy_world import Venues
from tests.support.trading_world import IDS, PaperVenue, TradingWorld, timings

UIDS = {name: uuid4() for name in ("x", "y")}


class InventoryWorld:
    """A gateway whose venue has 1,000 BTC of no instance, with the instances `x` and `y`."""

    def __init__(self, url: str, lock: GatewayLock, venue: PaperVenue, uids: Mapping[str, UUID]) -> None:
        self.world = TradingWorld(url, lock, venue)
        self.uids = uids
        self.world.start()
        world = self.world
        self.instances = Instances(
            world.trading, world.positions, world.market, IDS, timings, Venues(), uids.__getitem__
        )

    async def open(self, name: str, quantity: str | None, price: str = "90") -> Trader:
        """Opens an instance with an inventory of BTC, and waits until it may start."""
        inventory = (
            {}
            if quantity is None
            else {("p", BTC): Inventory(quantity=Decimal(quantity), price=Decimal(price))}
        )
        spec = TradingSpec(instance=name, scope={"p": (BTC,)}, dry_run=False, inventory=inventory)
        trader = self.instances.open(spec, self.world.instance.post)
        try:
            await self.instances.ready(trader)
        except ConfigError:
            await self.instances.close(trader)
            raise
        return trader

    def position(self, name: str) -> Position | None:
        """Returns the position of an instance."""
        return self.world.positions.get(PositionKey(Owner(name, self.uids[name], Mode.LIVE), "p", BTC))

    def lines(self, currency: str) -> Lines:
        """Returns the four lines of a currency."""
        return self.world.books.lines("p", currency)


async def test_an_inventory_can_be_sold_and_its_profit_is_measured_from_its_price(
    database_url: str, lock: GatewayLock
) -> None:
    world = InventoryWorld(database_url, lock, PaperVenue(), UIDS)
    trader = await world.open("x", "0.5")
    position = world.position("x")
    assert position is not None
    assert (position.quantity, position.average_price) == (Decimal("0.5"), 90)
    assert world.lines("BTC") == Lines(Decimal(1000), Decimal("0.5"), Decimal("999.5"), Decimal(0))
    assert world.lines("USDT") == Lines(Decimal(1_000_000), Decimal(-45), Decimal(1_000_045), Decimal(0))
    assert trader.position(BTC).sellable == Decimal("0.5")
    order: Any = world.world.call(lambda: trader.place(Side.SELL, BTC, "all", "99.99"))
    world.world.wait_until(lambda: order.filled_quantity == Decimal("0.5"))
    assert trader.position(BTC).realised_pnl == Decimal("0.5") * (Decimal("99.99") - 90)
    assert [world.lines(each).difference for each in ("BTC", "USDT")] == [0, 0]
    await world.instances.close(trader)
    world.world.close()


async def test_an_inventory_is_moved_once_also_over_restarts(database_url: str, lock: GatewayLock) -> None:
    venue = PaperVenue()
    for _ in range(3):
        world = InventoryWorld(database_url, lock, venue, UIDS)
        for _ in range(2):
            await world.instances.close(await world.open("x", "0.5"))
        position = world.position("x")
        assert position is not None
        assert (position.quantity, position.average_price) == (Decimal("0.5"), 90)
        assert world.lines("BTC") == Lines(Decimal(1000), Decimal("0.5"), Decimal("999.5"), Decimal(0))
        world.world.close()
    # Another creation of the instance has a ledger of its own.
    world = InventoryWorld(database_url, lock, venue, {"x": uuid4()})
    await world.instances.close(await world.open("x", "0.5"))
    assert world.lines("BTC").not_ours == 999
    world.world.close()


@pytest.mark.parametrize(("quantity", "price"), [("0.6", "90"), ("0.4", "90"), ("0.5", "91")])
async def test_a_changed_inventory_is_refused(
    database_url: str, lock: GatewayLock, quantity: str, price: str
) -> None:
    venue = PaperVenue()
    for restart in (False, True):
        world = InventoryWorld(database_url, lock, venue, UIDS)
        if not restart:
            await world.instances.close(await world.open("x", "0.5"))
        with pytest.raises(ConfigError, match=r"moved 0\.5 BTC at 90 before"):
            await world.open("x", quantity, price)
        assert world.lines("BTC").instances == Decimal("0.5")
        # Without the setting, nothing more is moved and nothing goes back.
        await world.instances.close(await world.open("x", None))
        assert world.lines("BTC").instances == Decimal("0.5")
        world.world.close()


async def test_inventories_never_pass_what_is_of_no_instance(database_url: str, lock: GatewayLock) -> None:
    world = InventoryWorld(database_url, lock, PaperVenue(), UIDS)
    with pytest.raises(
        ConfigError, match=r"expected at most 1000 BTC, which are of no instance, saw 1000\.1"
    ):
        await world.open("y", "1000.1")
    trader = await world.open("x", "600")
    with pytest.raises(ConfigError, match="expected at most 400 BTC"):
        await world.open("y", "600")
    assert world.position("y") is None
    assert world.lines("BTC") == Lines(Decimal(1000), Decimal(600), Decimal(400), Decimal(0))
    await world.instances.close(trader)
    world.world.close()
