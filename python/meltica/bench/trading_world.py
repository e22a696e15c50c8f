"""Trading of one instance on a simulated account in this process, for benchmarks."""

import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from uuid import uuid4

from meltica import _core
from meltica.adapters.fake.adapter import ACCOUNT, FakeAdapter
from meltica.adapters.fake.settings import FakeSettings
from meltica.bench.gateway import temporary_folder
from meltica.model.balances import Balance
from meltica.model.enums import Mode, Side
from meltica.model.instruments import Instrument
from meltica.model.trader import Order
from meltica.persistence import migrate
from meltica.persistence.database import Database, PoolOptions
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.trading import clock
from meltica.trading.account_feed import AccountFeed
from meltica.trading.balances import Balances
from meltica.trading.client_ids import ClientOrderIds
from meltica.trading.desk import Desk
from meltica.trading.market_view import MarketFeed
from meltica.trading.order import Owner
from meltica.trading.positions import Positions
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import Scope
from meltica.trading.service import Storage, Trading
from meltica.trading.trader import InstanceTrader
from meltica.trading.transitions import Timings

PROVIDER, SYMBOL = "bench", "BTC-USDT"
LIMITS: dict[str, object] = {
    "maxPositionSize": 1_000_000,
    "maxNotionalValue": 1_000_000_000,
    "maxConcurrentOrders": 1_000_000,
    "maxOpenOrders": 1_000_000,
    "maxOrderSize": 1000,
    "priceBandPercent": 5,
    "staleMarketSeconds": 10,
    "maxFeedLag": "1m",
    "orderThrottle": 1_000_000,
    "orderBurst": 1_000_000,
    "maxDailyLoss": 1_000_000,
}
"""Every limit, at every scope. No order of a benchmark reaches one."""
PATIENCE = 30.0


