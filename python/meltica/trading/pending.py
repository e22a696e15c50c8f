"""`Pending`: what waits for the next commit. The caller holds the lock of trading."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from meltica.model.enums import Mode, OrderState
from meltica.persistence.stores.outbox import entry_event, fill_event, order_event, trace_headers
from meltica.persistence.stores.trading.rows import HaltRow, LedgerEntryRow, OperatorActionRow, Row
from meltica.telemetry.trace_context import current
from meltica.trading.effects import BookFill
from meltica.trading.order import OrderRecord, PositionKey
from meltica.trading.positions import Position
from meltica.trading.state_machine import OrderMachine
from meltica.trading.stored import fill_row, order_row, position_row


@dataclass(slots=True)
class Batch:
    """What one commit writes, and what leaves after it."""

    rows: list[Row] = field(default_factory=list[Row])
    new: list[OrderMachine] = field(default_factory=list[OrderMachine])
    amendments: list[tuple[OrderMachine, int]] = field(default_factory=list[tuple[OrderMachine, int]])
    """Orders with an amendment, and when it was requested."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.new or self.amendments)


class Pending:
    """The changes since the last commit: the latest row of each order and position, and all other rows."""

    def __init__(self, last_report: int = 0) -> None:
        self.last_report = last_report
        """The number of the latest report of a fill or an end."""
        self.reports: Counter[tuple[Mode, OrderState]] = Counter()
        """How many changes of orders were reported to their owners, by the state of the order."""
        self.fills: Counter[Mode] = Counter()
        """How many fills of our orders were booked."""
        self._batch = Batch()
        self._changed: dict[OrderMachine, None] = {}
        self._moved: dict[PositionKey, Position] = {}
        self._ends: dict[UUID, int] = {}
        """Order -> the number of the report of its end."""

    def write(self, rows: Iterable[Row]) -> None:
        """Adds rows, each entry of a ledger with its event."""
        for row in rows:
            self._batch.rows.append(row)
            if isinstance(row, LedgerEntryRow):
                self._batch.rows.append(entry_event(row))

    def changed(self, machine: OrderMachine) -> None:
        """Adds the row of an order, as it will be at the commit."""
        self._changed[machine] = None
        if (trace := current.get()) is not None:
            machine.record.trace = trace.header

    def opened(self, machine: OrderMachine) -> None:
        """Adds a new order, which leaves after the commit."""
        self.changed(machine)
        self._batch.new.append(machine)

    def amended(self, machine: OrderMachine, requested_at: int) -> None:
        """Adds an amendment, which leaves after the commit."""
        self._batch.amendments.append((machine, requested_at))

    def moved(self, position: Position) -> None:
        """Adds the row of a position, as it will be at the commit."""
        self._moved[position.key] = position

    def filled(self, record: OrderRecord, effect: BookFill, position: Position, now: int) -> None:
        """Adds a fill, which is a report, and the position after it."""
        self.last_report += 1
        self.fills[record.owner.mode] += 1
        self.moved(position)
        row = fill_row(record, effect.fill, self.last_report, booked_at=now, recovered=effect.recovered)
        self._batch.rows += [row, fill_event(row, trace_headers(record.trace))]

    def reported(self, record: OrderRecord) -> None:
        """Adds the event of a change that the owner of an order is called for."""
        self.reports[record.owner.mode, record.state] += 1
        self._batch.rows.append(order_event(order_row(record), trace_headers(record.trace)))

    def ended(self, id: UUID) -> None:
        """Adds the end of an order, which is a report; the first end counts."""
        if id not in self._ends:
            self.last_report += 1
            self._ends[id] = self.last_report

    def forget(self, id: UUID) -> None:
        """Forgets an order that is no longer kept."""
        self._ends.pop(id, None)

    def take(self, now: int, *, only_acts: bool = False) -> Batch:
        """Returns everything, and forgets it; with `only_acts`, halts and what operators did."""
        batch, self._batch = self._batch, Batch()
        if only_acts:
            return Batch([row for row in batch.rows if isinstance(row, HaltRow | OperatorActionRow)])
        # After the rows that were put back: of two rows with one key, the last is written.
        batch.rows += [order_row(each.record, self._ends.get(each.record.id)) for each in self._changed]
        batch.rows += [position_row(each, now) for each in self._moved.values()]
        self._changed.clear()
        self._moved.clear()
        return batch

    def put_back(self, rows: list[Row]) -> None:
        """Takes back rows that were not committed, before those that were added since."""
        self._batch.rows = [*rows, *self._batch.rows]
