"""Trading of one instance on a paper account, with a real database and a real host."""

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import psycopg

from meltica import _core
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState, Side
from meltica.model.fills import Fill
from meltica.model.trader import Order
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.server import wait_until
from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.simulator.paper.account import PaperAccount
from meltica.simulator.paper.orders import PaperReport
from meltica.simulator.paper.settings import PaperSettings
from meltica.trading import clock
from meltica.trading.balances import Balances
from meltica.trading.client_ids import ClientOrderIds
from meltica.trading.desk import Desk
from meltica.trading.operator import Operator
from meltica.trading.order import Owner
from meltica.trading.positions import Positions
from meltica.trading.risk.risk import Risk
from meltica.trading.service import Trading
from meltica.trading.trader import InstanceTrader
from meltica.trading.transitions import Timings
from tests.support.lossy_account import Fate, LossyAccount
from tests.support.risk import BTC, UNLIMITED, FakeMarket, instrument

PATIENCE = 20.0
IDS = ClientOrderIds("tst")
T = TypeVar("T")


def timings(_provider: str, _mode: Mode = Mode.LIVE) -> Timings:
    """Returns intervals that are short enough for tests."""
    return Timings(arrives_within=10**9, answers_apart=10**8, cancel_pace=10**8, query_pace=10**8)


class OutlivingAccount(PaperAccount):
    """A paper account that stands for one of a venue: it outlives the gateways that trade on it."""

    @property
    def is_volatile(self) -> bool:
        return False


class PaperVenue:
    """A paper account with a book of 1,000 at 99.99 and 100.01. It outlives the worlds that trade on it."""

    def __init__(self, *, quantity_increment: str = "0.0001", fee_in: str = "quote") -> None:
        balances = {"USDT": 1_000_000, "BTC": 1000}
        settings = PaperSettings.model_validate(
            {"latency": "0s", "quiet": "1ms", "balances": balances, "feeIn": fee_in}
        )
        self.account = OutlivingAccount(settings, self._publish, clock.now)
        self.account.list_instrument(
            {
                "symbol": BTC,
                "priceIncrement": "0.01",
                "quantityIncrement": quantity_increment,
                "minNotional": "10",
            }
        )
        self.report: Callable[[PaperReport], object] = lambda _: None
        """Receives what the stream of the account reports; it is dropped while no gateway runs."""
        self.book()

    def book(self, bid: str = "99.99", ask: str = "100.01") -> None:
        """Sets the book."""
        thousand = Decimal(1000)
        self.account.book(BTC, [(Decimal(bid), thousand)], [(Decimal(ask), thousand)], clock.now())

    def _publish(self, report: PaperReport, _balances: Mapping[str, Balance]) -> None:
        self.report(report)


