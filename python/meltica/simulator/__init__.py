"""The simulated exchange: a matching engine to try orders on, exact and deterministic.

    from decimal import Decimal

    from meltica.simulator import MatchingEngine

    engine = MatchingEngine("BTC-USDT", tick_size="0.01", lot_size="0.0001")
    engine.submit("ask", "sell", "0.5", "60000")
    [trade] = engine.submit("bid", "buy", "0.2", "60010")
    assert (trade.price, engine.remaining("ask")) == (60000, Decimal("0.3"))

`docs/simulator.md` documents the rules of matching.
"""

from meltica._core import MatchingEngine
from meltica.errors import OrderRefused
from meltica.model.balances import Balance
from meltica.model.books import BookLevel, OrderBook
from meltica.model.fills import EngineTrade

__all__ = ["Balance", "BookLevel", "EngineTrade", "MatchingEngine", "OrderBook", "OrderRefused"]
