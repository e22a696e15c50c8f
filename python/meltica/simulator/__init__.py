"""The simulated exchange: a matching engine to try orders on, exact and deterministic.

    from decimal import Decimal

    from meltica.simulator import MatchingEngine

    engine = MatchingEngine("BTC-USDT", tick_size="0.01", lot_size="0.0001")
    engine.submit("ask", "sell", "0.5", "60000")
    [fill] = engine.submit("bid", "buy", "0.2", "60010")
    assert (fill.price, engine.remaining("ask")) == (60000, Decimal("0.3"))

`docs/simulator.md` tells the rules it matches by.
"""

from meltica._core import MatchingEngine
from meltica.errors import OrderRefused
from meltica.simulator.types import Balance, BookLevel, Fill, OrderBook

__all__ = ["Balance", "BookLevel", "Fill", "MatchingEngine", "OrderBook", "OrderRefused"]
