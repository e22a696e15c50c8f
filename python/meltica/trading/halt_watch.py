"""`HaltWatch`: makes the halts of the database effective, in memory and at the venues."""

import logging
from collections.abc import Iterable

from meltica.model.enums import Mode
from meltica.persistence.stores.outbox import EventRow, event
from meltica.persistence.stores.trading.rows import HaltRow, HaltScope
from meltica.trading.desk import Desk
from meltica.trading.order import Owner
from meltica.trading.risk.scopes import Scope
from meltica.trading.risk.stored import halt_of

log = logging.getLogger("meltica.trading")


class HaltWatch:
    """Compares the active halts of each commit with those of the last one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._active: set[tuple[Scope, Mode | None]] = set()
        """The halted scopes, and in which mode, as of the last commit."""

    def take(self, halts: Iterable[HaltRow], written: Iterable[HaltRow] = ()) -> None:
        """Takes the active halts: halts new scopes and cancels their open orders, and resumes others.

        `written` are halts of the same commit, which it did not read yet.
        """
        active = {(Scope(halt.scope, halt.subject), halt.mode): halt for halt in [*written, *halts]}
        desk = self._desk
        for scope, mode in active.keys() - self._active:
            row = active[scope, mode]
            log.error("%s is halted%s by %s: %s", scope, _of(mode), row.halted_by, row.reason)
            with desk.lock:
                halt = halt_of(row, desk.clock())
                for each in _modes(desk, mode):
                    desk.risks[each].restore_halt(scope, halt)
                    cancel_in(desk, scope, each)
                desk.pending.write([_event("risk.halted", scope, mode, row)])
            desk.wake()
        for scope, mode in self._active - active.keys():
            log.warning("%s is resumed%s", scope, _of(mode))
            with desk.lock:
                for each in _modes(desk, mode):
                    self._resume(scope, each, active.get((scope, None)) or active.get((scope, each)))
                desk.pending.write([_event("risk.resumed", scope, mode)])
            desk.wake()
        self._active = set(active)

    def _resume(self, scope: Scope, mode: Mode, remaining: HaltRow | None) -> None:
        """Ends the halt of a scope in a mode; another one that is active takes its place."""
        risk, now = self._desk.risks[mode], self._desk.clock()
        risk.resume(scope, "operator", now)
        if remaining is not None:
            risk.restore_halt(scope, halt_of(remaining, now))


def halt_scope(desk: Desk, scope: Scope, reason: str, by: str) -> bool:
    """Halts a scope in all modes and cancels its open orders; returns False if it was halted in all of them.

    The caller holds the lock of trading.
    """
    now = desk.clock()
    halted = [risk.halt(scope, reason, by, now) for risk in desk.risks.values()]
    for mode in desk.risks:
        cancel_in(desk, scope, mode)
    return any(halted)


def cancel_in(desk: Desk, scope: Scope, mode: Mode) -> None:
    """Requests the ends of the open orders of a scope in a mode. The caller holds the lock."""
    records = ((machine, machine.record) for machine in desk.open_machines())
    desk.cancel(
        machine
        for machine, record in records
        if record.owner.mode is mode and is_in(scope, record.owner, record.provider)
    )


def _modes(desk: Desk, mode: Mode | None) -> Iterable[Mode]:
    return desk.risks if mode is None else (mode,) if mode in desk.risks else ()


def _event(kind: str, scope: Scope, mode: Mode | None, halt: HaltRow | None = None) -> EventRow:
    """Returns the event of a halt that has become effective, or of its end."""
    payload = {"scope": str(scope)}
    if mode is not None:
        payload["mode"] = mode.value
    if halt is not None:
        payload |= {"rule": halt.rule, "reason": halt.reason, "by": halt.halted_by}
    return event("risk", str(scope), kind, payload)


def _of(mode: Mode | None) -> str:
    return "" if mode is None else f" in {mode.value}"


def is_in(scope: Scope, owner: Owner, provider: str) -> bool:
    """Returns whether what an owner has at a provider belongs to a scope."""
    match scope.kind:
        case HaltScope.GLOBAL:
            return True
        case HaltScope.PROVIDER:
            return provider == scope.name
        case HaltScope.INSTANCE:
            return Scope.instance(owner) == scope
