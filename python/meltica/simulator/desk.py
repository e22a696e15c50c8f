"""`Desk`: one account's counter at a simulated venue, the same in this process and behind the venue's REST.

A request goes over a `Line`, where the venue's behavior happens to it: it takes its time, finds the venue
disconnected, fails before anything was done, or is done and the answer gets lost.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from meltica.errors import OrderRefused, OutcomeUnknown, VenueUnavailable
from meltica.model.account import Account, Execution, Holding, NewOrder, OrderStatus
from meltica.model.enums import Side

if TYPE_CHECKING:
    from meltica._core import SyntheticMarket

Answer = TypeVar("Answer")
Sleep = Callable[[float], Awaitable[object]]


class Line:
    """The way from clients to a market. `speed`: the market's seconds in one of the wall's, or None."""

    def __init__(
        self, market: "SyntheticMarket", speed: float | None = 1.0, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._market = market
        self._speed = speed
        self._sleep = sleep

    async def request(self, do: Callable[[], Answer], *, changes: bool) -> Answer:
        """Returns what `do` does, if the request gets there and its answer back.

        Raises VenueUnavailable when nothing was done, or when it `changes` nothing; OutcomeUnknown otherwise.
        """
        latency, fate = self._market.request_fate()
        if latency and self._speed is not None:
            await self._sleep(latency / 1e9 / self._speed)
        if not self._market.connected:
            raise VenueUnavailable("unavailable", "the venue is disconnected, and nothing was done")
        if fate == "before":
            raise VenueUnavailable("unavailable", "the venue failed, and nothing was done")
        if fate is None:
            return do()
        if not changes:
            raise VenueUnavailable("unavailable", "the venue's answer got lost")
        with contextlib.suppress(OrderRefused):
            do()
        raise OutcomeUnknown("timeout", "the venue's answer got lost, and what was asked may have been done")


class Desk(Account):
    """One account at a market, which finds orders by the account's own id alone, whatever their symbol."""

    def __init__(
        self, market: "SyntheticMarket", line: Line, symbols: Collection[str], account: str | None = None
    ) -> None:
        self._market = market
        self._line = line
        self._symbols = symbols
        self._account = account

    @property
    def reconciled(self) -> bool:
        """Always: what the market does is told where it happens."""
        return True

    async def submit(self, order: NewOrder) -> OrderStatus:
        """Sends an order; returns what the venue says of it at once."""

        def do() -> OrderStatus:
            if order.symbol not in self._symbols:
                raise OrderRefused("unknown_symbol", unknown_symbol(order.symbol))
            if order.price is not None and order.price <= 0:
                # The market reads a sell at 0 as one at any price, as some exchanges write it.
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
            )
            return self._known(order.client_order_id)

        return await self._line.request(do, changes=True)

    async def cancel(self, symbol: str, client_order_id: str) -> None:  # noqa: ARG002
        """Cancels an open order."""
        await self._line.request(
            lambda: self._market.cancel(client_order_id, account=self._account), changes=True
        )

    async def amend(
        self,
        symbol: str,  # noqa: ARG002
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
    ) -> None:
        """Changes an open order's limit, its whole quantity, or both."""
        await self._line.request(
            lambda: self._market.amend(client_order_id, quantity, price, account=self._account), changes=True
        )

    async def cancel_all(self) -> list[str]:
        """Cancels every open order; returns their ids, oldest first."""

        def do() -> list[str]:
            ids = [order["clientOrderId"] for order in self._market.open_orders(account=self._account)]
            for id in ids:
                self._market.cancel(id, account=self._account)
            return ids

        return await self._line.request(do, changes=True)

    async def order(self, symbol: str, client_order_id: str) -> OrderStatus | None:  # noqa: ARG002
        """Returns what the venue knows of an order, open or ended; None when it knows none of that id."""
        record = await self._line.request(lambda: self.record(client_order_id), changes=False)
        return None if record is None else status(record)

    async def open_orders(self) -> Sequence[OrderStatus]:
        """Returns all open orders, oldest first."""
        records = await self._line.request(self.open_records, changes=False)
        return [status(record) for record in records]

    async def fills_since(self, time: int = 0) -> Sequence[Execution]:
        """Returns all executions from a venue time (ns) on, that time included, oldest first."""
        fills = await self._line.request(
            lambda: self._market.fills_since(time=time, account=self._account), changes=False
        )
        return [
            Execution(
                execution_id=str(fill.number),
                time=fill.time,
                symbol=fill.symbol,
                client_order_id=fill.client_order_id,
                venue_order_id=fill.venue_order_id,
                side=fill.side,
                price=fill.price,
                quantity=fill.quantity,
                fee=fill.fee,
                fee_currency=fill.fee_currency,
                maker=fill.maker,
            )
            for fill in fills
        ]

    async def balances(self) -> Mapping[str, Holding]:
        """Returns what the account owns, by currency."""
        owned = await self._line.request(lambda: self._market.balances(account=self._account), changes=False)
        return {currency: Holding(held.total, held.available) for currency, held in owned.items()}

    def record(self, client_order_id: str) -> dict[str, Any] | None:
        """Returns the venue's own record of an order, without a request."""
        return self._market.order(client_order_id, account=self._account)

    def open_records(self) -> list[dict[str, Any]]:
        """Returns the venue's own records of the open orders, oldest first, without a request."""
        return self._market.open_orders(account=self._account)

    def _known(self, client_order_id: str) -> OrderStatus:
        record = self.record(client_order_id)
        assert record is not None, "the venue keeps its last orders"
        return status(record)


def unknown_symbol(symbol: str) -> str:
    """Returns what is wrong with a symbol that the venue does not list."""
    return f"expected a symbol of /v1/instruments, saw {symbol[:80]!r}"


def status(record: Mapping[str, Any]) -> OrderStatus:
    """Returns what a venue's record says of an order."""
    price = record.get("price")
    return OrderStatus(
        client_order_id=record["clientOrderId"],
        venue_order_id=record.get("venueOrderId"),
        symbol=record["symbol"],
        side=Side(record["side"]),
        state=record["state"],
        quantity=Decimal(record["quantity"]),
        filled=Decimal(record["filledQuantity"]),
        price=None if price is None else Decimal(price),
        reason=record.get("reason"),
    )
