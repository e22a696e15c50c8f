"""Positions: what the fills of each instance add up to, in exact decimals.

A position moves by fills, and by transfers between an instance and the part of the account that is not ours.
Its `cost` is what the open quantity cost. `realised - cost` is always the exact sum of all money that came in
less all that went out. Rounding can only move value between the two: a part of a cost is a quotient, rounded
to 24 places. A position without a quantity has no cost, and its realised PnL is exact.

A fee in the base currency is paid from the position: it is a sale of the fee at a price of zero. Its cost is
a realised loss, and it is not subtracted again. Fees in other currencies are not in `realised`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from meltica.model.enums import Side
from meltica.model.fills import Fill
from meltica.model.symbols import currencies
from meltica.trading.exact import ZERO, add, divide, floor_to, multiply, negate, share, subtract
from meltica.trading.order import Owner, PositionKey

PLACES = Decimal("1e-24")


class Pnl(NamedTuple):
    """Profit and loss of a position in its quote currency, valued at a price."""

    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    """Fees in other currencies than the base; negative for rebates."""
    unvalued: tuple[str, ...]
    """Currencies of fees that have no rate; those fees are not in `fees`."""

    @property
    def net(self) -> Decimal:
        """Realised and unrealised PnL less fees."""
        return subtract(add(self.realised, self.unrealised), self.fees)


@dataclass(slots=True, kw_only=True)
class Position:
    """The position of one instance in one symbol. Everything here is also a column of the position's row."""

    key: PositionKey
    quantity: Decimal = ZERO
    """In base; negative for a short position."""
    cost: Decimal = ZERO
    """What the open quantity cost, in quote; negative for a short position."""
    realised: Decimal = ZERO
    fees: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    """Sum of all fees by currency; negative for rebates."""
    peak: Decimal = ZERO
    """The highest net PnL so far."""

    @property
    def average_price(self) -> Decimal | None:
        """The average cost of the open quantity, to 34 significant digits; None without a quantity."""
        return divide(self.cost, self.quantity) if self.quantity else None

    def fill(self, fill: Fill) -> None:
        """Applies a fill of an order."""
        base, _ = currencies(self.key.symbol)
        self._trade(fill.quantity if fill.side is Side.BUY else negate(fill.quantity), fill.price)
        if fill.fee_currency == base:
            self._trade(negate(fill.fee), ZERO)
        self.fees[fill.fee_currency] = add(self.fees.get(fill.fee_currency, ZERO), fill.fee)

    def transfer(self, quantity: Decimal, price: Decimal) -> None:
        """Moves coins from "not ours" to the instance at a price; a negative quantity moves them back."""
        self._trade(quantity, price)

    def sellable(self, lot_size: Decimal) -> Decimal:
        """Returns how much can be sold: the quantity down to the lot; zero for a short position."""
        return floor_to(max(ZERO, self.quantity), lot_size)

    def is_flat(
        self,
        lot_size: Decimal,
        min_quantity: Decimal = ZERO,
        min_notional: Decimal = ZERO,
        price: Decimal | None = None,
    ) -> bool:
        """Returns whether what is left is dust: no order that the venue accepts would reduce it.

        Without a price, the minimum notional does not count.
        """
        closable = floor_to(max(self.quantity, negate(self.quantity)), lot_size)
        if not closable or closable < min_quantity:
            return True
        return price is not None and multiply(closable, price) < min_notional

    def pnl(self, price: Decimal, rates: Mapping[str, Decimal] | None = None) -> Pnl:
        """Returns PnL at a price. `rates` value fees in third currencies, in quote per unit."""
        base, quote = currencies(self.key.symbol)
        fees = self.fees.get(quote, ZERO)
        unvalued: list[str] = []
        for currency, fee in self.fees.items():
            if currency in (base, quote) or not fee:
                continue
            rate = None if rates is None else rates.get(currency)
            if rate is None:
                unvalued.append(currency)
            else:
                fees = add(fees, multiply(fee, rate))
        unrealised = subtract(multiply(self.quantity, price), self.cost)
        return Pnl(self.realised, unrealised, fees, tuple(unvalued))

    def mark(self, net: Decimal) -> Decimal:
        """Records the net PnL of now; returns the drawdown, by which it is below its peak."""
        self.peak = max(self.peak, net)
        return subtract(self.peak, net)

    def _trade(self, delta: Decimal, price: Decimal) -> None:
        """Adds a signed quantity at a price: first closes what is open on the other side."""
        if self.quantity and delta and (delta > 0) != (self.quantity > 0):
            whole = negate(self.quantity)
            closed = max(delta, whole) if delta < 0 else min(delta, whole)
            released = share(self.cost, negate(closed), self.quantity, PLACES)
            self.realised = subtract(subtract(self.realised, multiply(closed, price)), released)
            self.cost = subtract(self.cost, released)
            self.quantity = add(self.quantity, closed)
            delta = subtract(delta, closed)
        self.quantity = add(self.quantity, delta)
        self.cost = add(self.cost, multiply(delta, price))


class Positions:
    """All positions by owner, provider and symbol. Live, paper and shadow positions have different owners."""

    __slots__ = ("_positions",)

    def __init__(self) -> None:
        self._positions: dict[PositionKey, Position] = {}

    def __iter__(self) -> Iterator[Position]:
        return iter(self._positions.values())

    def restore(self, position: Position) -> None:
        """Adds a position from its row."""
        if position.key in self._positions:
            raise ValueError(f"position not restored: {position.key} exists already")
        self._positions[position.key] = position

    def get(self, key: PositionKey) -> Position | None:
        """Returns a position; None if nothing moved it yet."""
        return self._positions.get(key)

    def quantity(self, key: PositionKey) -> Decimal:
        """Returns the quantity of a position; zero if nothing moved it yet."""
        position = self._positions.get(key)
        return ZERO if position is None else position.quantity

    def of_owner(self, owner: Owner) -> list[Position]:
        """Returns the positions of an instance."""
        return [each for each in self._positions.values() if each.key.owner == owner]

    def fill(self, key: PositionKey, fill: Fill) -> Position:
        """Applies a fill that the state machine of its order booked; returns the position."""
        position = self._position(key)
        position.fill(fill)
        return position

    def transfer(self, key: PositionKey, quantity: Decimal, price: Decimal) -> Position:
        """Moves coins between "not ours" and a position at a stated price; returns the position."""
        position = self._position(key)
        position.transfer(quantity, price)
        return position

    def _position(self, key: PositionKey) -> Position:
        position = self._positions.get(key)
        if position is None:
            position = self._positions[key] = Position(key=key)
        return position
