"""`Requests`: carries out at the venue what the orders' state machines request.

Every request is a task of trading's loop. What becomes of it is passed to the machine, whatever happens: an
exception that does not show whether the venue executed a request counts as an unknown outcome.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from meltica.errors import OrderRefused, OutcomeUnknown, ProtocolError, RateLimited, VenueError, one_line
from meltica.model.balances import Balance
from meltica.model.fills import START, Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.runtime.backoff import Backoff
from meltica.trading.accounts import MARGIN, currencies_of
from meltica.trading.effects import (
    CheckForgotten,
    Effect,
    QueryFills,
    QueryOrder,
    SendCancel,
)
from meltica.trading.order import OrderRecord
from meltica.trading.state_machine import OrderMachine

if TYPE_CHECKING:
    from meltica.model.account import Account
    from meltica.trading.desk import Desk

log = logging.getLogger("meltica.trading")

NOT_SENT = "not_sent"
QUERY_PAUSES = 0.5, 10.0
"""Seconds between two attempts at a query that failed: the first pause, and the longest."""

_NO_BREACH = frozenset({"would_cross", "insufficient_funds", "rate_limited", "unfillable"})
"""Reasons of venues that never count as breaches."""

Event = Callable[[OrderMachine, int], list[Effect]]
T = TypeVar("T")


class NotSent(OrderRefused):
    """The last check did not pass: its order or amendment has ended, and nothing is sent."""


class Requests:
    """The requests in flight. Used by trading's loop only."""

    def __init__(self, desk: "Desk") -> None:
        self._desk = desk
        self._tasks: set[asyncio.Task[None]] = set()
        self._queries: set[tuple[UUID, type[Effect]]] = set()

    def begin(self, machine: OrderMachine, effect: Effect) -> None:
        """Starts the request of an effect. A query that is in flight is not made twice."""
        match effect:
            case SendCancel():
                work = self._cancel(machine)
            case QueryOrder() | QueryFills() | CheckForgotten():
                key = machine.record.id, type(effect)
                if key in self._queries:
                    return
                self._queries.add(key)
                work = self._query(machine, type(effect))
            case _:
                raise TypeError(f"not a request: {effect!r}")
        self._start(work)

    def submit(self, machine: OrderMachine) -> None:
        """Starts the request that sends a committed order."""
        self._start(self._submit(machine))

    def submit_amendment(self, machine: OrderMachine, requested_at: int) -> None:
        """Starts the request that sends a committed amendment."""
        self._start(self._amend(machine, requested_at))

    async def close(self, grace: float) -> int:
        """Waits for the requests in flight, then cancels them; returns how many were cancelled."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        cancelled = list(self._tasks)
        for task in cancelled:
            task.cancel()
        if cancelled:
            await asyncio.wait(cancelled)
        return len(cancelled)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Future[None]") -> None:
        self._tasks.discard(task)  # type: ignore[arg-type]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a request of trading failed in an unexpected way", exc_info=error)

    def _account(self, machine: OrderMachine) -> "Account":
        return self._desk.account(machine.record.provider, machine.record.owner.mode)

    async def _submit(self, machine: OrderMachine) -> None:
        record = machine.record
        new = NewOrder(
            client_order_id=record.client_order_id,
            symbol=record.symbol,
            side=record.side,
            quantity=record.quantity,
            price=record.limit_price,
            time_in_force=record.time_in_force,
            post_only=record.post_only,
        )
        await self._change(
            machine,
            lambda account: account.submit(new, self._last_check(machine, record.intent_at)),
            answered=self._answered,
            refused=lambda reason: lambda m, now: m.refused(now, reason),
            unknown=lambda m, now: m.outcome_unknown(now),
            cut_off=lambda m, now: m.outcome_unknown(now) if m.has_left else m.refused(now, NOT_SENT),
            on_refusal=lambda reason: self._count_rejection(machine, reason),
        )

    def _answered(self, answer: OrderSnapshot) -> Event:
        def event(machine: OrderMachine, now: int) -> list[Effect]:
            record = machine.record
            link = self._desk.accounts.link(record.provider, record.owner.mode)
            if record.acknowledged_at is None and link.account is not None and link.account.has_stream:
                link.unreported[record.id] = now
            return machine.answered(answer, now)

        return event

    def _count_rejection(self, machine: OrderMachine, reason: str) -> None:
        """Counts the venue's rejection of an order as a breach, unless the market or the funds caused it."""
        if reason not in _NO_BREACH:
            record, desk = machine.record, self._desk
            with desk.lock:
                desk.risks[record.owner.mode].rejected(record, desk.clock())

    def _last_check(
        self, machine: OrderMachine, requested_at: int, *, amendment: bool = False
    ) -> Callable[[], None]:
        """Returns the last check of an order or an amendment: its first call records that it leaves."""
        leaves = False

        def check() -> None:
            nonlocal leaves
            if leaves:
                self._desk.check_again(machine, requested_at)
            elif not self._desk.pass_last_check(machine, requested_at, amendment=amendment):
                raise NotSent(NOT_SENT, f"order {machine.record.client_order_id} may no longer leave")
            leaves = True

        return check

    async def _amend(self, machine: OrderMachine, requested_at: int) -> None:
        record, amendment = machine.record, machine.record.amendment
        if amendment is None:
            # The order has ended, and its amendment with it.
            return
        await self._change(
            machine,
            lambda account: account.amend(
                record.symbol,
                record.client_order_id,
                quantity=amendment.quantity,
                price=amendment.price,
                last_check=self._last_check(machine, requested_at, amendment=True),
            ),
            answered=lambda answer: lambda m, now: m.amend_answered(now, answer),
            refused=lambda reason: lambda m, now: m.amend_refused(now, reason),
            unknown=lambda m, now: m.amend_outcome_unknown(now),
            cut_off=lambda m, now: (
                m.amend_outcome_unknown(now) if m.amendment_has_left else m.amend_refused(now, NOT_SENT)
            ),
        )

    async def _cancel(self, machine: OrderMachine) -> None:
        record = machine.record
        if self._desk.gate.rival:
            # Repeated as long as it is wanted.
            self._desk.apply(machine, lambda m, _now: m.cancel_failed())
            return
        try:
            answer = await self._account(machine).cancel(record.symbol, record.client_order_id)
        except OrderRefused as refusal:
            reason = refusal.reason
            self._desk.apply(machine, lambda m, now: m.cancel_refused(now, reason))
        except BaseException as error:
            # Repeated by the machine, as long as the venue does not report the end of the order.
            self._desk.apply(machine, lambda m, _: m.cancel_failed())
            if not isinstance(error, VenueError):
                raise
            level = logging.INFO if error.code == "not_running" else logging.WARNING
            log.log(level, "cancel of order %s failed: %s", record.client_order_id, one_line(error))
        else:
            self._desk.apply(machine, lambda m, now: m.cancel_answered(now, answer))

    async def _change(
        self,
        machine: OrderMachine,
        request: Callable[["Account"], Awaitable[OrderSnapshot]],
        *,
        answered: Callable[[OrderSnapshot], Event],
        refused: Callable[[str], Event],
        unknown: Event,
        cut_off: Event,
        on_refusal: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Makes a request that changes something, once, and passes its outcome to the machine.

        `cut_off` is the outcome of a request that is given up. It ends what has not left: should the account
        go on with the request, its last check fails.
        """
        try:
            answer = await request(self._account(machine))
        except NotSent as refusal:
            log.info("%s", refusal.message)
            return
        except OrderRefused as refusal:
            event = refused(refusal.reason)
            on_refusal(refusal.reason)
        except (OutcomeUnknown, ProtocolError) as error:
            log.warning("order %s: %s", machine.record.client_order_id, one_line(error))
            event = unknown
        except VenueError as error:
            event = refused(error.code)
        except BaseException:
            self._desk.apply(machine, cut_off)
            raise
        else:
            event = answered(answer)
        self._desk.apply(machine, event)

    async def _query(self, machine: OrderMachine, kind: type[Effect]) -> None:
        """Makes a query until the venue answers it."""
        backoff = Backoff(*QUERY_PAUSES)
        key = machine.record.id, kind
        try:
            while True:
                try:
                    event = await self._queried(machine, kind)
                except (VenueError, OrderRefused) as error:
                    pause = backoff.next()
                    if isinstance(error, RateLimited):
                        pause = max(pause, error.retry_after)
                    log.info("query of order %s failed: %s", machine.record.client_order_id, one_line(error))
                    await asyncio.sleep(pause)
                else:
                    # Before the event: it may request the next query.
                    self._queries.discard(key)
                    self._desk.apply(machine, event)
                    return
        finally:
            self._queries.discard(key)

    async def _queried(self, machine: OrderMachine, kind: type[Effect]) -> Event:
        record, account = machine.record, self._account(machine)
        asked_at = self._desk.clock()
        if kind is QueryFills:
            fills = await self._fills(machine)
            return lambda m, now: _each(m, fills, now)
        if kind is CheckForgotten:
            fills = await self._fills(machine)
            for fill in fills:
                self._desk.apply(machine, lambda m, now, fill=fill: m.filled(fill, now, recovered=True))
            agrees = self._balances_agree(record, await account.balances())
            return lambda m, now: m.forgotten(now, agrees=agrees)
        snapshot = await account.order(record.symbol, record.client_order_id)
        if snapshot is not None:
            return lambda m, now: m.reported(snapshot, now, asked_at=asked_at)
        open_orders = await account.open_orders()
        fills = await self._fills(machine)
        absent = all(each.client_order_id != record.client_order_id for each in open_orders)
        # The fills first: a new one proves that the order arrived, and what was not found counts again.
        return lambda m, now: [*_each(m, fills, now), *m.not_found(asked_at, now, absent=absent)]

    def _balances_agree(self, record: OrderRecord, balances: Mapping[str, Balance]) -> bool:
        """Takes balances of the venue; returns whether those of an order's currencies are explained."""
        accounts, provider, mode = self._desk.accounts, record.provider, record.owner.mode
        with self._desk.lock:
            for currency, balance in balances.items():
                accounts.take_balance(provider, mode, currency, balance)
            lines = [accounts.balances[mode].lines(*each) for each in currencies_of(provider, record.symbol)]
        return all(line.difference == 0 for line in lines)

    async def _fills(self, machine: OrderMachine) -> list[Fill]:
        """Returns the venue's fills of an order."""
        record, account = machine.record, self._account(machine)
        venue_time = await account.time() if record.venue_time is None else None
        ahead = 0 if venue_time is None else self._desk.clock() - venue_time
        fills = await account.fills_since({record.symbol: _mark_before(record, ahead)})
        return [fill for fill in fills if fill.client_order_id == record.client_order_id]


def _each(machine: OrderMachine, fills: list[Fill], now: int) -> list[Effect]:
    return [effect for fill in fills for effect in machine.filled(fill, now, recovered=True)]


def _mark_before(record: OrderRecord, ahead: int) -> FillMark:
    """Returns a place in the venue's fills before all those of an order; our clock is `ahead` of its."""
    intent_at = record.intent_at - ahead
    time = (intent_at if record.venue_time is None else min(intent_at, record.venue_time)) - MARGIN
    return FillMark(time) if time > 0 else START
