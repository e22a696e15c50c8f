"""Balances: four lines per provider and currency, which show whether ours and the venue's ledger agree.

| line | content |
|---|---|
| venue | the venue's total as of its stamp, with all later flows applied |
| instances | what the fills of our orders add up to, per instance |
| not ours | entries: opening, deposit, withdrawal, fill of a foreign order, booking, inventory |
| difference | the rest: never folded into another line |

An inventory is a sale from "not ours" to the instance at a stated price: coins in one direction, money in the
other. The line of an instance can thus be derived from its positions, exactly.

A balance is absolute: it includes what happened up to its stamp, in the venue's time, and nothing later. A
balance that is older than the latest one changes nothing. A fill after the stamp is applied, whatever arrives
first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from meltica.model.balances import Balance
from meltica.model.enums import Mode, Side
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.model.symbols import currencies
from meltica.persistence.stores.trading.rows import EntryKind
from meltica.trading.exact import ZERO, add, multiply, negate, subtract, total
from meltica.trading.order import Owner, PositionKey
from meltica.trading.positions import Position

SETTLES_WITHIN = 10 * 10**9
"""Nanoseconds for which a difference may last, with nothing in flight, before it is a fault."""

Currency = tuple[str, str]
"""Provider and currency."""


class Entry(NamedTuple):
    """A flow of an account that is of no instance."""

    provider: str
    kind: EntryKind
    id: str
    """The venue's id, or one of ours. With kind and currency it is booked once."""
    currency: str
    amount: Decimal
    time: int | None = None
    """The venue's time; None for what the venue's balance includes already, such as a booking."""


class Lines(NamedTuple):
    """The four lines of one currency."""

    venue: Decimal | None
    """None before the first balance; so is the difference."""
    instances: Decimal
    not_ours: Decimal
    difference: Decimal | None


class Difference(NamedTuple):
    """A difference that became a fault, changed while it was one, or ended: then its amount is zero."""

    provider: str
    currency: str
    amount: Decimal


@dataclass(slots=True)
class _Line:
    """One currency at one provider."""

    reported: Balance | None = None
    later: list[tuple[int, Decimal]] = field(default_factory=list[tuple[int, Decimal]])
    """Time and amount of the flows after the stamp."""
    moved: Decimal = ZERO
    """The sum of `later`: every new order reads it."""
    instances: dict[Owner, Decimal] = field(default_factory=dict[Owner, Decimal])
    not_ours: Decimal = ZERO
    foreign_holds: dict[str, Decimal | None] = field(default_factory=dict[str, Decimal | None])
    """Id of a foreign order -> what it holds; None if it has no price."""
    differs_since: int | None = None
    """When the difference was first seen; None if it is zero. A change of its sign starts it again."""
    differs_by: Decimal = ZERO
    unexplained_since: int = 0
    """From when no order explains the difference."""
    fault: Decimal = ZERO

    def lasts(self, difference: Decimal, now: int, oldest: int | None) -> bool:
        """Whether the difference has lasted without an explanation; `oldest` is an order in flight."""
        if not difference:
            self.differs_since = None
            return False
        if self.differs_since is None or (difference > 0) != (self.differs_by > 0):
            self.differs_since = self.unexplained_since = now
        self.differs_by = difference
        if oldest is not None and oldest <= self.differs_since:
            self.unexplained_since = now
        return now >= self.unexplained_since + SETTLES_WITHIN

    def flow(self, amount: Decimal, time: int | None) -> None:
        if time is not None and (self.reported is None or time > self.reported.time):
            self.later.append((time, amount))
            self.moved = add(self.moved, amount)

    def report(self, balance: Balance) -> bool:
        if self.reported is not None and balance.time < self.reported.time:
            return False
        self.reported = balance
        self.later = [flow for flow in self.later if flow[0] > balance.time]
        self.moved = total(amount for _, amount in self.later)
        return True

    def venue(self) -> Decimal | None:
        if self.reported is None:
            return None
        return add(self.reported.total, self.moved)

    def lines(self) -> Lines:
        instances, venue = total(self.instances.values()), self.venue()
        if venue is None:
            return Lines(None, instances, self.not_ours, None)
        return Lines(venue, instances, self.not_ours, subtract(subtract(venue, instances), self.not_ours))


