"""Reconciling: ask a venue for orders, fills and balances, and make ours agree, before orders leave.

It runs after each connect of an account, also after a start of the gateway, and after reports were lost:

1. The fills are read from before the gap: from the watermark of each symbol, committed behind its fills.
2. The open orders are read. One of ours that is not among them is queried by its id.
3. The balances are read, and once more if the account traded meanwhile.
4. Everything is passed to the orders and the balances as found now, so that owners learn it as recovered.
5. A difference of the balances may settle for a while, and is read again; then it is a fault. No order leaves
   in between: the account may be another one.

What is found is kept in the table `reconciliations`.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from meltica.errors import DatabaseError, OrderRefused, RateLimited, VenueError, one_line
from meltica.model.account import Account
from meltica.model.enums import Mode
from meltica.model.fills import Fill, FillMark
from meltica.model.orders import OrderSnapshot
from meltica.persistence.stores.trading.rows import ReconciliationRow
from meltica.runtime.backoff import Backoff
from meltica.trading import comparison
from meltica.trading.absent import is_misplaced
from meltica.trading.accounts import FillOrigin
from meltica.trading.balances import SETTLES_WITHIN
from meltica.trading.desk import Desk
from meltica.trading.restore import StoredOrders
from meltica.trading.state_machine import OrderMachine
from meltica.trading.strays import find_strays

log = logging.getLogger("meltica.trading")

POLL = 0.05
"""Seconds between two checks whether an account is connected."""
PAUSES = 0.5, 30.0
"""Seconds between two attempts: the first pause, and the longest."""
MARGIN = 60 * 10**9
"""How far before the watermark fills are read again: venues may list a fill late."""


@dataclass
class Found:
    """What reconciling found."""

    fills: int = 0
    """Fills of our orders that were not reported."""
    foreign_fills: int = 0
    orders: dict[str, str] = field(default_factory=dict[str, str])
    """Client order id -> state, of our orders whose state has changed."""
    foreign_orders: int = 0
    lost: list[str] = field(default_factory=list[str])
    """Client order ids with the mark of this home whose orders are not in the database."""
    misplaced: list[str] = field(default_factory=list[str])
    """Client order ids of orders that are ours at another provider."""
    differences: dict[str, str] = field(default_factory=dict[str, str])
    """Currency -> the part of the venue's balance that nothing explains."""

    @property
    def agrees(self) -> bool:
        """Whether orders may leave."""
        return not self.lost and not self.misplaced

    def as_json(self) -> dict[str, object]:
        """Returns the report, without what was not found."""
        return {name: value for name, value in vars(self).items() if value}


