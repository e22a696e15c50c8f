"""Balances: how much of a currency an account owns."""

from decimal import Decimal
from typing import NamedTuple


class Balance(NamedTuple):
    """How much of one currency an account owns."""

    total: Decimal
    available: Decimal
    """The part that open orders do not reserve."""

    @property
    def reserved(self) -> Decimal:
        """The part that open orders reserve."""
        return self.total - self.available
