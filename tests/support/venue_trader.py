"""The trader of a soak test: sends orders, cancellations and amendments, and records their outcomes."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Coroutine
from decimal import Decimal

from meltica.errors import OrderRefused, OutcomeUnknown, VenueUnavailable
from meltica.model.account import Account
from meltica.model.enums import Side
from meltica.model.orders import NewOrder
from meltica.simulator.catalogue import SYMBOLS

PATIENCE = 60.0


class Trader(threading.Thread):
    """Sends requests between `trade` and `rest`, and records the outcomes that the test verifies."""

    def __init__(self, account: Account, outcomes: Counter[str]) -> None:
        super().__init__(name="trader", daemon=True)
        self._account = account
        self._outcomes = outcomes
        self._random = random.Random(5)
        self._go = threading.Event()
        self._rests = threading.Event()
        self._ended = threading.Event()
        self._number = 0
        self.unknown: set[str] = set()
        """Orders with an unknown outcome."""
        self.refused: set[str] = set()
        self.sent: dict[str, str] = {}

    def run(self) -> None:
        asyncio.run(self._trade())

    def trade(self) -> None:
        """Resumes trading."""
        self._rests.clear()
        self._go.set()

    def rest(self) -> None:
        """Pauses trading after the request in progress."""
        self._go.clear()
        assert self._rests.wait(PATIENCE)

    def end(self) -> None:
        """Stops the thread."""
        self._ended.set()
        self._go.set()
        self.join(PATIENCE)

    async def _trade(self) -> None:
        while not self._ended.is_set():
            if not self._go.is_set():
                self._rests.set()
                await asyncio.to_thread(self._go.wait)
                continue
            await self._act()
            await asyncio.sleep(self._random.uniform(0.005, 0.05))

    async def _act(self) -> None:
        pick = self._random
        symbol = pick.choice(SYMBOLS)
        if self.sent and pick.random() < 0.4:
            id = pick.choice([*self.sent])
            symbol = self.sent[id]
            if pick.random() < 0.3:
                await self._record("amend", self._account.amend(symbol, id, quantity=Decimal("0.6")), id)
            else:
                await self._record("cancel", self._account.cancel(symbol, id), id)
                self.sent.pop(id, None)
            return
        self._number += 1
        id = f"s{self._number}"
        side = pick.choice((Side.BUY, Side.SELL))
        price = None
        if pick.random() < 0.7:
            price = Decimal(20) if side is Side.BUY else Decimal(500_000)
        order = NewOrder(id, symbol, side, Decimal("0.5"), price)
        if await self._record("submit", self._account.submit(order), id) and price is not None:
            self.sent[id] = symbol

    async def _record(self, kind: str, request: Coroutine[object, object, object], id: str) -> bool:
        try:
            await request
        except OrderRefused:
            outcome = "refused"
            if kind == "submit":
                self.refused.add(id)
        except OutcomeUnknown:
            outcome = "unknown"
            if kind == "submit":
                self.unknown.add(id)
        except VenueUnavailable:
            outcome = "unavailable"
            if kind == "submit":
                self.refused.add(id)
        else:
            outcome = "done"
        self._outcomes[f"{kind} {outcome}"] += 1
        return outcome == "done"
