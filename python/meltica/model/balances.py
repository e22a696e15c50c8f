"""Balances: how much of a currency an account owns; deposits and withdrawals."""

from decimal import Decimal
from typing import NamedTuple


class Transfer(NamedTuple):
    """A deposit or a withdrawal."""

    transfer_id: str
    """The venue's id."""
    change: Decimal
    """The amount by which the balance changed; negative for a withdrawal."""

    @property
    def reason(self) -> str:
        """`deposit` or `withdrawal`."""
        return "withdrawal" if self.change < 0 else "deposit"


class Balance(NamedTuple):
    """How much of one currency an account owned at a time of the venue."""

    total: Decimal
    available: Decimal
    """The part that open orders do not reserve."""
    time: int
    """The venue's time as of which the amounts are true, in nanoseconds.

    They include every change up to that time. Where a venue does not send it: its time before the query.
    """

    @property
    def reserved(self) -> Decimal:
        """The part that open orders reserve."""
        return self.total - self.available
