"""An account whose requests and answers get lost as a test says, in front of a real one."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from meltica.errors import OrderRefused, OutcomeUnknown
from meltica.model.account import Account, AccountCapabilities, LastCheck, unchecked
from meltica.model.balances import Balance
from meltica.model.fills import Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot

T = TypeVar("T")


class Fate(StrEnum):
    """What becomes of a request."""

    ANSWERED = "answered"
    NEVER_ARRIVES = "never_arrives"
    ANSWER_LOST = "answer_lost"
    LATE = "late"
    """It is carried out when the test releases it; its answer is lost at once."""
    HELD = "held"
    """It is carried out at once; its answer waits until the test releases it."""


class LossyAccount(Account):
    """Delays and loses requests that change something; counts them by client order id."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.fates: dict[str, deque[Fate]] = {name: deque() for name in ("submit", "cancel", "amend")}
        self.requests: dict[str, list[str]] = {name: [] for name in self.fates}
        self.late: list[Callable[[], Awaitable[object]]] = []
        self.release = asyncio.Event()
        self.admits = asyncio.Event()
        """While it is not set, requests wait in the account, as for a connection."""
        self.admits.set()
        self._disconnects = 0

    def disconnect(self) -> None:
        """Loses the stream, which is back at once."""
        self._disconnects += 1

    @property
    def capabilities(self) -> AccountCapabilities:
        """What the account supports."""
        return self._account.capabilities

    @property
    def arrives_within(self) -> float:
        """Seconds within which a request may arrive."""
        return 0.5

    @property
    def reconciled(self) -> bool:
        """Always true."""
        return True

    @property
    def disconnects(self) -> int:
        """How often the stream was lost."""
        return self._disconnects

    async def carry_out_late(self) -> None:
        """Carries out the late requests."""
        for request in self.late:
            with contextlib.suppress(OrderRefused):
                await request()
        self.late.clear()

    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        """Sends an order."""
        await self.admits.wait()
        last_check()
        return await self._request("submit", order.client_order_id, lambda: self._account.submit(order))

    async def cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        """Cancels an order."""
        return await self._request(
            "cancel", client_order_id, lambda: self._account.cancel(symbol, client_order_id)
        )

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancels all orders."""
        await self._account.cancel_all(symbol)

    async def amend(
        self,
        symbol: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        last_check: LastCheck = unchecked,
    ) -> OrderSnapshot:
        """Amends an order."""
        await self.admits.wait()
        last_check()
        return await self._request(
            "amend",
            client_order_id,
            lambda: self._account.amend(symbol, client_order_id, quantity=quantity, price=price),
        )

    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order."""
        return await self._account.order(symbol, client_order_id)

    async def open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns the open orders."""
        return await self._account.open_orders()

    async def fills_since(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        """Returns the fills."""
        return await self._account.fills_since(marks)

    async def balances(self) -> Mapping[str, Balance]:
        """Returns the balances."""
        return await self._account.balances()

    async def _request(self, name: str, id: str, do: Callable[[], Awaitable[T]]) -> T:
        self.requests[name].append(id)
        try:
            fate = self.fates[name].popleft()
        except IndexError:  # a test may clear them on its own thread
            fate = Fate.ANSWERED
        match fate:
            case Fate.ANSWERED:
                return await do()
            case Fate.NEVER_ARRIVES:
                raise OutcomeUnknown("timeout", "the request was lost")
            case Fate.ANSWER_LOST:
                await do()
                raise OutcomeUnknown("timeout", "the answer was lost")
            case Fate.LATE:
                self.late.append(do)
                raise OutcomeUnknown("timeout", "the request is late")
            case Fate.HELD:
                answer = await do()
                await self.release.wait()
                return answer
