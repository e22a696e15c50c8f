"""`HaltWatch`: makes the halts of the database effective, in memory and at the venues."""

import logging
from collections.abc import Iterable

from meltica.persistence.stores.trading.rows import HaltRow, HaltScope
from meltica.trading.desk import Desk
from meltica.trading.order import Owner
from meltica.trading.risk.scopes import Scope

log = logging.getLogger("meltica.trading")


class HaltWatch:
    """Compares the active halts of each commit with those of the last one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._scopes: set[Scope] = set()
        """The halted scopes, as of the last commit."""

    def take(self, halts: Iterable[HaltRow], written: Iterable[HaltRow] = ()) -> None:
        """Takes the active halts: halts new scopes and cancels their open orders, and resumes others.

        `written` are halts of the same commit, which it did not read yet.
        """
        active = {Scope(halt.scope, halt.subject): halt for halt in [*written, *halts]}
        for scope in active.keys() - self._scopes:
            halt = active[scope]
            log.error("%s is halted by %s: %s", scope, halt.halted_by, halt.reason)
            with self._desk.lock:
                halt_scope(self._desk, scope, halt.reason, halt.halted_by)
            self._desk.wake()
        for scope in self._scopes - active.keys():
            self._resume(scope)
        self._scopes = set(active)

    def _resume(self, scope: Scope) -> None:
        log.warning("%s is resumed", scope)
        with self._desk.lock:
            for risk in self._desk.risks.values():
                risk.resume(scope, "operator", self._desk.clock())


def halt_scope(desk: Desk, scope: Scope, reason: str, by: str) -> bool:
    """Halts a scope in all modes and cancels its open orders; returns False if it was halted in all of them.

    The caller holds the lock of trading.
    """
    now = desk.clock()
    halted = [risk.halt(scope, reason, by, now) for risk in desk.risks.values()]
    for machine in desk.open_machines():
        if is_in(scope, machine.record.owner, machine.record.provider):
            desk.carry_out(machine, machine.cancel(now))
    return any(halted)


def is_in(scope: Scope, owner: Owner, provider: str) -> bool:
    """Returns whether what an owner has at a provider belongs to a scope."""
    match scope.kind:
        case HaltScope.GLOBAL:
            return True
        case HaltScope.PROVIDER:
            return provider == scope.name
        case HaltScope.INSTANCE:
            return Scope.instance(owner) == scope
