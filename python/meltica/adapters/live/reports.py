"""What a live account publishes: reports of its orders and balances."""

from typing import Any, NamedTuple

from meltica.model.balances import Balance, Transfer
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot, exec_report


class OrderReport(NamedTuple):
    """An `ExecReport` to publish."""

    order: OrderSnapshot
    fill: Fill | None = None

    @property
    def event(self) -> tuple[str, str, dict[str, Any], int | None]:
        """Kind, symbol, payload and venue time of the event."""
        return "ExecReport", self.order.symbol, exec_report(self.order, self.fill), self.order.time


class BalanceReport(NamedTuple):
    """A `BalanceUpdate` to publish."""

    currency: str
    balance: Balance
    transfer: Transfer | None = None
    """The deposit or withdrawal that led to it."""

    @property
    def event(self) -> tuple[str, str, dict[str, Any], int | None]:
        """Kind, symbol, payload and venue time of the event."""
        balance = self.balance
        payload: dict[str, Any] = {
            "currency": self.currency,
            "total": balance.total,
            "available": balance.available,
        }
        if self.transfer is not None:
            payload |= {
                "change": self.transfer.change,
                "reason": self.transfer.reason,
                "transferId": self.transfer.transfer_id,
            }
        return "BalanceUpdate", self.currency, payload, balance.time


Report = OrderReport | BalanceReport