class Balances:
    """The balances of all accounts of one mode: live and paper accounts have nothing in common."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self._lines: dict[Currency, _Line] = {}
        self._booked: set[tuple[str, EntryKind, str, str]] = set()
        self._inventories: dict[tuple[str, str], dict[str, Decimal]] = {}
        """Provider and id of an inventory -> its entries by currency."""

    # From rows

    def restore_position(self, position: Position) -> None:
        """Adds what the fills of a position add up to, from its row."""
        key = position.key
        base, quote = currencies(key.symbol)
        money = subtract(position.realised, position.cost)
        flows = {base: position.quantity, quote: subtract(money, position.fees.get(quote, ZERO))}
        for currency, fee in position.fees.items():
            if currency not in (base, quote):
                flows[currency] = negate(fee)
        for currency, amount in flows.items():
            self._move(key.owner, key.provider, currency, amount, None)

    def restore_not_ours(self, provider: str, currency: str, amount: Decimal) -> None:
        """Adds the sum of the entries of a currency, from their rows."""
        line = self._line(provider, currency)
        line.not_ours = add(line.not_ours, amount)

    def restore_booked(self, provider: str, kind: EntryKind, id: str, currency: str) -> None:
        """Marks an entry of a restored sum as booked, because it may be reported again."""
        self._booked.add((provider, kind, id, currency))

    def restore_inventory(self, provider: str, id: str, currency: str, amount: Decimal) -> None:
        """Marks an entry of an inventory as booked; the restored sums include it."""
        self.restore_booked(provider, EntryKind.INVENTORY, id, currency)
        self._inventories.setdefault((provider, id), {})[currency] = amount

    # What happens

    def reported(self, provider: str, currency: str, balance: Balance) -> bool:
        """Records the venue's balance; returns False if it is older than the latest one.

        If the account traded while balances were queried, query again: a fill during the query may be in a
        balance whose time is before the query.
        """
        return self._line(provider, currency).report(balance)

    def fill(self, key: PositionKey, fill: Fill) -> None:
        """Records a fill that the state machine of its order booked."""
        for currency, amount in _flows(fill):
            self._move(key.owner, key.provider, currency, amount, fill.time)

    def book(self, entry: Entry) -> bool:
        """Records an entry of "not ours"; returns False for one that was booked before."""
        id = (entry.provider, entry.kind, entry.id, entry.currency)
        if id in self._booked:
            return False
        self._booked.add(id)
        line = self._line(entry.provider, entry.currency)
        line.not_ours = add(line.not_ours, entry.amount)
        line.flow(entry.amount, entry.time)
        return True

    def renew_account(self, provider: str) -> None:
        """Forgets what the venue reported: the account is another one, which begins with its own balances."""
        for (name, _), line in self._lines.items():
            if name == provider:
                line.reported, line.later, line.moved = None, [], ZERO

    def owned(self, provider: str) -> dict[str, Decimal]:
        """Returns what an account should have by currency: the instances' part, and what is not ours."""
        return {
            currency: add(total(line.instances.values()), line.not_ours)
            for (name, currency), line in self._lines.items()
            if name == provider
        }

    def open_account(self, provider: str, id: str = "opening") -> list[Entry]:
        """Books what a new account has as its opening; returns the entries, also those of zero.

        Call it once in the life of an account, when it is reconciled for the first time. A later account of
        the provider needs another `id`.
        """
        entries: list[Entry] = []
        for (name, currency), line in self._lines.items():
            difference = line.lines().difference
            if name == provider and difference is not None:
                entries.append(Entry(provider, EntryKind.OPENING, id, currency, difference))
        for entry in entries:
            self.book(entry)
        return entries

    def foreign_fill(self, provider: str, fill: Fill) -> list[Entry]:
        """Books a fill of an order that is of no instance; returns the new entries."""
        amounts: dict[str, Decimal] = {}
        for currency, amount in _flows(fill):
            amounts[currency] = add(amounts.get(currency, ZERO), amount)
        # An execution id is unique together with its order.
        id = f"{fill.venue_order_id or fill.client_order_id}:{fill.execution_id}"
        entries = [
            Entry(provider, EntryKind.FOREIGN_FILL, id, currency, amount, fill.time)
            for currency, amount in amounts.items()
        ]
        return [entry for entry in entries if self.book(entry)]

    def transfer(self, key: PositionKey, quantity: Decimal, price: Decimal, id: str) -> list[Entry]:
        """Sells coins of "not ours" to an instance at a price, or back; returns the new entries.

        Raises ValueError if "not ours" has fewer coins: the sum of inventories never exceeds it.
        """
        self._check_mode(key.owner)
        base, quote = currencies(key.symbol)
        left = self._line(key.provider, base).not_ours
        if quantity > left:
            name = key.owner.instance
            raise ValueError(
                f"{quantity} {base} not moved to {name}: only {left} at {key.provider} are not ours"
            )
        money = negate(multiply(quantity, price))
        entries: list[Entry] = []
        for currency, amount in ((base, quantity), (quote, money)):
            entry = Entry(key.provider, EntryKind.INVENTORY, id, currency, negate(amount))
            if self.book(entry):
                self._move(key.owner, key.provider, currency, amount, None)
                entries.append(entry)
                self._inventories.setdefault((key.provider, id), {})[currency] = entry.amount
        return entries

    def inventory(self, provider: str, id: str) -> dict[str, Decimal]:
        """Returns the entries of an inventory by currency; empty if it was not moved."""
        return self._inventories.get((provider, id), {})

    def foreign_order(self, provider: str, order: OrderSnapshot) -> None:
        """Records a report of an order that is of no instance. While open, it holds a part of the balance."""
        base, quote = currencies(order.symbol)
        is_buy = order.side is Side.BUY
        holds = self._line(provider, quote if is_buy else base).foreign_holds
        id = order.venue_order_id or order.client_order_id
        if order.state.is_final:
            holds.pop(id, None)
            return
        left = subtract(order.quantity, order.filled_quantity)
        if is_buy:
            holds[id] = None if order.price is None else multiply(left, order.price)
        else:
            holds[id] = left

    def foreign_orders(self, provider: str, orders: Iterable[OrderSnapshot]) -> None:
        """Records all open orders of an account that are of no instance; others are no longer open."""
        for (name, _), line in self._lines.items():
            if name == provider:
                line.foreign_holds.clear()
        for order in orders:
            self.foreign_order(provider, order)

    # What follows

    def lines(self, provider: str, currency: str) -> Lines:
        """Returns the four lines of a currency."""
        line = self._lines.get((provider, currency))
        return Lines(None, ZERO, ZERO, None) if line is None else line.lines()

    def currencies(self, provider: str) -> list[str]:
        """Returns the currencies of an account, sorted."""
        return sorted(currency for name, currency in self._lines if name == provider)

    def totals(self) -> Iterator[tuple[str, str, Decimal]]:
        """Yields provider, currency and the venue's total with all later flows, where a balance is known."""
        for (provider, currency), line in self._lines.items():
            venue = line.venue()
            if venue is not None:
                yield provider, currency, venue

    def of_owner(self, owner: Owner, provider: str, currency: str) -> Decimal:
        """Returns an instance's part of a currency; negative where its fees or purchases exceed it."""
        return self._line(provider, currency).instances.get(owner, ZERO)

    def spendable(self, provider: str, currency: str) -> Decimal | None:
        """Returns the venue's total with all later flows, less the holds of foreign orders.

        The holds of our own orders are not subtracted: risk reserves those. None while the balance is unknown
        or a foreign order has a hold that cannot be computed.
        """
        line = self._line(provider, currency)
        result = line.venue()
        for hold in line.foreign_holds.values():
            if result is None or hold is None:
                return None
            result = subtract(result, hold)
        return result

    def free(self, provider: str, currency: str, held: Decimal) -> Decimal | None:
        """Returns `spendable` less what the open and unsent orders of all instances hold."""
        spendable = self.spendable(provider, currency)
        return None if spendable is None else subtract(spendable, held)

    def held_by_venue(self, provider: str, currency: str) -> Decimal | None:
        """Returns what the venue says open orders hold, to compare; None before the first balance."""
        reported = self._line(provider, currency).reported
        return None if reported is None else subtract(reported.total, reported.available)

    def check(self, now: int, in_flight: Mapping[Currency, int] = MappingProxyType({})) -> list[Difference]:
        """Returns the faults that began, changed or ended.

        `in_flight` has the currencies that orders in flight may move, with the time of the oldest intent.
        Only an order older than the difference explains it: otherwise steady orders would hide it for ever.
        """
        changes: list[Difference] = []
        for (provider, currency), line in self._lines.items():
            difference = line.lines().difference or ZERO
            lasts = line.lasts(difference, now, in_flight.get((provider, currency)))
            if difference != line.fault and (lasts or line.fault):
                line.fault = difference
                changes.append(Difference(provider, currency, difference))
        return changes

    def fault(self, provider: str, currency: str) -> Decimal:
        """Returns the difference of a currency that is a fault; zero if it is none."""
        return self._line(provider, currency).fault

    def settles(self, provider: str) -> bool:
        """Returns whether an account has a difference that is not a fault yet: it may still settle."""
        return any(
            (line.lines().difference or ZERO) != line.fault
            for (name, _), line in self._lines.items()
            if name == provider
        )

    @property
    def faults(self) -> list[Difference]:
        """The differences that are faults: orders that add risk in their currencies are refused."""
        return [
            Difference(provider, currency, line.fault)
            for (provider, currency), line in self._lines.items()
            if line.fault
        ]

    def _line(self, provider: str, currency: str) -> _Line:
        line = self._lines.get((provider, currency))
        if line is None:
            line = self._lines[provider, currency] = _Line()
        return line

    def _move(self, owner: Owner, provider: str, currency: str, amount: Decimal, time: int | None) -> None:
        self._check_mode(owner)
        line = self._line(provider, currency)
        line.instances[owner] = add(line.instances.get(owner, ZERO), amount)
        line.flow(amount, time)

    def _check_mode(self, owner: Owner) -> None:
        if owner.mode is not self.mode:
            raise ValueError(f"{owner.instance} not booked: its mode is {owner.mode}, not {self.mode}")


def _flows(fill: Fill) -> list[tuple[str, Decimal]]:
    """Returns what a fill moves: base, quote and the fee."""
    base, quote = currencies(fill.symbol)
    quantity = fill.quantity if fill.side is Side.BUY else negate(fill.quantity)
    return [
        (base, quantity),
        (quote, negate(multiply(quantity, fill.price))),
        (fill.fee_currency, negate(fill.fee)),
    ]