class TradingWorld:
    """One instance with every limit of risk. Its market runs; nothing is sent before `trade`."""

    def __init__(self) -> None:
        core = _core.Core()
        settings = FakeSettings.model_validate(
            {
                "symbols": [SYMBOL],
                "price_model": {"volatility": 0, "shock_probability": 0},
                "trade_model": {"min_quantity": "10", "max_quantity": "100"},
                "balances": {"USDT": "1000000000000"},
            }
        )
        self.adapter = FakeAdapter(settings)
        self.adapter.bind_name(PROVIDER)
        self.adapter.start({PROVIDER: core.producer(PROVIDER)})
        self.owner = Owner("bench", uuid4(), Mode.LIVE)
        self.balances = Balances(Mode.LIVE)
        self.risk = Risk(Mode.LIVE, self.balances, GlobalRiskLimits.model_validate(LIMITS))
        self.market = MarketFeed(core)
        self.positions = Positions()
        self.desk = Desk(
            {Mode.LIVE: self.risk}, self.positions, {Mode.LIVE: self.balances}, self.market, clock.now
        )
        self._register()
        self.feed = AccountFeed(core, self.desk)
        self.host = core.host("thread")
        self.instance = self.host.add("bench", callbacks={}, routes=[])
        self.instance.start()
        self.trading = Trading(self.desk, self._open_storage, timings)
        self.trader = InstanceTrader(
            self.owner,
            {PROVIDER: (SYMBOL,)},
            self.desk,
            self.risk,
            self.positions,
            self.market,
            ClientOrderIds("bch"),
            timings,
            self.trading.push,
            self.instance.post,
            self.instance.trigger,
        )
        self.trader.attach()
        self._market_thread = threading.Thread(
            target=self.adapter.run, name="meltica-bench-market", daemon=True
        )
        self._market_thread.start()
        self.price = self._wait_for_price()

    def _register(self) -> None:
        registry = self.risk.registry
        registry.set_limits(Scope.provider(PROVIDER), RiskLimits.model_validate(LIMITS))
        limits = InstanceRiskLimits.model_validate(LIMITS | {"capital": 1000000, "maxDrawdownPercent": 50})
        registry.set_instance(self.owner, {PROVIDER: (SYMBOL,)}, limits)
        for listed in self.adapter.instruments():
            registry.set_instrument(PROVIDER, Instrument.from_payload(listed), self.adapter.fee_rate)
        for scope in list(registry.scopes):
            self.risk.mark(scope, Decimal(0), Decimal(1_000_000), clock.now())

    def _wait_for_price(self) -> Decimal:
        """Returns a price at which a buy order fills at once."""
        self.market.watch({(PROVIDER, SYMBOL)})
        self.wait_for(self._has_book)
        quote = self.market.quote(PROVIDER, SYMBOL)
        assert quote is not None
        assert quote.ask is not None
        return (quote.ask * Decimal("1.01")).quantize(Decimal("0.01"))

    def _has_book(self) -> bool:
        quote = self.market.quote(PROVIDER, SYMBOL)
        return quote is not None and quote.ask is not None and quote.of_book

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition is true. Raises RuntimeError after `PATIENCE`."""
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until:
                raise RuntimeError(f"the benchmark waited for {PATIENCE:g} s; try a machine with less load")
            time.sleep(0.001)

    def fund(self) -> None:
        """Lets orders pass risk without an account."""
        self.desk.connect(PROVIDER, Mode.LIVE, self.adapter.account)
        gaps = self.desk.accounts.link(PROVIDER, Mode.LIVE).gaps
        self.desk.set_reconciled(PROVIDER, Mode.LIVE, reconciled=True, gaps=gaps)
        for currency in ("USDT", "BTC"):
            amount = Decimal(1_000_000_000)
            self.desk.balance(PROVIDER, Mode.LIVE, currency, Balance(amount, amount, clock.now()))

    def buy(self) -> Order:
        """Buys the least useful amount."""
        return self.trader.place(Side.BUY, SYMBOL, "0.001", self.price)

    def rest(self) -> Order:
        """Places an order below the market, which stays open."""
        return self.trader.place(Side.BUY, SYMBOL, "0.001", self.price * Decimal("0.97"), round=True)

    def lose_reports(self) -> None:
        """Lets the account count as not reconciled until its orders, fills and balances are read again."""
        with self.desk.lock:
            self.desk.accounts.lose_reports(PROVIDER, Mode.LIVE)
        self.desk.wake()

    def send(self, order: Order) -> Order:
        """Lets an order pass for committed and sent."""
        machine = self.desk.find(order.id)
        assert machine is not None
        self.desk.apply(machine, lambda m, now: m.committed(now))
        if not self.desk.pass_last_check(machine, order.requested_at):
            raise RuntimeError("an order was not sent: it may not leave, or is too late")
        return order

    def fill(self, order: Order) -> None:
        """Fills an order at the venue, which reports it."""
        self.adapter.market.submit(
            order.client_order_id, SYMBOL, "buy", order.quantity, self.price, "GTC", False, account=ACCOUNT
        )

    @contextmanager
    def trade(self) -> Generator[None]:
        """Trades on the account of the market, with an embedded PostgreSQL of its own."""
        with temporary_folder() as folder, EmbeddedPostgres(folder / "pg") as server:
            self._dsn = server.dsn
            self.feed.watch({PROVIDER})
            self.desk.connect(PROVIDER, Mode.LIVE, self.adapter.account)
            self.trading.start()
            try:
                self.wait_for(lambda: bool(self.trader.trading))
                yield
            finally:
                self.trading.stop(PATIENCE)

    @asynccontextmanager
    async def _open_storage(self) -> AsyncGenerator[Storage]:
        await migrate.up(self._dsn)
        lock = GatewayLock(self._dsn)
        await lock.acquire()
        try:
            await lock.claim()
            async with await Database.open(self._dsn, PoolOptions(min_size=1, max_size=2)) as database:
                yield GroupCommitWriter(database, lock), TradingLoader(database)
        finally:
            await lock.release()

    def close(self) -> None:
        """Ends all threads."""
        self.adapter.stop()
        self._market_thread.join()
        self.feed.close()
        self.host.stop()
        self.market.close()


def timings(_provider: str, _mode: Mode) -> Timings:
    """Returns the intervals of an account in this process."""
    return Timings(arrives_within=0)
