"""Reservations: what approved orders may still trade and spend, at worst.

Each approved order has one reservation until it has ended. It counts in the exposures of its three scopes, in
the sells of its lane and in the funds of its provider. Every change of a reservation is applied as a
difference of exact decimals, so that the sums are those of the open reservations at any time.
"""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from meltica.trading.exact import ZERO
from meltica.trading.risk.scopes import Lane


@dataclass(slots=True, eq=False)
class Reservation:
    """What is reserved for one order."""

    order_id: UUID
    lane: Lane
    is_buy: bool
    reduce_only: bool
    remaining: Decimal
    """What may still be filled."""
    price: Decimal
    """The limit that is sent."""
    factor: Decimal
    """1 + the fee rate at approval."""
    next_remaining: Decimal | None = None
    """The remaining quantity after an amendment that is not answered; None without one."""
    next_price: Decimal = ZERO
    unknown: bool = False
    """Whether the state of the order at the venue is unknown."""
    quantity: Decimal = ZERO
    """What is reserved: the larger of the two quantities."""
    cost: Decimal = ZERO
    """What a buy order reserves in the quote currency, without fees: the larger of the two costs."""
    spend: Decimal = ZERO
    """What is held in the currency that the order spends."""


def worst(reservation: Reservation, remaining: Decimal, price: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """Returns quantity, cost and spend of a reservation whose order may also have the given version."""
    quantity = max(reservation.remaining, remaining)
    if not reservation.is_buy:
        return quantity, ZERO, quantity
    cost = max(reservation.remaining * reservation.price, remaining * price)
    return quantity, cost, cost * reservation.factor


class Reservations:
    """The reservations of all open orders."""

    __slots__ = ("_by_order",)

    def __init__(self) -> None:
        self._by_order: dict[UUID, Reservation] = {}

    def __len__(self) -> int:
        return len(self._by_order)

    def get(self, order_id: UUID) -> Reservation | None:
        """Returns the reservation of an order; None after its release."""
        return self._by_order.get(order_id)

    def all(self) -> list[Reservation]:
        """Returns all reservations, oldest first."""
        return list(self._by_order.values())

    def add(self, reservation: Reservation) -> None:
        """Adds the reservation of an order that was open before. Raises ValueError if the order has one."""
        self.place(reservation, *worst(reservation, *_other_version(reservation)))
        if reservation.unknown:
            reservation.lane.listing.unknown.add(reservation.order_id)

    def place(self, reservation: Reservation, quantity: Decimal, cost: Decimal, spend: Decimal) -> None:
        """Adds the reservation of a new order, whose amounts are known."""
        if self._by_order.setdefault(reservation.order_id, reservation) is not reservation:
            raise ValueError(f"order {reservation.order_id}: already reserved")
        lane = reservation.lane
        for state in lane.states:
            state.open_orders += 1
        for exposure in lane.exposures:
            exposure.orders += 1
        _move(reservation, quantity, cost, spend)
        reservation.quantity, reservation.cost, reservation.spend = quantity, cost, spend

    def amend(self, reservation: Reservation, remaining: Decimal, price: Decimal) -> None:
        """Reserves the larger of the order as it is and as amended, until `settle`."""
        reservation.next_remaining, reservation.next_price = remaining, price
        _update(reservation)

    def settle(self, reservation: Reservation, remaining: Decimal, price: Decimal) -> None:
        """Ends an amendment: the order has these terms, which may be neither the old nor the new ones."""
        reservation.remaining, reservation.price = remaining, price
        reservation.next_remaining = None
        _update(reservation)

    def fill(self, reservation: Reservation, quantity: Decimal) -> None:
        """Reduces a reservation by a fill."""
        reservation.remaining = max(ZERO, reservation.remaining - quantity)
        if reservation.next_remaining is not None:
            reservation.next_remaining = max(ZERO, reservation.next_remaining - quantity)
        _update(reservation)

    def set_unknown(self, reservation: Reservation, *, unknown: bool) -> None:
        """Marks whether the order's state is unknown; the reservation stays as it is, at its worst case."""
        reservation.unknown = unknown
        orders = reservation.lane.listing.unknown
        if unknown:
            orders.add(reservation.order_id)
        else:
            orders.discard(reservation.order_id)

    def release(self, order_id: UUID) -> bool:
        """Ends a reservation; returns False if the order has none."""
        reservation = self._by_order.pop(order_id, None)
        if reservation is None:
            return False
        lane = reservation.lane
        lane.listing.unknown.discard(order_id)
        for state in lane.states:
            state.open_orders -= 1
        for exposure in lane.exposures:
            exposure.orders -= 1
        _move(reservation, -reservation.quantity, -reservation.cost, -reservation.spend)
        return True


def _other_version(reservation: Reservation) -> tuple[Decimal, Decimal]:
    """Returns the remaining quantity and the price of the amendment; without one, those of the order."""
    if reservation.next_remaining is None:
        return reservation.remaining, reservation.price
    return reservation.next_remaining, reservation.next_price


def _update(reservation: Reservation) -> None:
    quantity, cost, spend = worst(reservation, *_other_version(reservation))
    _move(reservation, quantity - reservation.quantity, cost - reservation.cost, spend - reservation.spend)
    reservation.quantity, reservation.cost, reservation.spend = quantity, cost, spend


def _move(reservation: Reservation, more: Decimal, dearer: Decimal, spend: Decimal) -> None:
    """Adds differences to the sums that a reservation counts in."""
    lane = reservation.lane
    if reservation.is_buy:
        for exposure in lane.exposures:
            exposure.size += more
            exposure.cost += dearer
        lane.listing.quote.held += spend
    else:
        lane.sells += more
        lane.listing.base.held += spend
