"""`Operator`: what an operator may do to trading. Each action is recorded with who did it and why.

1. What stops orders acts at once, also while the database is unavailable, and is recorded when it can be.
2. What lets orders leave again is recorded first.
3. Everything else is refused while the database is unavailable, and is recorded with its effect.

The methods are called on any event loop; HaltStore belongs to that loop. A rehearsal ends
after the checks.
"""

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from meltica.errors import Conflict, DatabaseError, DatabaseUnavailable, NotFound
from meltica.model.enums import Mode, OrderState
from meltica.persistence.stores.audit import rehearse
from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.rows import (
    EntryKind,
    LedgerEntryRow,
    OperatorAction,
    OperatorActionRow,
    OrderRow,
    Row,
)
from meltica.trading.balances import Entry
from meltica.trading.client_ids import ClientOrderIds
from meltica.trading.exact import ZERO, negate
from meltica.trading.flatten import Flattened, close_positions, positions_in
from meltica.trading.halt_watch import halt_scope, is_in
from meltica.trading.inventory import move
from meltica.trading.lost_orders import adopt, cancel_disowned, check_lost, find_lost, forget_lost
from meltica.trading.order import OrderRecord, Owner
from meltica.trading.positions import Position
from meltica.trading.risk.scopes import Scope
from meltica.trading.service import Trading
from meltica.trading.state_machine import OrderMachine
from meltica.trading.stored import entry_row

PATIENCE = 30.0
POLL = 0.02
"""Seconds between two checks whether orders have ended."""


class Act(NamedTuple):
    """Who acts, and why."""

    by: str
    why: str