class Reconciler:
    """Keeps one account reconciled. Its task runs on trading's loop."""

    def __init__(self, desk: Desk, stored: StoredOrders, provider: str, mode: Mode) -> None:
        self._desk = desk
        self._stored = stored
        self._provider = provider
        self._mode = mode
        self._name = f"the {mode} account of {provider}"
        self.last: ReconciliationRow | None = None

    async def run(self) -> None:
        """Reconciles the account after each connect, until it is cancelled."""
        cause = "start"
        while True:
            account = await self._connected()
            gaps = self._gaps()
            await self._reconcile(account, gaps, cause)
            cause = "reconnect"
            await self._follow(account, gaps)
            self._desk.set_reconciled(self._provider, self._mode, reconciled=False)

    async def _follow(self, account: Account, gaps: int) -> None:
        """Compares a reconciled account now and then; returns when it has to be reconciled again."""
        loop = asyncio.get_running_loop()
        due = loop.time() + comparison.EVERY
        while self._is_connected(account, gaps):
            await asyncio.sleep(POLL)
            if loop.time() < due:
                continue
            try:
                await comparison.compare(self._desk, account, self._provider, self._mode)
            except (VenueError, OrderRefused) as error:
                log.warning("%s not compared: %s", self._provider, one_line(error))
            except Exception:
                log.exception("%s not compared; it is reconciled again", self._name)
                return
            due = loop.time() + comparison.EVERY

    async def _connected(self) -> Account:
        while True:
            account = self._desk.account_of(self._provider, self._mode)
            if account is not None and account.reconciled:
                return account
            await asyncio.sleep(POLL)

    def _gaps(self) -> int:
        with self._desk.lock.reading:
            return self._desk.accounts.link(self._provider, self._mode).gaps

    def _is_connected(self, account: Account, gaps: int) -> bool:
        same = self._desk.account_of(self._provider, self._mode) is account
        return same and account.reconciled and self._gaps() == gaps

    async def _reconcile(self, account: Account, gaps: int, cause: str) -> None:
        backoff = Backoff(*PAUSES)
        deadline: int | None = None
        while self._is_connected(account, gaps):
            started_at = self._desk.clock()
            try:
                found = await self._read(account)
            except Exception as error:
                # Also one that nothing expects, such as of an unreadable answer: it concerns this account.
                pause = backoff.next()
                if isinstance(error, RateLimited):
                    pause = max(pause, error.retry_after)
                expected = isinstance(error, VenueError | OrderRefused | DatabaseError)
                log.log(
                    logging.WARNING if expected else logging.ERROR,
                    "%s not reconciled: %s; retry in %.1f s",
                    self._name,
                    one_line(error),
                    pause,
                    exc_info=None if expected else error,
                )
                self._set_problem(one_line(error))
                await asyncio.sleep(pause)
                continue
            if found.agrees and self._settles():
                # 5
                deadline = deadline or self._desk.clock() + 2 * SETTLES_WITHIN
                if self._desk.clock() < deadline:
                    self._set_problem(f"a part of the balances is unexplained: {found.differences}")
                    await asyncio.sleep(PAUSES[0])
                    continue
            self._set_problem(None)
            self._finish(found, gaps, cause, started_at)
            if found.agrees:
                return
            await self._wait_for_operator(backoff.next())

    def _settles(self) -> bool:
        with self._desk.lock.reading:
            return self._desk.accounts.balances[self._mode].settles(self._provider)

    def _set_problem(self, text: str | None) -> None:
        with self._desk.lock:
            self._desk.accounts.link(self._provider, self._mode).problem = text

    async def _wait_for_operator(self, pause: float) -> None:
        """Waits until no order is lost or misplaced any more, but not longer than `pause` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + pause
        link = self._desk.accounts.link(self._provider, self._mode)
        while (link.lost or link.misplaced) and loop.time() < deadline:
            await asyncio.sleep(POLL)

    def _finish(self, found: Found, gaps: int, cause: str, started_at: int) -> None:
        for id in found.lost:
            log.error(
                "order %s at %s is ours, but not in the database: no order leaves for %s until an operator"
                " adopts or cancels it",
                id,
                self._provider,
                self._provider,
            )
        for id in found.misplaced:
            log.error(
                "order %s at %s is ours at another provider: no order leaves for %s until the settings of"
                " both are restored",
                id,
                self._provider,
                self._provider,
            )
        row = self.last = ReconciliationRow(
            provider=self._provider,
            mode=self._mode,
            cause=cause,
            started_at=started_at,
            ended_at=self._desk.clock(),
            agreed=found.agrees,
            found=found.as_json(),
        )
        self._desk.write([row])
        if found.agrees:
            # What the venue says of every order was passed to it, which explains disagreements.
            self._desk.set_reconciled(self._provider, self._mode, reconciled=True, gaps=gaps)
            log.info("%s is reconciled: %s", self._name, found.as_json() or "nothing was missed")

    async def _read(self, account: Account) -> Found:
        found = Found()
        desk, provider, mode = self._desk, self._provider, self._mode
        venue_time = await account.time()
        with desk.lock:
            marks = desk.accounts.marks(provider, mode, desk.symbols(provider, mode), venue_time)
        asked_at = desk.clock()
        open_orders = {order.client_order_id: order for order in await account.open_orders()}
        fills = await account.fills_since(_with_margin(marks))
        ids = [fill.client_order_id for fill in fills] + list(open_orders)
        await self._load_stored(ids)
        strays = await find_strays(desk, provider, mode, ids)
        with desk.lock:
            desk.accounts.link(provider, mode).strays = strays
        self._apply_fills(fills, found)
        for machine in self._sent():
            snapshot = open_orders.get(machine.record.client_order_id)
            await self._check(account, machine, snapshot, asked_at, found)
        balances = await comparison.read_balances(desk, account)
        with desk.lock:
            foreign = [each for each in open_orders.values() if not desk.is_ours(provider, mode, each)]
            found.foreign_orders = len(foreign)
            found.lost += [each.client_order_id for each in foreign if desk.is_lost(each.client_order_id)]
            found.misplaced += [
                each.client_order_id
                for each in foreign
                if is_misplaced(desk, provider, mode, each.client_order_id)
            ]
            link = desk.accounts.link(provider, mode)
            link.lost = tuple(dict.fromkeys(found.lost))
            link.misplaced = tuple(dict.fromkeys(found.misplaced))
            found.differences = desk.accounts.take_all(provider, mode, balances, foreign)
        return found

    def _apply_fills(self, fills: Sequence[Fill], found: Found) -> None:
        desk, provider, mode = self._desk, self._provider, self._mode
        for fill in fills:
            origin = desk.found_fill(provider, mode, fill)
            found.fills += origin is FillOrigin.OURS
            found.foreign_fills += origin is FillOrigin.FOREIGN
            if origin is FillOrigin.LOST:
                found.lost.append(fill.client_order_id)
            elif origin is FillOrigin.MISPLACED:
                found.misplaced.append(fill.client_order_id)
        if not found.agrees:
            # Their fills are read again once it is known whose the orders are.
            return
        with desk.lock:
            # After the fills: the watermarks are committed with them or later.
            desk.accounts.advance(provider, mode, fills)

    async def _load_stored(self, ids: Iterable[str]) -> None:
        """Loads orders with the mark of this home that are no longer kept in memory."""
        with self._desk.lock:
            missing = {id for id in ids if self._desk.is_lost(id)}
        if missing:
            await self._stored.load(missing)

    def _sent(self) -> list[OrderMachine]:
        """Returns our orders of the account that have left and not ended."""
        with self._desk.lock.reading:
            return [
                machine
                for machine in self._desk.open_machines()
                if (machine.record.provider, machine.record.owner.mode) == (self._provider, self._mode)
                and machine.has_left
            ]

    async def _check(
        self,
        account: Account,
        machine: OrderMachine,
        snapshot: OrderSnapshot | None,
        asked_at: int,
        found: Found,
    ) -> None:
        """Passes the venue's state of one of our orders that has not ended."""
        record = machine.record
        before = record.state
        if snapshot is None:
            asked_at = self._desk.clock()
            try:
                snapshot = await account.order(record.symbol, record.client_order_id)
            except VenueError as error:
                if error.code != "unsettled":
                    raise
                # It may still arrive; its own queries decide.
                return
        if snapshot is not None:
            reported = snapshot
            self._desk.apply(
                machine, lambda m, now: m.reported(reported, now, asked_at=asked_at, recovered=True)
            )
        else:
            self._desk.apply(machine, lambda m, now: m.not_found(asked_at, now, absent=True))
        if record.state is not before:
            found.orders[record.client_order_id] = record.state.value


def _with_margin(marks: Mapping[str, FillMark]) -> dict[str, FillMark]:
    return {symbol: FillMark(max(0, mark.time - MARGIN)) for symbol, mark in marks.items()}
