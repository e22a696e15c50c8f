import meltica


class LargeTrades(meltica.Lambda):
    """Logs each trade worth at least `notional`, with the market that it met."""

    needs = {"Ticker"}  # feeds self.market

    class Config(meltica.LambdaConfig):
        notional: float = 150_000

    def on_trade(self, trade: meltica.Trade) -> None:
        if trade.price * trade.quantity >= self.config.notional:
            market = self.market(trade.symbol)
            self.log.info("%s %s %s at %s, %s", trade.symbol, trade.side, trade.quantity, trade.price, market)
