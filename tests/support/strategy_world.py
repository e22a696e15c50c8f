"""A strategy on a paper account, with a real database, a real host and the default risk limits."""

from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

from meltica import _core
from meltica.lambdas.base import Lambda
from meltica.lambdas.instances import LambdaInstance, add_instance
from meltica.lambdas.trading_side import TradingSide
from meltica.model.enums import Mode
from meltica.model.trader import TradingSpec
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.server import wait_until
from meltica.trading.instances import Instances
from meltica.trading.risk.limits import GlobalRiskLimits
from meltica.trading.risk.scopes import GLOBAL
from tests.support.risk import BTC
from tests.support.trading_world import IDS, PATIENCE, PaperVenue, TradingWorld, timings

T = TypeVar("T")
UID = uuid4()
SCOPE = {"p": (BTC,)}


class Venues:
    """The one venue, which is connected."""

    def fault(self, provider: str, mode: Mode) -> str | None:
        return None

    def use(self, provider: str, mode: Mode) -> None:
        return None

    def refresh(self) -> None:
        return None


def _uid(_instance: str) -> UUID:
    return UID


class StrategyWorld:
    """One run of a strategy: the instance `s`, which trades BTC-USDT at the provider `p`."""

    run: LambdaInstance

    def __init__(self, world: TradingWorld) -> None:
        self.world = world
        self.core = _core.Core()
        self.host = self.core.host("thread")
        self.producer = self.core.producer("p")
        self.instances = Instances(world.trading, world.positions, world.market, IDS, timings, Venues(), _uid)
        self._trades = 0

    @property
    def side(self) -> TradingSide:
        """The trading side of the run."""
        assert self.run.trading is not None
        return self.run.trading

    async def start(
        self,
        cls: type[Lambda],
        config: Mapping[str, object] | None = None,
        on_stop: Literal["cancel", "keep"] = "cancel",
    ) -> None:
        """Starts the strategy, as the manager does."""
        assert self.host.stop()
        self.host = self.core.host("thread")
        self.run = add_instance(self.host, cls, id="s", scope=SCOPE, config=config)
        spec = TradingSpec(instance="s", scope=SCOPE, dry_run=False, on_stop=on_stop)
        self.side.open(self.instances, spec)
        await self.side.ready()
        self.side.load()
        self.run.start()

    async def stop(self) -> None:
        """Stops the strategy, as the manager does."""
        self.side.stop_orders()
        assert self.run.stop(PATIENCE)
        await self.side.close(failed=False)

    def quote(self, bid: str, ask: str) -> None:
        """Sets the market, and publishes its ticker."""
        self.world.quote(bid, ask)
        assert self.producer.publish("Ticker", BTC, {"bidPrice": bid, "askPrice": ask})

    def quote_book(self, bid: str, ask: str) -> None:
        """Sets the market, and publishes nothing."""
        self.world.quote(bid, ask)

    def trade(self, *prices: str) -> None:
        """Publishes trades; the book stays as it is."""
        for price in prices:
            self._trades += 1
            trade = {"tradeId": str(self._trades), "side": "Buy", "price": price, "quantity": "1"}
            assert self.producer.publish("Trade", BTC, trade)

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function on the strategy's host, as a callback would; returns its result or raises."""
        done = Future[T]()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        assert self.run.core.post(run)
        return done.result(PATIENCE)

    def orders(self) -> list[tuple[str, str, str]]:
        """Returns side, price and state of the open orders."""
        with self.world.desk.lock:
            records = [each.record for each in self.world.desk.open_machines()]
        return [(each.side.value, f"{each.limit_price:f}", each.state.value) for each in records]

    def wait_orders(self, *wanted: tuple[str, str]) -> None:
        """Waits until exactly these orders, by side and price, are at the venue."""
        expected = [(side, price, "ACK") for side, price in wanted]
        self.wait(lambda: sorted(self.orders()) == sorted(expected), self.orders)

    def position(self) -> str:
        """Returns the quantity of the position."""
        with self.world.desk.lock:
            positions = [each for each in self.world.positions if each.key.owner.instance == "s"]
        return f"{sum(each.quantity for each in positions):f}"

    def wait(self, condition: Callable[[], bool], state: Callable[[], object] = lambda: None) -> None:
        """Waits until a condition holds."""
        assert wait_until(condition, PATIENCE), (state(), self.run.stats()["last_error"])

    def wait_position(self, quantity: str) -> None:
        """Waits until the position has a quantity."""
        self.wait(lambda: self.position() == quantity, self.position)

    def errors(self) -> Any:
        """Returns the count of errors in callbacks."""
        return self.run.stats()["errors"]


@asynccontextmanager
async def strategy_world(url: str, venue: PaperVenue | None = None) -> AsyncGenerator[StrategyWorld]:
    """Opens a world on a database; with the `venue` of an earlier one, it goes on there."""
    lock = GatewayLock(url)
    await lock.acquire()
    await lock.claim()
    world = TradingWorld(url, lock, venue)
    world.risk.registry.set_limits(GLOBAL, GlobalRiskLimits())
    world.start()
    strategies = StrategyWorld(world)
    yield strategies
    world.close()
    assert strategies.host.stop()
    await lock.release()
