"""A first strategy: says how much was traded, and at which average price."""

import meltica


class VolumeReport(meltica.Lambda):
    """Logs, every few seconds, the volume of each symbol and its average price."""

    class Config(meltica.LambdaConfig):
        seconds: float = 10
        """Time between two reports."""

    def __init__(self) -> None:
        self.volume: dict[str, float] = {}
        self.turnover: dict[str, float] = {}

    def on_start(self) -> None:
        """Runs once, before the first event."""
        self.every(self.config.seconds, self.report)

    def on_trade(self, trade: meltica.Trade) -> None:
        """Runs on each trade, because it is overridden here: that is the subscription."""
        symbol, quantity = trade.symbol, trade.quantity
        self.volume[symbol] = self.volume.get(symbol, 0) + quantity
        self.turnover[symbol] = self.turnover.get(symbol, 0) + trade.price * quantity

    def report(self) -> None:
        """Logs what was traded since the last report."""
        for symbol, volume in self.volume.items():
            self.log.info("%s: %.4f traded, %.2f on average", symbol, volume, self.turnover[symbol] / volume)
        self.volume.clear()
        self.turnover.clear()
