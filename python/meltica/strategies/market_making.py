from decimal import Decimal

from pydantic import Field

import meltica
from meltica import Side


class MarketMaking(meltica.Lambda):
    """Keeps an order to buy below, and one to sell above, the middle of each market.

    - A quote that the market has left behind is cancelled, and replaced when its end is certain.
    - It buys up to `max_position`, and sells only what it has bought.
    - Quotes never take liquidity. Without current prices it has none.
    """

    class Config(meltica.LambdaConfig):
        distance: Decimal = Field(Decimal(5), gt=0, lt=10_000)
        """Distance of a quote from the middle, in hundredths of a percent."""
        size: Decimal = Field(Decimal(500), gt=0)
        """Value of a quote, in the quote currency."""
        max_position: Decimal = Field(Decimal(2000), gt=0)
        """Value of the position up to which it buys, in the quote currency."""
        seconds: float = Field(1, ge=0.01)
        """Time between two looks at the market."""

    def on_start(self) -> None:
        self.middles: dict[tuple[str, str], Decimal] = {}
        self.every(self.config.seconds, self.quote)

    def on_ticker(self, ticker: meltica.Ticker) -> None:
        if ticker.bid_decimal is not None and ticker.ask_decimal is not None:
            self.middles[ticker.provider, ticker.symbol] = (ticker.bid_decimal + ticker.ask_decimal) / 2

    def on_stale(self, stale: meltica.MarketStale) -> None:
        self.middles.pop((stale.provider, stale.symbol), None)
        self.cancel_all(stale.symbol)

    def quote(self) -> None:
        if not self.trading:
            return  # after a halt or a lost connection, until on_trading_changed
        for (provider, symbol), middle in self.middles.items():
            width = middle * self.config.distance / 10_000
            self.quote_side(Side.BUY, provider, symbol, middle - width, width)
            self.quote_side(Side.SELL, provider, symbol, middle + width, width)

    def quote_side(self, side: Side, provider: str, symbol: str, price: Decimal, width: Decimal) -> None:
        open_orders = [
            order for order in self.orders(symbol) if (order.side, order.provider) == (side, provider)
        ]
        for order in open_orders:
            behind = price - (order.price or 0) if side is Side.BUY else (order.price or 0) - price
            if behind > width / 2:
                self.cancel(order)
        if open_orders:
            return
        position = self.position(symbol, provider)
        try:
            if side is Side.SELL and not position.flat:
                quantity = self.config.size / price
                # What would remain of a small position could not be sold by itself.
                rest = position.sellable if position.sellable < 2 * quantity else quantity
                self.sell(symbol, rest, price, provider=provider, post_only=True, round=True)
            elif (
                side is Side.BUY and position.quantity * price + self.config.size <= self.config.max_position
            ):
                self.buy(
                    symbol, price=price, cost=self.config.size, provider=provider, post_only=True, round=True
                )
        except meltica.OrderRefused as refused:
            self.log.info("%s: no quote to %s: %s", symbol, side, refused)