class TradingWorld:
    """A gateway with an instance `a` that trades BTC-USDT at the provider `p`."""

    lossy: LossyAccount
    """The account in front of the venue's, in tests of lost requests."""
    operator: Operator
    """Used on trading's loop: see `operate`."""

    def __init__(
        self, url: str, lock: GatewayLock, venue: PaperVenue | None = None, uid: UUID | None = None
    ) -> None:
        self.url = url
        self.venue = venue or PaperVenue()
        self.market = FakeMarket()
        self.positions = Positions()
        self.owner = Owner("a", uid or uuid4(), Mode.LIVE)
        self.books = Balances(Mode.LIVE)
        self.risk = Risk(Mode.LIVE, self.books, UNLIMITED)
        self.desk = Desk(
            {Mode.LIVE: self.risk},
            self.positions,
            {Mode.LIVE: self.books},
            self.market,
            clock.now,
            has_mark=IDS.has_mark,
        )
        self.account = self.venue.account
        self.venue.report = self._report
        self._lock = lock
        self.trading = Trading(self.desk, self._open_storage, timings)
        self.callbacks: list[tuple[str, Order, Fill | None, str | None]] = []
        self.trading_changes: list[tuple[str, bool, str | None]] = []
        self._called = threading.Condition()
        self.on_trade: Callable[[_core.Trade], object] = lambda _: None
        """The callback of the trades that `producer` publishes."""
        self._register()

    @contextmanager
    def on_lossy_account(self) -> Generator[Self]:
        """Trades on an account that loses requests, until the end of the block."""
        self.lossy = LossyAccount(self.account)
        self.desk.connect("p", Mode.LIVE, self.lossy)
        self.start()
        yield self
        self.close()

    def _register(self) -> None:
        registry = self.risk.registry
        registry.set_instrument("p", instrument(BTC), Decimal("0.001"))
        registry.set_instance(self.owner, {"p": (BTC,)}, _limits())
        self.quote()
        self.market.depths["p", BTC] = Decimal(1000)
        core = _core.Core()
        self.host = core.host("thread")
        self.producer = core.producer("p")
        routes = [("p", "Trade", BTC)]
        self.instance = self.host.add("a", callbacks={"Trade": self._trade}, routes=routes)
        self.instance.start()
        self.trader = InstanceTrader(
            self.owner,
            {"p": (BTC,)},
            self.desk,
            self.risk,
            self.positions,
            self.market,
            IDS,
            timings,
            self.trading.push,
            self.instance.post,
            self.instance.trigger,
        )
        self.trader.on_callback = self._callback
        self.trader.on_trading_changed = self._trading_changed
        self.trader.attach()
        self.desk.connect("p", Mode.LIVE, self.account)

    @asynccontextmanager
    async def _open_storage(self) -> AsyncGenerator[tuple[GroupCommitWriter, TradingLoader]]:
        async with await Database.open(self.url) as database:
            self.operator = Operator(self.trading, HaltStore(database), IDS)
            yield GroupCommitWriter(database, self._lock), TradingLoader(database)

    def _trade(self, trade: _core.Trade) -> None:
        self.on_trade(trade)

    def _report(self, report: PaperReport) -> None:
        self.desk.report("p", Mode.LIVE, report.order, report.fill)

    def _callback(self, name: str, order: Order, fill: Fill | None, reason: str | None) -> None:
        with self._called:
            self.callbacks.append((name, order, fill, reason))
            self._called.notify_all()

    def _trading_changed(self, provider: str, on: bool, why: str | None) -> None:
        with self._called:
            self.trading_changes.append((provider, on, why))
            self._called.notify_all()

    def wait_for_changes(self, count: int) -> list[tuple[str, bool, str | None]]:
        """Waits until the strategy was notified that orders go out, or do not, so many times."""
        with self._called:
            assert self._called.wait_for(lambda: len(self.trading_changes) >= count, PATIENCE)
            return list(self.trading_changes)

    def quote(self, bid: str = "99.99", ask: str = "100.01") -> None:
        """Sets the market of risk and of the account."""
        self.market.set(BTC, bid, ask, time=clock.now())
        self.venue.book(bid, ask)

    def start(self) -> None:
        """Starts trading, and waits until the account is reconciled."""
        self.trading.start()
        while not self.call(lambda: self.trader.trading):
            pass

    def call(self, function: Callable[[], Any]) -> Any:
        """Calls a function on the instance's host, as a callback would; returns its result or raises."""
        done, result = threading.Event(), list[Any]()

        def run() -> None:
            try:
                result.append(function())
            except BaseException as error:
                result.append(error)
            done.set()

        assert self.instance.post(run)
        assert done.wait(PATIENCE)
        if isinstance(result[0], BaseException):
            raise result[0]
        return result[0]

    def call_loop(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs a coroutine on trading's loop; returns its result."""
        return self.trading._loop.wait(work)  # pyright: ignore[reportPrivateUsage]

    def operate(self, act: Callable[[Operator], Awaitable[T]]) -> T:
        """Carries out an action of the operator; returns its result."""
        return self.call_loop(lambda: act(self.operator))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a query in a session of its own."""
        with psycopg.connect(self.url, options="-c search_path=meltica") as connection:
            return connection.execute(statement.encode()).fetchall()

    def buy(self, quantity: str = "1", price: str | None = "50", **options: Any) -> Order:
        """Buys on the instance's host."""
        order = self.call(lambda: self.trader.place(Side.BUY, BTC, quantity, price, **options))
        assert isinstance(order, Order)
        return order

    def buy_unknown(self, quantity: str = "1", price: str = "99") -> Order:
        """Buys by a request that is late; the order is UNKNOWN until `lossy.carry_out_late`, however late."""

        def place() -> Order:
            placed = self.trader.place(Side.BUY, BTC, quantity, price)
            machine = self.desk.find(placed.id)
            assert machine is not None
            machine.timings = machine.timings._replace(arrives_within=10**12)
            return placed

        self.lossy.fates["submit"].append(Fate.LATE)
        order: Order = self.call(place)
        self.wait_until(lambda: order.state is OrderState.UNKNOWN)
        return order

    def wait_for(self, *names: str) -> None:
        """Waits until the strategy received callbacks of these names, in this order, beside others."""
        with self._called:
            assert self._called.wait_for(lambda: _contains(self.names, list(names)), PATIENCE), self.names

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition holds, which a callback of the strategy may change."""
        assert wait_until(condition, PATIENCE)

    @property
    def names(self) -> list[str]:
        """The callbacks so far, without `on_order_`."""
        return [name.removeprefix("on_order_") for name, *_ in self.callbacks]

    def close(self) -> None:
        """Stops trading and the host. The venue goes on without a listener."""
        self.venue.report = lambda _: None
        assert self.trading.stop()
        assert self.host.stop()


def _contains(names: list[str], wanted: list[str]) -> bool:
    remaining = iter(names)
    return all(name in remaining for name in wanted)


def _limits() -> Any:
    from meltica.trading.risk.limits import InstanceRiskLimits

    return InstanceRiskLimits()
