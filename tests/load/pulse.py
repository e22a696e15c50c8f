"""A strategy of the load: buys and sells in turn, and times each order until its first report."""

import time
from decimal import Decimal
from pathlib import Path

import meltica
from meltica.errors import OrderRefused

SECONDS = 0.5
FILE = Path(__file__)


class Pulse(meltica.Lambda):
    """Trades the smallest quantity twice a second."""

    needs = frozenset({"Ticker"})

    def __init__(self) -> None:
        self.begun: dict[str, int] = {}
        self.refused = 0
        self.lines: list[str] = []

    def on_start(self) -> None:
        """Begins to trade."""
        self.every(SECONDS, self.trade)

    def trade(self) -> None:
        """Places an order, and writes down what was measured so far."""
        if self.lines:
            with FILE.with_name(f"{self.id}.times").open("a") as file:
                file.write("".join(self.lines))
            self.lines.clear()
        (symbol,) = next(iter(self.scope.values()))
        market = self.market(symbol)
        if market is None or market.bid is None or market.ask is None:
            return
        held = self.position(symbol).quantity > 0
        now = time.perf_counter_ns()
        try:
            if held:
                order = self.sell(symbol, "all", market.bid * 0.995, time_in_force="IOC", round=True)
            else:
                order = self.buy(symbol, Decimal("0.2"), market.ask * 1.005, time_in_force="IOC", round=True)
        except OrderRefused as refused:
            self.lines.append(f"{time.time()} refused {refused.reason}\n")
            return
        self.begun[str(order.id)] = now

    def on_order_acknowledged(self, order: meltica.Order) -> None:
        """Times the first report."""
        self._reported(order)

    def on_order_partial_fill(self, order: meltica.Order, fill: meltica.Fill) -> None:
        """Times the first report."""
        self._reported(order)

    def on_order_filled(self, order: meltica.Order, fill: meltica.Fill | None) -> None:
        """Times the first report."""
        self._reported(order)

    def on_order_rejected(self, order: meltica.Order) -> None:
        """Records a rejection."""
        self.begun.pop(str(order.id), None)
        self.lines.append(f"{time.time()} rejected {order.reason}\n")

    def _reported(self, order: meltica.Order) -> None:
        begun = self.begun.pop(str(order.id), None)
        if begun is not None:
            self.lines.append(f"{time.time()} {time.perf_counter_ns() - begun}\n")
