"""Who trades while a venue is soaked: orders, cancels, amends, and what must be true of them afterwards."""

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
    """Sends orders, cancels and amends while it may; remembers what it must be right about."""

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
        """Goes on."""
        self._rests.clear()
        self._go.set()

    def rest(self) -> None:
        """Ends what it is about, and waits."""
        self._go.clear()
        assert self._rests.wait(PATIENCE)

    def end(self) -> None:
        """Ends."""
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
                await self._note("amend", self._account.amend(symbol, id, quantity=Decimal("0.6")), id)
            else:
                await self._note("cancel", self._account.cancel(symbol, id), id)
                self.sent.pop(id, None)
            return
        self._number += 1
        id = f"s{self._number}"
        side = pick.choice((Side.BUY, Side.SELL))
        price = None
        if pick.random() < 0.7:
            price = Decimal(20) if side is Side.BUY else Decimal(500_000)
        order = NewOrder(id, symbol, side, Decimal("0.5"), price)
        if await self._note("submit", self._account.submit(order), id) and price is not None:
            self.sent[id] = symbol

    async def _note(self, what: str, asking: Coroutine[object, object, object], id: str) -> bool:
        try:
            await asking
        except OrderRefused:
            outcome = "refused"
            if what == "submit":
                self.refused.add(id)
        except OutcomeUnknown:
            outcome = "unknown"
            if what == "submit":
                self.unknown.add(id)
        except VenueUnavailable:
            outcome = "unavailable"
            if what == "submit":
                self.refused.add(id)
        else:
            outcome = "done"
        self._outcomes[f"{what} {outcome}"] += 1
        return outcome == "done"
