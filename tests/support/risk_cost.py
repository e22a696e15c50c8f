"""What an approval costs, with every limit set at every scope: `python -m tests.support.risk_cost`."""

import gc
import timeit
from collections import deque
from decimal import Decimal
from time import process_time_ns

from meltica._core import Core
from meltica.trading import clock
from meltica.trading.market_view import MarketFeed
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits
from meltica.trading.risk.market import Market
from tests.support.risk import BTC, BUY, START, RiskWorld, expected_sums, sums

ORDERS, ROUNDS = 2000, 9
LIMITS: dict[str, object] = {
    "maxPositionSize": 1_000_000,
    "maxNotionalValue": 1_000_000_000,
    "maxConcurrentOrders": 1_000_000,
    "maxOpenOrders": 1_000_000,
    "maxOrderSize": 1000,
    "priceBandPercent": 5,
    "staleMarketSeconds": 10,
    "maxFeedLag": "1s",
    "orderThrottle": 1_000_000,
    "orderBurst": 1_000_000,
    "maxDailyLoss": 1000,
}


class _Empty:
    def method(self, value: object) -> None: ...


def limited_world(now: int = START) -> RiskWorld:
    """Returns a world in which every rule applies and no order is refused."""
    world = RiskWorld(
        GlobalRiskLimits.model_validate(LIMITS),
        provider=RiskLimits.model_validate(LIMITS),
        instance=InstanceRiskLimits.model_validate(LIMITS | {"capital": 1000, "maxDrawdownPercent": 10}),
        fee_rate="0.001",
    )
    world.now = now
    world.market.set(BTC, "59999.99", "60000.01", time=now).lag = 5
    world.balances["p", "USDT"] = Decimal(10_000_000_000)
    for scope in list(world.risk.registry.scopes):
        world.risk.mark(scope, Decimal(0), Decimal(1000), world.now)
    world.hold(100)
    return world


def floor() -> float:
    """Returns the least time of an empty call, in ns."""
    method, values = _Empty().method, [None] * 10_000
    times = timeit.repeat(lambda: deque(map(method, values), maxlen=0), number=20, repeat=9)
    return min(times) / 200_000 * 1e9


def market_of_the_core(core: Core) -> MarketFeed:
    """Returns the market that a gateway has, with a book of BTC-USDT."""
    market = MarketFeed(core)
    market.watch({("p", BTC)})
    levels = {
        side: [{"price": str(price + sign * step), "quantity": "1"} for step in range(25)]
        for side, price, sign in (("bids", Decimal("59999.99"), -1), ("asks", Decimal("60000.01"), 1))
    }
    core.producer("p").publish("BookSnapshot", BTC, levels, venue_time=clock.now())
    return market


def quote_cost(market: Market) -> float:
    """Returns the least time of a quote, in ns."""
    times = timeit.repeat(lambda: market.quote("p", BTC), number=10_000, repeat=9)
    return min(times) / 10_000 * 1e9


def measure(market: Market | None = None) -> tuple[float, float]:
    """Returns the least CPU time of an approval and of a release, in ns.

    Without a market, it is a dictionary.
    """
    approvals: list[float] = []
    releases: list[float] = []
    for _ in range(ROUNDS):
        world = limited_world(START if market is None else clock.now())
        requests = [world.request(BUY, "0.0123", "60000.01") for _ in range(ORDERS)]
        approve, release, now = world.risk.approve, world.risk.release, world.now
        seen = world.market if market is None else market
        gc.collect()
        gc.disable()
        start = process_time_ns()
        for request in requests:
            approve(request, seen, now)
        middle = process_time_ns()
        for request in requests:
            release(request.order_id)
        end = process_time_ns()
        gc.enable()
        assert sums(world.risk) == expected_sums(world.risk)
        approvals.append((middle - start) / ORDERS)
        releases.append((end - middle) / ORDERS)
    return min(approvals), min(releases)


def main() -> None:
    """Prints the figures."""
    empty, market = floor(), market_of_the_core(Core())
    approval, release = measure(market)
    figures = {"approve": approval, "release": release, "quote": quote_cost(market)}
    figures["approve with a market in a dictionary"] = measure()[0]
    market.close()
    for name, cost in figures.items():
        print(f"{name} {cost / 1000:.2f} us ({cost / empty:.0f} F)")
    print(f"F, an empty call: {empty:.0f} ns")


if __name__ == "__main__":
    main()
