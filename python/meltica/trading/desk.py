"""`Desk`: the orders of all instances, and the one lock under which everything about them changes.

Strategies call it on their own threads, reports arrive on another one, and answers of venues on trading's
loop. Each change is short and never waits: what it leads to is collected, and the loop writes and sends it.

1. An order is approved and reserved before it exists, and released when it has ended.
2. A fill moves position, balances and reservation before its owner is called.
3. What is changed is written with the next commit; a new order leaves only after its commit.
4. An event that an order cannot take fails alone: the order becomes UNKNOWN and is cancelled.
5. Any other exception inside a change leaves a state that cannot be trusted. From then on no order leaves,
   and `meltica.trading.failure` ends this desk.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from uuid import UUID

from meltica._core import ChangeLock
from meltica.errors import OrderRefused, one_line
from meltica.model.account import Account
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.persistence.stores.trading.rows import Row
from meltica.trading.absent import Configured, is_misplaced
from meltica.trading.accounts import Accounts, FillOrigin, Key, currencies_of
from meltica.trading.balances import Balances, Currency
from meltica.trading.changes import TradingChanges
from meltica.trading.closing import Closings
from meltica.trading.effects import (
    BookFill,
    Callback,
    CallbackKind,
    Effect,
    Fault,
    Submit,
    SubmitAmendment,
    WriteOrder,
)
from meltica.trading.gate import Gate
from meltica.trading.kept_orders import KeptOrders
from meltica.trading.latencies import Latencies
from meltica.trading.order import OrderRecord, Owner, PositionKey
from meltica.trading.pending import Batch, Pending
from meltica.trading.positions import Positions
from meltica.trading.risk.controls import RiskControls
from meltica.trading.risk.market import Market
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.stored import risk_rows
from meltica.trading.state_machine import MAX_AGE, OrderMachine
from meltica.trading.transitions import TOO_LATE, Timings

log = logging.getLogger("meltica.trading")

SECOND = 10**9
REFUSALS = 100
"""Rows of refusals in one commit, which orders wait for."""

_AMENDED = frozenset({CallbackKind.AMENDED, CallbackKind.AMEND_REJECTED})

Event = Callable[[OrderMachine, int], list[Effect]]
"""Passes something to an order, with the time; returns the effects."""

Recipient = Callable[[Callback, int], None]
"""Receives a callback of an owner's order, and the number of its report; must not wait."""


