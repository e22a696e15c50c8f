"""The money of a paper account: what it owns, and what its open orders reserve."""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Literal

from meltica.errors import OrderRefused
from meltica.model.balances import Balance
from meltica.model.enums import Side
from meltica.model.instruments import Instrument

FeeIn = Literal["quote", "base", "received"]
"""The currency of fees; `received` is the base for a buy order, the quote for a sell order."""

FEE_STEP = Decimal("1e-8")
"""Fees are rounded up to a multiple of it, rebates down."""

_NONE = Decimal(0)


class Funds:
    """Totals by currency, and the reservation of each open order.

    An order reserves what it may still have to pay, at its limit and at the higher fee rate. A fee in the
    received currency is paid out of what is received, so it is not reserved.
    """

    def __init__(self, totals: Mapping[str, Decimal], fee_in: FeeIn, fee_rate: Decimal) -> None:
        self._totals = dict(totals)
        self._fee_in = fee_in
        self._fee_rate = fee_rate
        self._reserved: dict[str, tuple[str, Decimal]] = {}
        """Client order id -> currency and amount."""
        self._sums: dict[str, Decimal] = {}
        """Currency -> the sum of its reservations."""

    def available(self, currency: str) -> Decimal:
        """Returns what open orders do not reserve."""
        return self._totals.get(currency, _NONE) - self._sums.get(currency, _NONE)

    def balance(self, currency: str, time: int) -> Balance:
        """Returns the balance of a currency, as of a time in nanoseconds."""
        return Balance(self._totals.get(currency, _NONE), self.available(currency), time)

    def balances(self, time: int) -> dict[str, Balance]:
        """Returns all balances by currency."""
        return {currency: self.balance(currency, time) for currency in sorted(self._totals)}

    def open(self, currency: str, total: Decimal) -> None:
        """Sets the total of a currency that has none."""
        self._totals.setdefault(currency, total)

    def restore(self, totals: Mapping[str, Decimal]) -> None:
        """Replaces totals."""
        self._totals |= totals

    def reserve(self, id: str, rules: Instrument, side: Side, quantity: Decimal, price: Decimal) -> None:
        """Sets the reservation of an order to that of its open quantity.

        Raises OrderRefused, and changes nothing, when the account has too little.
        """
        currency, amount = self._need(rules, side, quantity, price)
        held, held_amount = self._reserved.get(id, (currency, _NONE))
        assert held == currency, "the side and the symbol of an order do not change"
        available = self.available(currency) + held_amount
        if amount > available:
            raise OrderRefused("insufficient_funds", f"{amount} {currency} needed, {available} available")
        self._set_reserved(id, currency, amount)

    def reduce(self, id: str, rules: Instrument, side: Side, quantity: Decimal, price: Decimal) -> None:
        """Lowers the reservation of an order to that of its open quantity; 0 removes it."""
        self._set_reserved(id, *self._need(rules, side, quantity, price))

    def affordable(self, rules: Instrument, side: Side, price: Decimal) -> Decimal:
        """Returns the quantity that what is available pays for at a price."""
        currency, one = self._need(rules, side, Decimal(1), price)
        return max(_NONE, self.available(currency)) / one

    def fee(
        self, rules: Instrument, side: Side, quantity: Decimal, price: Decimal, rate: Decimal
    ) -> tuple[Decimal, str]:
        """Returns the fee of a fill, and its currency."""
        in_base = self._fee_in == "base" or (self._fee_in == "received" and side is Side.BUY)
        fee = quantity * rate if in_base else quantity * price * rate
        return fee.quantize(FEE_STEP, ROUND_CEILING), rules.base if in_base else rules.quote

    def settle(
        self,
        rules: Instrument,
        side: Side,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal,
        fee_currency: str,
    ) -> None:
        """Moves the money of a fill."""
        sign = 1 if side is Side.BUY else -1
        self._move(rules.base, sign * quantity)
        self._move(rules.quote, -sign * quantity * price)
        self._move(fee_currency, -fee)

    def _need(self, rules: Instrument, side: Side, quantity: Decimal, price: Decimal) -> tuple[str, Decimal]:
        if side is Side.BUY:
            on_top = self._fee_rate if self._fee_in == "quote" else _NONE
            return rules.quote, quantity * price * (1 + on_top)
        on_top = self._fee_rate if self._fee_in == "base" else _NONE
        return rules.base, quantity * (1 + on_top)

    def _set_reserved(self, id: str, currency: str, amount: Decimal) -> None:
        _, before = self._reserved.pop(id, (currency, _NONE))
        self._sums[currency] = self._sums.get(currency, _NONE) + amount - before
        if amount:
            self._reserved[id] = (currency, amount)

    def _move(self, currency: str, amount: Decimal) -> None:
        self._totals[currency] = self._totals.get(currency, _NONE) + amount
