"""What trading costs, with a real database and a paper account: `python -m tests.support.trading_cost`.

`place()` is the CPU time of the calling thread, the least of many short runs, so it holds on a loaded
machine. The other figures are elapsed times, which other programs on the machine increase. F is the time of
an empty call. A parameter names the folder of the database, for example one in memory.
"""

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from meltica.errors import OrderRefused
from meltica.model.account import LastCheck, unchecked
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState, Side
from meltica.model.fills import Fill
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.model.trader import Order
from meltica.persistence import migrate
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.simulator.paper.orders import PaperReport
from meltica.trading import clock
from tests.support.risk import BTC
from tests.support.risk_cost import floor
from tests.support.trading_world import TradingWorld

ORDERS, ROUNDS = 500, 20
SECONDS = 3
PATIENCE = 30


def place_cost() -> float:
    """Returns the least CPU time of `place()`, in ns, for an order that risk approves."""
    costs: list[float] = []
    for _ in range(ROUNDS):
        # Trading is not started: what is pushed to its loop waits, and no other thread runs.
        world = TradingWorld("", GatewayLock(""))
        world.desk.set_reconciled("p", Mode.LIVE, reconciled=True)
        million = Decimal(1_000_000)
        for currency in ("USDT", "BTC"):
            world.desk.balance("p", Mode.LIVE, currency, Balance(million, million, clock.now()))
        place = world.trader.place
        gc.collect()
        gc.disable()
        start = time.thread_time_ns()
        for _ in range(ORDERS):
            place(Side.BUY, BTC, "0.5", "99")
        costs.append((time.thread_time_ns() - start) / ORDERS)
        gc.enable()
        assert world.host.stop()
    return min(costs)


class Load:
    """Orders that are filled at once, placed on the instance's host at a rate."""

    def __init__(self, world: TradingWorld) -> None:
        self._world = world
        self.sending: list[int] = []
        """Nanoseconds from `place()` to the request at the venue."""
        self.calling: list[int] = []
        """Nanoseconds from the report of a fill to its callback."""
        self.refused = Counter[str | None]()
        """Why orders were refused, by `place()` or later."""
        self._reported: dict[str, int] = {}
        self._submit, world.account.submit = world.account.submit, self._submitted
        self._report, world.venue.report = world.venue.report, self._reports
        world.trader.on_callback = self._called

    async def _submitted(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        placed = self._world.trader.order(order.client_order_id)
        assert placed is not None
        self.sending.append(clock.now() - placed.requested_at)
        return await self._submit(order, last_check)

    def _reports(self, report: PaperReport) -> None:
        if report.fill is not None:
            self._reported[report.order.client_order_id] = clock.now()
        self._report(report)

    def _called(self, _name: str, order: Order, fill: Fill | None, _reason: str | None) -> None:
        if order.state is OrderState.REJECTED:
            self.refused[order.reason] += 1
        if fill is not None:
            self.calling.append(clock.now() - self._reported[order.client_order_id])

    def run(self, rate: int) -> float:
        """Places orders for some seconds; returns how many were filled per second, until the last end."""
        self.refused.clear()
        self.sending.clear()
        self.calling.clear()
        count = rate * SECONDS
        start = time.perf_counter()
        for number in range(count):
            self._world.instance.post(self._place)
            time.sleep(max(0.0, start + (number + 1) / rate - time.perf_counter()))
        while len(self.calling) + self.refused.total() < count and time.perf_counter() < start + PATIENCE:
            time.sleep(0.001)
        return len(self.calling) / (time.perf_counter() - start)

    def _place(self) -> None:
        if self._world.market.quotes["p", BTC].top_time < clock.now() - 10**9:
            self._world.quote()
        try:
            self._world.trader.place(Side.BUY, BTC, "0.1", "100.01")
        except OrderRefused as refused:
            self.refused[refused.reason] += 1


@contextmanager
def _database() -> Generator[str]:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        Path(folder).chmod(0o755)  # the server runs as another user
        cluster = EmbeddedPostgres(Path(folder) / "database")
        cluster.start()
        try:
            yield cluster.dsn
        finally:
            cluster.stop()


def load_costs(url: str, rates: Iterable[int]) -> None:
    """Prints the elapsed times at some rates."""

    async def locked() -> GatewayLock:
        await migrate.up(url)
        lock = GatewayLock(url)
        await lock.acquire()
        await lock.claim()
        return lock

    with asyncio.Runner() as runner:
        world = TradingWorld(url, runner.run(locked()))
        world.start()
        load = Load(world)
        for rate in rates:
            filled = load.run(rate)
            print(
                f"{rate} orders/s: {filled:.0f} filled/s, refused {dict(load.refused)}"
                f"; order -> venue {_percentiles(load.sending)}"
                f"; report of a fill -> callback {_percentiles(load.calling)}"
            )
        world.close()


def _percentiles(times: list[int]) -> str:
    ordered = sorted(times) or [0]
    return f"p50 {statistics.median(ordered) / 1e6:.2f} p99 {ordered[len(ordered) * 99 // 100] / 1e6:.2f} ms"


def main() -> None:
    """Prints the figures."""
    empty, place = floor(), place_cost()
    print(f"place() with risk {place / 1000:.1f} us ({place / empty:.0f} F)")
    print(f"F, an empty call: {empty:.0f} ns")
    with _database() as url:
        load_costs(url, (100, 1000))


if __name__ == "__main__":
    main()