class Desk:
    """The orders, and what their changes lead to."""

    def __init__(
        self,
        risks: Mapping[Mode, Risk],
        positions: Positions,
        balances: Mapping[Mode, Balances],
        market: Market,
        clock: Callable[[], int],
        *,
        has_mark: Callable[[str], bool] = lambda _: False,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """Creates a desk without orders.

        - `has_mark`: whether a client order id has the mark of this home.
        - `wake`: called from any thread when the loop has something to do.

        """
        self._has_mark = has_mark
        self.lock = ChangeLock()
        """Held for each change; `lock.reading` where nothing changes, also not by halves."""
        self.clock = clock
        self.wake = wake
        self.wake_commits: Callable[[], None] = lambda: None
        """Called from any thread when the loop has nothing to do but to write."""
        self.on_routes: Callable[[], None] = lambda: None
        """Called on trading's loop when prices of further symbols are needed."""
        self.gate = Gate(self.lock)
        self.configured = Configured()
        self.changes = TradingChanges()
        self.controls = RiskControls(risks, market)
        self.risks = risks
        self.positions = positions
        self.market = market
        self.pending = Pending()
        self.accounts = Accounts(risks, balances, lambda row: self.pending.write([row]), clock)
        self.fills_booked = 0
        """How many fills were booked, of our orders and of foreign ones."""
        self.orders = KeptOrders()
        self.closings = Closings()
        self.latencies = Latencies()
        self.silent: list[Key] = []
        """Accounts whose stream has to be connected again."""
        self._recipients: dict[Owner, Recipient] = {}
        self._requested: list[tuple[OrderMachine, Effect]] = []

    # Accounts and owners

    def connect(self, provider: str, mode: Mode, account: Account | None) -> None:
        """Sets the account of a provider, which is not reconciled yet; None when the provider stopped."""
        with self.lock:
            self.accounts.connect(provider, mode, account)
        self.wake()

    def set_reconciled(self, provider: str, mode: Mode, *, reconciled: bool, gaps: int = 0) -> None:
        """Sets whether an account is reconciled, as of its number of gaps."""
        with self.lock:
            self.accounts.set_reconciled(provider, mode, reconciled=reconciled, gaps=gaps)

    def account(self, provider: str, mode: Mode) -> Account:
        """Returns the account of a provider. Raises VenueUnavailable while there is none."""
        with self.lock.reading:
            return self.accounts.get(provider, mode)

    def account_keys(self) -> list[Key]:
        """Returns the accounts that were connected, by provider and mode."""
        with self.lock.reading:
            return self.accounts.keys()

    def account_of(self, provider: str, mode: Mode) -> Account | None:
        """Returns the account of a provider; None while there is none."""
        with self.lock.reading:
            return self.accounts.link(provider, mode).account

    def attach(self, owner: Owner, recipient: Recipient) -> int:
        """Sets who receives the callbacks of an owner's orders; returns the last report before them."""
        with self.lock:
            self._recipients[owner] = recipient
            self.gate.open(owner)
            return self.pending.last_report

    def detach(self, owner: Owner) -> None:
        """Ends the callbacks of an owner. None of its orders leaves any more."""
        with self.lock:
            self._recipients.pop(owner, None)
            self.latencies.forget(owner)
            self.closings.drop(owner)
            self.gate.close(owner)

    def is_attached(self, owner: Owner) -> bool:
        """Returns whether an owner receives callbacks: it runs. The caller holds the lock."""
        return owner in self._recipients

    def stop_orders(self, owner: Owner) -> None:
        """Lets no further order of an owner leave; cancels do."""
        with self.lock:
            self.gate.close(owner)

    # Orders of strategies; the caller holds the lock

    def open(self, record: OrderRecord, timings: Timings) -> OrderMachine:
        """1 and 3: adds an approved order, which is written and then sent."""
        machine = OrderMachine(record, timings)
        self.orders.add(machine)
        self.pending.opened(machine)
        return machine

    def amended(self, machine: OrderMachine, effects: list[Effect]) -> None:
        """Carries out an amendment, which is written and then sent."""
        self.pending.amended(machine, self.clock())
        self.carry_out(machine, effects)

    def restore(self, machine: OrderMachine) -> None:
        """Adds an order of an earlier run, and reserves what it may still trade."""
        self.orders.add(machine)
        record = machine.record
        if not record.state.is_final:
            self.risks[record.owner.mode].restore_order(record)
        self.carry_out(machine, machine.restored(self.clock()))

    def find(self, id: UUID) -> OrderMachine | None:
        """Returns an order by its id."""
        return self.orders.find(id)

    def carry_out(self, machine: OrderMachine, effects: list[Effect]) -> bool:
        """Carries out the effects of a change; returns whether the order may be sent now."""
        may_leave = False
        self.orders.watch(machine)
        record = machine.record
        risk = self.risks[record.owner.mode]
        for effect in effects:
            match effect:
                case WriteOrder():
                    machine.changed_at = self.clock()
                    self.latencies.follow(machine)
                    self.pending.changed(machine)
                case BookFill():
                    self._book(machine, effect)
                case Callback():
                    self._call(effect)
                case Submit() | SubmitAmendment():
                    may_leave = True
                case Fault():
                    log.error("order %s: %s: %s", record.client_order_id, effect.code, effect.detail)
                case _:
                    self._requested.append((machine, effect))
        if record.state.is_final:
            risk.release(record.id)
        elif effects:
            risk.set_unknown(record.id, unknown=record.state is OrderState.UNKNOWN)
        return may_leave

    # Events, from any thread

    def cancel(self, machines: Iterable[OrderMachine]) -> None:
        """Requests the ends of orders. The caller holds the lock."""
        now = self.clock()
        for machine in machines:
            self.carry_out(machine, machine.cancel(now))

    def apply(self, machine: OrderMachine, event: Event) -> None:
        """Passes something that happened to an order."""
        with self.lock:
            self.happened(machine, event)
        self._wake()

    def happened(self, machine: OrderMachine, event: Event) -> None:
        """4: passes an event to an order and carries out its effects. The caller holds the lock."""
        now = self.clock()
        try:
            effects = event(machine, now)
        except Exception as error:
            if not machine.is_as_before:
                raise
            log.exception("order %s failed and is cancelled", machine.record.client_order_id)
            effects = machine.failed(now, one_line(error))
        self.carry_out(machine, effects)

    def report(self, provider: str, mode: Mode, snapshot: OrderSnapshot, fill: Fill | None = None) -> bool:
        """Passes a report of an account's stream to its order; returns False if the order is not ours."""
        with self.lock:
            id = snapshot.client_order_id
            machine = self.ours(provider, mode, id)
            execution = None if fill is None else fill.execution_id
            if machine is None and (self.is_lost(id) or is_misplaced(self, provider, mode, id, execution)):
                # Reconciling loads or names it, and no order leaves before it is explained.
                self.accounts.lose_reports(provider, mode)
            elif machine is None:
                self.accounts.foreign_order(provider, mode, snapshot)
                if fill is not None:
                    self.fills_booked += self.accounts.foreign_fill(provider, mode, fill)
            else:
                self.accounts.link(provider, mode).unreported.pop(machine.record.id, None)
                # The fill first: its report may say that the order has ended with it.
                if fill is not None:
                    self.happened(machine, lambda m, now: m.filled(fill, now))
                self.happened(machine, lambda m, now: m.reported(snapshot, now))
        self._wake()
        return machine is not None

    def found_fill(self, provider: str, mode: Mode, fill: Fill) -> FillOrigin | None:
        """Passes a fill that a query found; returns whose it is, or None if it was booked before."""
        with self.lock:
            before = self.fills_booked
            machine = self.ours(provider, mode, fill.client_order_id)
            origin = FillOrigin.OURS
            if machine is not None:
                self.happened(machine, lambda m, now: m.filled(fill, now, recovered=True))
            elif self.is_lost(fill.client_order_id):
                return FillOrigin.LOST
            elif is_misplaced(self, provider, mode, fill.client_order_id, fill.execution_id):
                return FillOrigin.MISPLACED
            else:
                origin = FillOrigin.FOREIGN
                self.fills_booked += self.accounts.foreign_fill(provider, mode, fill)
            new = self.fills_booked > before
        self._wake()
        return origin if new else None

    def balance(self, provider: str, mode: Mode, currency: str, balance: Balance) -> None:
        """Passes a balance of an account's stream."""
        with self.lock:
            self.accounts.take_balance(provider, mode, currency, balance)
        self._wake()

    def pass_last_check(self, machine: OrderMachine, requested_at: int, *, amendment: bool = False) -> bool:
        """Checks an order immediately before it is sent; returns whether it may leave.

        Halts, stops, reconciliation and age are checked. An order that may not leave ends as REJECTED.
        """
        with self.lock:
            now = self.clock()
            check = machine.sending_amendment if amendment else machine.sending
            effects = check(now, age=now - requested_at, blocked=self._obstacle(machine))
            may_leave = self.carry_out(machine, effects)
        self._wake()
        return may_leave

    def check_again(self, machine: OrderMachine, requested_at: int) -> None:
        """Checks an order that passed the last check and is not written yet. Raises OrderRefused."""
        with self.lock.reading:
            late = self.clock() - requested_at > MAX_AGE
            obstacle = TOO_LATE if late else self._obstacle(machine)
        if obstacle is not None:
            raise OrderRefused(obstacle, f"order {machine.record.client_order_id} may no longer leave")

    def tick(self) -> None:
        """Requests what is due: repeated cancels, queries of uncertain orders, ends of orders that expire."""
        with self.lock:
            now = self.clock()
            in_flight: dict[Mode, dict[Currency, int]] = {mode: {} for mode in self.risks}
            for machine in self.orders.take_watched():
                record = machine.record
                if machine.needs_tick:
                    self.happened(machine, OrderMachine.tick)
                elif record.state.is_final:
                    self.orders.end(machine)
                if machine.is_in_flight:
                    self.orders.watch(machine)
                    oldest = in_flight[record.owner.mode]
                    for currency in currencies_of(record.provider, record.symbol):
                        oldest[currency] = min(oldest.get(currency, now), record.intent_at)
            for record in self.orders.forget_old(now):
                self.pending.forget(record.id)
            texts = self.accounts.check_differences(in_flight)
            self.silent += (silent := self.accounts.silent(now))
            texts += [f"{provider}: the stream did not report an order in time" for provider, _ in silent]
            self.changes.check(self.obstacle_of)
            self.controls.check(now)
        for text in texts:
            log.error("%s", text)
        self.wake()

    # The loop's side

    def take_batch(self, *, refusals: int = REFUSALS) -> Batch:
        """Returns what waits to be written, with at most so many refusals of a mode, and forgets it."""
        with self.lock:
            for risk in self.risks.values():
                self.pending.write(risk_rows(risk.events.take(self.clock(), refusals)))
            return self.pending.take(self.clock(), only_acts=self.gate.failure is not None)

    def write(self, rows: Iterable[Row]) -> None:
        """Adds rows to the next commit."""
        with self.lock:
            self.pending.write(rows)
        self.wake()

    def write_refusals(self) -> None:
        """Adds all refusals to the next commit, which is the last one."""
        with self.lock:
            for risk in self.risks.values():
                self.pending.write(risk_rows(risk.events.take_all()))

    def take_requests(self) -> list[tuple[OrderMachine, Effect]]:
        """Returns the requests to make at venues, and forgets them."""
        with self.lock:
            requested, self._requested = self._requested, []
        return requested

    def put_back(self, batch: Batch, reason: str) -> None:
        """Takes back a batch that was not committed. Its new orders and amendments never leave."""
        with self.lock:
            self.pending.put_back(batch.rows)
            now = self.clock()
            for machine in batch.new:
                self.carry_out(machine, machine.refused(now, reason))
            for machine, requested_at in batch.amendments:
                effects = machine.sending_amendment(now, age=now - requested_at, blocked=reason)
                self.carry_out(machine, effects)

    def obstacle_of(self, owner: Owner, scope: Mapping[str, object]) -> str | None:
        """Returns why no order of an owner may leave now; None if orders may. The caller holds the lock."""
        if (obstacle := self.gate.obstacle(owner)) is not None:
            return obstacle
        for provider in scope:
            if not self.accounts.link(provider, owner.mode).ready:
                return f"not_reconciled: {provider}"
        return self.risks[owner.mode].halted(owner, scope)

    def is_lost(self, client_order_id: str) -> bool:
        """Returns whether an order has the mark of this home, but is not kept and not in the database."""
        known = client_order_id in self.orders or client_order_id in self.accounts.disowned
        return not known and self._has_mark(client_order_id)

    def open_machines(self) -> list[OrderMachine]:
        """Returns the orders that have not ended. The caller holds the lock."""
        return self.orders.open()

    def open_keys(self) -> set[PositionKey]:
        """Returns the positions that open orders may move. The caller holds the lock."""
        return {each.record.position_key for each in self.open_machines()}

    def symbols(self, provider: str, mode: Mode) -> set[str]:
        """Returns the symbols of an account that may have fills of ours. The caller holds the lock."""
        return self.orders.symbols(provider, mode) | self.risks[mode].registry.symbols(provider)

    def is_ours(self, provider: str, mode: Mode, order: OrderSnapshot) -> bool:
        """Returns whether an order of an account is kept as one of an instance."""
        return self.ours(provider, mode, order.client_order_id) is not None

    def ours(self, provider: str, mode: Mode, client_order_id: str) -> OrderMachine | None:
        """Returns an order of an account by its client order id. The caller holds the lock."""
        machine = self.orders.of_client_id(client_order_id)
        if machine is None or (machine.record.provider, machine.record.owner.mode) != (provider, mode):
            return None
        return machine

    def _wake(self) -> None:
        (self.wake if self._requested else self.wake_commits)()

    def _obstacle(self, machine: OrderMachine) -> str | None:
        record = machine.record
        if (obstacle := self.gate.obstacle(record.owner, record.id)) is not None:
            return obstacle
        if not self.accounts.link(record.provider, record.owner.mode).ready:
            return "not_reconciled"
        return self.risks[record.owner.mode].obstacle(record.id)

    def _book(self, machine: OrderMachine, effect: BookFill) -> None:
        """2: applies a new fill."""
        record, fill = machine.record, effect.fill
        self.fills_booked += 1
        position = self.positions.fill(record.position_key, fill)
        self.accounts.balances[record.owner.mode].fill(record.position_key, fill)
        risk = self.risks[record.owner.mode]
        now = self.clock()
        risk.filled(record, fill.quantity, fill.price, position.quantity, self.market, now)
        self.pending.filled(record, effect, position, now)
        self.latencies.filled(record, effect, now)

    def _call(self, callback: Callback) -> None:
        record = callback.order
        if callback.kind in _AMENDED:
            self.risks[record.owner.mode].amended(record)
        if record.state.is_final:
            self.pending.ended(record.id)
        self.pending.reported(record)
        if (recipient := self._recipients.get(record.owner)) is not None:
            recipient(callback, self.pending.last_report)
