"""Balances: how much of a currency an account owns."""

from decimal import Decimal
from typing import NamedTuple


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
