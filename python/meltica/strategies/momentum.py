from collections import deque
from decimal import Decimal

from pydantic import Field

import meltica
from meltica import Side


class Momentum(meltica.Lambda):
    """Buys a market that has risen over the last trades, and leaves it when it has fallen.

    - It holds one position of `size` in each market, or none: on spot it cannot sell what it has not bought.
    - After a round trip, a market rests for `cooldown`.
    - The number of its round trips survives restarts, and so does its position.
    """

    class Config(meltica.LambdaConfig):
        trades: int = Field(20, ge=2)
        """Trades over which the change of the price is measured."""
        threshold: Decimal = Field(Decimal(2), gt=0)
        """Change that starts or ends a position, in hundredths of a percent."""
        size: Decimal = Field(Decimal(500), gt=0)
        """Value of a position, in the quote currency."""
        cooldown: float = Field(5, ge=0)
        """Seconds between two positions in a market."""

    def __init__(self) -> None:
        self.trips = 0
        self.prices: dict[tuple[str, str], deque[Decimal]] = {}
        self.rests_until: dict[tuple[str, str], int] = {}

    def on_load(self, state: object) -> None:
        assert isinstance(state, int)
        self.trips = state

    def on_save(self) -> int:
        return self.trips

    def on_trade(self, trade: meltica.Trade) -> None:
        market = trade.provider, trade.symbol
        prices = self.prices.setdefault(market, deque(maxlen=self.config.trades))
        prices.append(trade.price_decimal)
        waits = any(order.provider == trade.provider for order in self.orders(trade.symbol))
        if len(prices) < self.config.trades or waits or not self.trading:
            return
        change = (prices[-1] / prices[0] - 1) * 10_000
        flat = self.position(trade.symbol, trade.provider).flat
        rested = self.now() >= self.rests_until.get(market, 0)
        try:
            if change >= self.config.threshold and flat and rested:
                self.buy(trade.symbol, cost=self.config.size, provider=trade.provider)
            elif change <= -self.config.threshold and not flat:
                self.close(trade.symbol, trade.provider)
        except meltica.OrderRefused as refused:
            self.log.info("%s: no order: %s", trade.symbol, refused)

    def on_order_filled(self, order: meltica.Order, fill: meltica.Fill | None) -> None:
        if order.side is Side.SELL and fill is not None:
            self.trips += 1
            self.rests_until[order.provider, order.symbol] = self.now() + int(self.config.cooldown * 1e9)
            self.log.info("%s: left at %s, profit so far %.2f", order.symbol, fill.price, self.pnl().net)
