"""`SimulatedAccount`: one account at a synthetic market, the same in this process and behind the venue's
REST.

A request passes a `SimulatedNetwork`, which applies the venue's behavior: latency, an unavailable venue, a
failure before the request was processed, or an answer that is lost after it was.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from meltica.errors import OrderRefused, OutcomeUnknown, VenueUnavailable
from meltica.model.account import (
    Account,
    AccountCapabilities,
    CancelAllScope,
    FeeRates,
    LastCheck,
    unchecked,
)
from meltica.model.balances import Balance
from meltica.model.enums import OrderState, OrderType, Side, TimeInForce
from meltica.model.fills import Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot

if TYPE_CHECKING:
    from meltica._core import SyntheticMarket

Answer = TypeVar("Answer")
Sleep = Callable[[float], Awaitable[object]]

LONGEST_DELAY = 10.0
"""Most seconds of the market's clock after which a request whose answer was lost is carried out."""

CAPABILITIES = AccountCapabilities(
    amend=True, cancel_all=CancelAllScope.ACCOUNT, reduce_only=False, dead_man=False, account_fills=True
)
"""What an account of the simulated venue supports, in this process and over its REST."""


class SimulatedNetwork:
    """The way of requests to a market. `speed` is the market's seconds per second of the wall clock, or
    None.
    """

    def __init__(
        self, market: "SyntheticMarket", speed: float | None = 1.0, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._market = market
        self._speed = speed
        self._sleep = sleep

    @property
    def speed(self) -> float:
        """The market's seconds per second of the wall clock; at least 1 for None."""
        return 1.0 if self._speed is None else self._speed

    async def query(self, do: Callable[[], Answer]) -> Answer:
        """Calls `do`, which changes nothing, and returns its answer.

        Raises VenueUnavailable when the request or the answer is lost.
        """
        await self._arrives(None)
        return do()

    async def change(self, kind: str | None, do: Callable[[int | None], Answer]) -> Answer:
        """Calls `do`, which changes something, and returns its answer.

        `do` takes the delay, in ns, after which the market is to carry the request out, or None. `kind` is
        `submit`, `cancel` or `amend`; None for a request that `SyntheticMarket.lose_answers` does not know.
        Raises VenueUnavailable when nothing was done, and OutcomeUnknown when the answer is lost.
        """
        fate = await self._arrives(kind, changes=True)
        if fate is None:
            return do(None)
        if fate != "never":
            with contextlib.suppress(OrderRefused):
                do(fate if isinstance(fate, int) else None)
        raise OutcomeUnknown("timeout", "the venue's answer was lost, and the request may have been done")

    async def _arrives(self, kind: str | None, *, changes: bool = False) -> str | int | None:
        latency, fate = self._market.request_fate(kind)
        if latency and self._speed is not None:
            await self._sleep(latency / 1e9 / self._speed)
        if not self._market.connected:
            raise VenueUnavailable("unavailable", "the venue is disconnected; nothing was done")
        if fate == "before":
            raise VenueUnavailable("unavailable", "the venue failed; nothing was done")
        if fate is not None and not changes:
            raise VenueUnavailable("unavailable", "the venue's answer was lost")
        return fate


class SimulatedAccount(Account):
    """One account at a market. The market finds orders by their client order id, whatever the symbol."""

    def __init__(
        self,
        market: "SyntheticMarket",
        network: SimulatedNetwork,
        symbols: Collection[str],
        account: str | None = None,
        fees: FeeRates | None = None,
    ) -> None:
        self._market = market
        self._fees = fees
        self._network = network
        self._symbols = symbols
        self._account = account

    @property
    def capabilities(self) -> AccountCapabilities:
        """What the account supports."""
        return CAPABILITIES

    @property
    def is_volatile(self) -> bool:
        """Always true: the market is in this process."""
        return True

    @property
    def arrives_within(self) -> float:
        """The longest delay of a request whose answer is lost, at the speed of the market."""
        return LONGEST_DELAY / self._network.speed

    def fee_rates(self, symbol: str) -> FeeRates | None:  # noqa: ARG002
        """Returns the fee rates of the market, which are those of all symbols."""
        return self._fees

    @property
    def reconciled(self) -> bool:
        """Always true: the market reports everything in this process."""
        return True

    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        """Sends an order; returns the venue's answer."""
        self.capabilities.check_order(order)
        last_check()

        def do(delay: int | None) -> OrderSnapshot | None:
            if order.symbol not in self._symbols:
                raise OrderRefused("unknown_symbol", unknown_symbol(order.symbol))
            if order.price is not None and order.price <= 0:
                # To the market, a sell order at 0 is one at any price, as on some exchanges.
                raise OrderRefused("invalid_price", f"expected a price above zero, saw {order.price}")
            self._market.submit(
                order.client_order_id,
                order.symbol,
                order.side.value.lower(),
                order.quantity,
                order.price,
                order.time_in_force,
                order.post_only,
                account=self._account,
                delay=delay,
            )
            return self.find(order.client_order_id)

        return _existing(await self._network.change("submit", do))

    async def cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:  # noqa: ARG002
        """Cancels an open order; returns the order."""

        def do(delay: int | None) -> OrderSnapshot | None:
            self._market.cancel(client_order_id, account=self._account, delay=delay)
            return self.find(client_order_id)

        return _existing(await self._network.change("cancel", do))

    async def amend(
        self,
        symbol: str,  # noqa: ARG002
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        last_check: LastCheck = unchecked,
    ) -> OrderSnapshot:
        """Changes an open order's price, its whole quantity, or both; returns the order."""
        last_check()

        def do(delay: int | None) -> OrderSnapshot | None:
            self._market.amend(client_order_id, quantity, price, account=self._account, delay=delay)
            return self.find(client_order_id)

        return _existing(await self._network.change("amend", do))

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancels all open orders of a symbol or of the account."""
        await self.cancel_each(symbol)

    async def cancel_each(self, symbol: str | None = None) -> list[str]:
        """Cancels all open orders of a symbol or of the account; returns their client order ids."""

        def do(_: int | None) -> list[str]:
            if symbol is not None and symbol not in self._symbols:
                raise OrderRefused("unknown_symbol", unknown_symbol(symbol))
            return [id for id in self._market.cancel_all(symbol, account=self._account) if id]

        return await self._network.change(None, do)

    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:  # noqa: ARG002
        """Returns an order, open or ended; None when the venue does not know the id."""
        return await self._network.query(lambda: self.find(client_order_id))

    async def open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns all open orders, oldest first."""
        return await self._network.query(self.list_open)

    async def fills_since(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        """Returns the fills of symbols, each from its mark on, oldest first."""
        if not marks:
            return ()
        # Fills are numbered in the order of their times, so a fill's time is a bound for its number too.
        fills = await self.fills_page(since=min(mark.time for mark in marks.values()))
        return [fill for fill in fills if fill.symbol in marks and _follows(fill, marks[fill.symbol])]

    async def fills_page(self, *, since: int = 0, after: int = 0, limit: int | None = None) -> Sequence[Fill]:
        """Returns at most `limit` fills from a venue time on, with an execution id above `after`, oldest
        first.
        """
        return await self._network.query(
            lambda: self._market.fills_since(after, time=since, limit=limit, account=self._account)
        )

    async def balances(self) -> Mapping[str, Balance]:
        """Returns the balances of the account, by currency."""
        return await self._network.query(lambda: self._market.balances(account=self._account))

    def find(self, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order without a request; None when the venue does not know the id."""
        record = self._market.order(client_order_id, account=self._account)
        return None if record is None else _snapshot(record)

    def list_open(self) -> list[OrderSnapshot]:
        """Returns the open orders without a request, oldest first."""
        return [_snapshot(record) for record in self._market.open_orders(account=self._account)]


def _existing(order: OrderSnapshot | None) -> OrderSnapshot:
    if order is None:
        raise OutcomeUnknown("timeout", "the venue has forgotten the order before it answered")
    return order


def _follows(fill: Fill, mark: FillMark) -> bool:
    """Returns whether a fill is at a mark or after it."""
    if mark.execution_id is not None:
        return int(fill.execution_id) >= int(mark.execution_id)
    return fill.time >= mark.time


def unknown_symbol(symbol: str) -> str:
    """Returns the error message for a symbol that the venue does not list."""
    return f"expected a symbol of /v1/instruments, saw {symbol[:80]!r}"


def _snapshot(record: Mapping[str, Any]) -> OrderSnapshot:
    """Returns an order out of the market's record."""

    def decimal(key: str) -> Decimal | None:
        text = record.get(key)
        return None if text is None else Decimal(text)

    return OrderSnapshot(
        client_order_id=record["clientOrderId"],
        venue_order_id=record.get("venueOrderId"),
        symbol=record["symbol"],
        side=Side(record["side"]),
        state=OrderState(record["state"]),
        order_type=OrderType(record["orderType"]),
        quantity=Decimal(record["quantity"]),
        filled_quantity=Decimal(record["filledQuantity"]),
        time_in_force=TimeInForce(record["timeInForce"]),
        price=decimal("price"),
        remaining_quantity=decimal("remainingQuantity"),
        average_price=decimal("averagePrice"),
        fee=decimal("fee"),
        fee_currency=record.get("feeCurrency"),
        reason=record.get("reason"),
        time=record["time"],
    )
