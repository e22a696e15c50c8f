"""A strategy of the trading soak: trades at random, and counts its own fills, which its checkpoints keep.

It trades while the file `quiet` beside it is absent. With the file, it cancels its orders and, once none is
open, writes what it counted and what its position is to `<id>.json`.
"""

import json
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import meltica
from meltica.errors import OrderRefused
from meltica.model.fills import Fill

FOLDER = Path(__file__).parent
SECONDS = 0.25


class Config(meltica.LambdaConfig):
    """The seed of its random choices."""

    seed: int = 1


class Trader(meltica.Lambda):
    """Trades at random."""

    Config = Config
    needs = frozenset({"Ticker"})

    def __init__(self) -> None:
        self.net: dict[str, Decimal] = {}
        """Symbol -> what the fills of its callbacks add up to, fees in base included."""
        self.executions: set[str] = set()
        self.repeated: list[str] = []
        self.refusals: Counter[str] = Counter()
        self.picks = random.Random(self.config.seed)

    def on_load(self, state: Any) -> None:
        """Continues from a checkpoint."""
        self.net = {symbol: Decimal(amount) for symbol, amount in state["net"].items()}
        self.executions = set(state["executions"])
        self.repeated = state["repeated"]

    def on_save(self) -> Any:
        """Returns what it counted."""
        net = {symbol: str(amount) for symbol, amount in self.net.items()}
        return {"net": net, "executions": sorted(self.executions), "repeated": self.repeated}

    def on_start(self) -> None:
        """Acts a few times per second."""
        self.every(SECONDS, self.act)

    def on_order_partial_fill(self, order: meltica.Order, fill: Fill) -> None:
        """Counts a fill."""
        self._count(order, fill)

    def on_order_filled(self, order: meltica.Order, fill: Fill | None) -> None:
        """Counts the last fill of an order."""
        if fill is not None:
            self._count(order, fill)

    def act(self) -> None:
        """Trades, or reports when it should be quiet."""
        try:
            number = (FOLDER / "quiet").read_text()
        except FileNotFoundError:
            self._trade()
            return
        self.cancel_all()
        if not self.orders():
            self._write(number)

    def _count(self, order: meltica.Order, fill: Fill) -> None:
        if fill.execution_id in self.executions:
            self.repeated.append(fill.execution_id)
        self.executions.add(fill.execution_id)
        amount = fill.quantity if order.side is meltica.Side.BUY else -fill.quantity
        if fill.fee_currency == order.symbol.partition("-")[0]:
            amount -= fill.fee
        self.net[order.symbol] = self.net.get(order.symbol, Decimal(0)) + amount

    def _trade(self) -> None:
        symbol = self.picks.choice(self._symbols())
        market = self.market(symbol)
        if market is None or market.bid is None or market.ask is None:
            return
        try:
            self._place(symbol, market.bid, market.ask)
        except OrderRefused as refused:
            self.refusals[refused.reason] += 1

    def _place(self, symbol: str, bid: float, ask: float) -> None:
        pick, draw = self.picks, self.picks.random()
        orders = self.orders(symbol)
        if orders and (draw < 0.25 or len(orders) > 3):
            self.cancel(pick.choice(list(orders)))
        elif orders and draw < 0.35:
            order = pick.choice(list(orders))
            self.amend(order, quantity=order.quantity * pick.choice((Decimal("0.5"), Decimal(2))))
        elif draw < 0.6:
            price = bid * (1 - pick.choice((0.0, 0.0002, 0.001)))
            self.buy(symbol, pick.choice(("0.01", "0.02")), price, round=True, tag="rest")
        elif draw < 0.75:
            self.buy(symbol, "0.01", ask * 1.0005, time_in_force="IOC", round=True)
        elif draw < 0.9:
            self.sell(symbol, "all", ask if draw < 0.8 else bid * 0.9995, round=True)
        else:
            self.close(symbol)

    def _symbols(self) -> tuple[str, ...]:
        return next(iter(self.scope.values()))

    def _write(self, number: str) -> None:
        positions = {symbol: str(self.position(symbol).quantity) for symbol in self._symbols()}
        net = {symbol: str(self.net.get(symbol, Decimal(0))) for symbol in self._symbols()}
        report = {
            "round": number,
            "positions": positions,
            "net": net,
            "fills": len(self.executions),
            "repeated": self.repeated,
            "refusals": self.refusals,
        }
        file = FOLDER / f"{self.id}.tmp"
        file.write_text(json.dumps(report))
        file.replace(FOLDER / f"{self.id}.json")