class Operator:
    """The actions of operators on the orders, halts and balances of a gateway."""

    def __init__(self, trading: Trading, halts: HaltStore, ids: ClientOrderIds) -> None:
        self._trading = trading
        self._ids = ids
        self._desk = trading.desk
        self._halts = halts

    async def halt(self, scope: Scope, act: Act) -> bool:
        """Halts a scope and cancels its open orders; returns False if it was halted already.

        1: raises DatabaseUnavailable if the halt is effective, but not recorded yet.
        """
        _check(act)
        desk = self._desk
        with desk.lock:
            self._rehearse(OperatorAction.HALT, self._open(scope), halted=(self._is_halted(scope), True))
            halted = halt_scope(desk, scope, act.why, act.by)
            if halted:
                self._record(OperatorAction.HALT, str(scope), act)
        desk.wake()
        if halted:
            await self.recorded()
        return halted

    async def resume(self, scope: Scope, act: Act) -> bool:
        """2: ends the halt of a scope, or the cooldown of a breaker; returns False if it has neither."""
        _check(act)
        # Halts of risk are in the database before it is cleared.
        await self.recorded()
        resumed = await self._halts.clear(scope.kind, scope.name, act.why, act.by)
        desk = self._desk
        with desk.lock:
            now = desk.clock()
            paused = [
                risk
                for risk in desk.risks.values()
                if (status := risk.status(scope, now)).halt is None and status.breaker_open_until is not None
            ]
            self._rehearse(OperatorAction.RESUME, paused=(bool(paused), False))
            for risk in paused:
                risk.resume(scope, act.by, now)
            if paused and not resumed:
                self._record(OperatorAction.RESUME, str(scope), act)
        await self.recorded()
        return resumed or bool(paused)

    async def flatten(self, scope: Scope, act: Act, patience: float = PATIENCE) -> Flattened:
        """Halts a scope, waits until its orders have ended, and sells the positions of its instances.

        The scope stays halted. The sales are market orders that only reduce; coins that belong to no instance
        are not touched. `patience` is how many seconds the cancels and the sales may take, each.
        """
        _check(act)
        desk = self._desk
        with desk.lock:
            machines = self._open(scope)
            self._rehearse(
                OperatorAction.FLATTEN,
                machines,
                halted=(self._is_halted(scope), True),
                positions=(
                    [
                        f"{each.owner.instance}:{each.provider}:{each.symbol}"
                        for each in positions_in(desk, scope)
                    ],
                    [],
                ),
            )
            halt_scope(desk, scope, act.why, act.by)
            self._record(OperatorAction.FLATTEN, str(scope), act)
        desk.wake()
        await self.recorded()
        left = await self.ended(machines, patience)
        with desk.lock:
            keys = positions_in(desk, scope)
        closing, unclosed = close_positions(self._trading, self._ids, keys)
        left += await self.ended(closing, patience)
        desk.gate.operators.difference_update(each.record.id for each in closing if each not in left)
        return Flattened([each.record for each in left], [each.record for each in closing], unclosed)

    async def cancel(self, order: UUID, act: Act) -> OrderRecord:
        """1: requests the cancel of an order, which is repeated until it has ended.

        Raises NotFound, Conflict for an order that has ended, and DatabaseUnavailable if the cancel is
        effective, but not recorded yet.
        """
        _check(act)
        machine = self._find(order)
        with self._desk.lock:
            if machine.record.state.is_final:
                raise Conflict(f"order {order} not cancelled: it is {machine.record.state}")
            self._rehearse(OperatorAction.CANCEL, [machine])
            self._desk.cancel([machine])
            self._record(OperatorAction.CANCEL, str(order), act)
        self._desk.wake()
        await self.recorded()
        return machine.record

    async def cancel_all(self, scope: Scope, symbol: str | None, act: Act) -> list[OrderRecord]:
        """1: requests the cancels of the open orders of a scope, or of a symbol in it; returns them."""
        _check(act)
        desk = self._desk
        with desk.lock:
            machines = [each for each in self._open(scope) if symbol in (None, each.record.symbol)]
            self._rehearse(OperatorAction.CANCEL, machines)
            desk.cancel(machines)
            details = {} if symbol is None else {"symbol": symbol}
            self._record(OperatorAction.CANCEL, str(scope), act, **details)
        desk.wake()
        await self.recorded()
        return [each.record for each in machines]

    async def resolve(self, order: UUID, state: OrderState, act: Act) -> OrderRecord:
        """Ends an order whose state is unknown, after the operator has looked it up at the venue.

        Raises Conflict for an order that is not UNKNOWN, and for a state that is not CANCELLED, REJECTED or
        EXPIRED. A fill that arrives later still counts.
        """
        machine = self._prepare(order, act)
        with self._desk.lock:
            try:
                machine.check_resolution(state)
            except ValueError as error:
                raise Conflict(str(error)) from None
            self._rehearse(OperatorAction.RESOLVE, state=(machine.record.state, state))
            effects = machine.resolve(state, f"resolved by {act.by}: {act.why}", self._desk.clock())
            self._desk.carry_out(machine, effects)
            self._record(OperatorAction.RESOLVE, str(order), act, state=state.value)
        self._desk.wake()
        await self.recorded()
        return machine.record

    async def query(self, order: UUID, act: Act) -> OrderRecord:
        """Queries an order at its venue; the answer arrives like others."""
        machine = self._prepare(order, act)
        with self._desk.lock:
            self._rehearse(OperatorAction.QUERY, query=(False, True))
            self._desk.carry_out(machine, machine.query(self._desk.clock()))
            self._record(OperatorAction.QUERY, str(order), act)
        self._desk.wake()
        await self.recorded()
        return machine.record

    async def book(
        self, provider: str, mode: Mode, currency: str, amount: Decimal, act: Act
    ) -> LedgerEntryRow:
        """Books the difference of a currency as "not ours", which ends the fault.

        Raises Conflict unless `amount` is the difference as it is now, so that it is not booked twice, and
        unless it is a fault: a fill on its way may still explain a younger one.
        """
        self._check_ready(act)
        desk = self._desk
        with desk.lock:
            balances = desk.accounts.balances[mode]
            difference = balances.lines(provider, currency).difference
            if not difference or amount != difference:
                raise Conflict(
                    f"{amount} {currency} at {provider} not booked: expected the difference,"
                    f" which is {difference or 0}"
                )
            if difference != balances.fault(provider, currency):
                raise Conflict(
                    f"{amount} {currency} at {provider} not booked: the difference may settle by itself;"
                    " book it when it is a fault"
                )
            self._rehearse(OperatorAction.BOOK, difference=(str(difference), "0"))
            now = desk.clock()
            entry = Entry(provider, EntryKind.BOOKING, f"operator-{now}", currency, amount)
            balances.book(entry)
            row = entry_row(entry, mode, now, by=act.by, note=act.why)
            desk.pending.write([row])
            subject = f"{provider}:{mode.value}:{currency}"
            self._record(OperatorAction.BOOK, subject, act, amount=str(amount))
        desk.wake()
        await self.recorded()
        return row

    async def adopt(
        self, provider: str, mode: Mode, client_order_id: str, owner: Owner, act: Act
    ) -> OrderRecord:
        """Gives a lost order to an instance, which its fills then belong to; see `orders_lost`.

        Raises NotFound unless the order is lost, Conflict for an instance of another mode or if the venue has
        forgotten the order, and the errors of the account.
        """
        self._check_ready(act)
        if owner.mode is not mode:
            raise Conflict(f"order {client_order_id} not adopted: {owner.instance} trades {owner.mode}")
        desk = self._desk
        order = await self._trading.call(lambda: find_lost(desk, provider, mode, client_order_id))
        with desk.lock:
            check_lost(desk, provider, mode, client_order_id)
            self._rehearse(OperatorAction.ADOPT, instance=(None, owner.instance))
            machine = adopt(desk, order, provider, owner, self._trading.timings(provider, mode))
            forget_lost(desk, provider, mode, client_order_id)
            details = {"instance": owner.instance, "uid": str(owner.uid)}
            self._record(OperatorAction.ADOPT, client_order_id, act, **details)
        desk.wake()
        await self.recorded()
        return machine.record

    async def disown(self, provider: str, mode: Mode, client_order_id: str, act: Act) -> None:
        """Cancels a lost order, and books its fills as foreign: it belongs to no instance.

        Raises NotFound unless the order is lost, and the errors of the account if the cancel fails; repeat it
        then.
        """
        self._check_ready(act)
        desk = self._desk
        with desk.lock:
            check_lost(desk, provider, mode, client_order_id)
            self._rehearse(OperatorAction.DISOWN, lost=(True, False))
            desk.accounts.disowned.add(client_order_id)
            self._record(OperatorAction.DISOWN, client_order_id, act, provider=provider, mode=mode.value)
        desk.wake()
        await self.recorded()
        await self._trading.call(lambda: cancel_disowned(desk, provider, mode, client_order_id))
        with desk.lock:
            forget_lost(desk, provider, mode, client_order_id)

    async def release(self, owner: Owner, act: Act) -> list[Position]:
        """Moves the positions of an instance to "not ours", each at its average cost; returns them.

        An instance without positions and open orders is deleted at the next start, if it is not configured.
        Raises Conflict while the instance runs or has open orders, and NotFound if it has no position.
        """
        self._check_ready(act)
        desk, name = self._desk, owner.instance
        with desk.lock:
            if desk.is_attached(owner):
                raise Conflict(f"positions of {name} not released: it is running; stop it first")
            if any(each.record.owner == owner for each in desk.open_machines()):
                raise Conflict(f"positions of {name} not released: it has open orders; cancel them first")
            held = [each for each in desk.positions.of_owner(owner) if each.quantity]
            if not held:
                raise NotFound(f"{name} has no position, mode {owner.mode.value}")
            if short := [each.key.symbol for each in held if each.quantity < 0]:
                raise Conflict(f"positions of {name} not released: short in {', '.join(short)}; buy it back")
            released = {f"{each.key.provider}:{each.key.symbol}": str(each.quantity) for each in held}
            self._rehearse(OperatorAction.RELEASE, positions=(released, {}))
            for each in held:
                id = f"{owner.uid}:{each.key.symbol}:{desk.clock()}"
                price = each.average_price or ZERO
                move(desk, each.key, negate(each.quantity), price, id, by=act.by, note=act.why)
            self._record(OperatorAction.RELEASE, name, act, uid=str(owner.uid), released=released)
        desk.wake()
        await self.recorded()
        return held

    async def recorded(self) -> None:
        """Waits until the actions so far are in the database.

        Raises DatabaseUnavailable while they are not, and DatabaseError if one was refused.
        """
        committed = await self._trading.committed()
        for failure in committed.failures:
            if isinstance(failure.row, OperatorActionRow | LedgerEntryRow | OrderRow):
                raise DatabaseError(f"not recorded: {failure.error}; it is kept in dead_letters")

    async def ended(self, machines: Iterable[OrderMachine], patience: float) -> list[OrderMachine]:
        """Waits until orders have ended; returns those that have not in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        waiting = list(machines)
        while True:
            waiting = [each for each in waiting if not each.record.state.is_final]
            if not waiting or loop.time() >= deadline:
                return waiting
            await asyncio.sleep(POLL)

    def _prepare(self, order: UUID, act: Act) -> OrderMachine:
        """3: returns the order of an action. Raises NotFound and DatabaseUnavailable."""
        self._check_ready(act)
        return self._find(order)

    def _find(self, order: UUID) -> OrderMachine:
        machine = self._desk.find(order)
        if machine is None:
            raise NotFound(f"order {order} does not exist, or ended more than a day ago")
        return machine

    def _check_ready(self, act: Act) -> None:
        _check(act)
        if self._trading.write_failure is not None:
            raise DatabaseUnavailable(f"nothing changed: {self._trading.write_failure}")

    def _open(self, scope: Scope) -> list[OrderMachine]:
        """Returns the open orders of a scope. The caller holds the lock of trading."""
        return [
            each
            for each in self._desk.open_machines()
            if is_in(scope, each.record.owner, each.record.provider)
        ]

    def _is_halted(self, scope: Scope) -> bool:
        """Returns whether a scope is halted in all modes. The caller holds the lock of trading."""
        now = self._desk.clock()
        return all(risk.status(scope, now).halt is not None for risk in self._desk.risks.values())

    def _rehearse(
        self, action: OperatorAction, cancelled: Iterable[OrderMachine] = (), **fields: tuple[object, object]
    ) -> None:
        """Ends a rehearsal: `fields` have what is before and after. The caller holds the lock of trading."""
        before: dict[str, object] = {f"order:{each.record.id}": each.record.state for each in cancelled}
        after: dict[str, object] = dict.fromkeys(before, OrderState.CANCELLED)
        for name, (old, new) in fields.items():
            before[name], after[name] = old, new
        rehearse(action if before != after else "none", before, after)

    def _record(self, action: OperatorAction, subject: str, act: Act, **details: object) -> None:
        """Adds the row of an action to the next commit. The caller holds the lock of trading."""
        row: Row = OperatorActionRow(
            action=action,
            subject=subject,
            acted_by=act.by,
            reason=act.why,
            acted_at=self._desk.clock(),
            details=details,
        )
        self._desk.pending.write([row])


def _check(act: Act) -> None:
    if not act.by.strip() or not act.why.strip():
        raise ValueError("expected who acts and why; both are recorded")
