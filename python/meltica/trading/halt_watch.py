"""`HaltWatch`: makes the halts of the database effective, in memory and at the venues."""

import logging
from collections.abc import Iterable

from meltica.persistence.stores.trading.halts import ActiveHalt
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.desk import Desk
from meltica.trading.order import OrderRecord
from meltica.trading.risk.scopes import Scope

log = logging.getLogger("meltica.trading")


class HaltWatch:
    """Compares the active halts of each commit with those of the last one."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._scopes: set[Scope] = set()
        """The halted scopes, as of the last commit."""

    def take(self, halts: Iterable[ActiveHalt]) -> None:
        """Takes the active halts: halts new scopes and cancels their open orders, and resumes others."""
        active = {Scope(halt.scope, halt.subject): halt for halt in halts}
        for scope in active.keys() - self._scopes:
            self._halt(scope, active[scope])
        for scope in self._scopes - active.keys():
            self._resume(scope)
        self._scopes = set(active)

    def _halt(self, scope: Scope, halt: ActiveHalt) -> None:
        log.error("%s is halted by %s: %s", scope, halt.halted_by, halt.reason)
        with self._desk.lock:
            now = self._desk.clock()
            for risk in self._desk.risks.values():
                risk.halt(scope, halt.reason, halt.halted_by, now)
            for machine in self._desk.open_machines():
                if _is_in(scope, machine.record):
                    self._desk.carry_out(machine, machine.cancel(now))
        self._desk.wake()

    def _resume(self, scope: Scope) -> None:
        log.warning("%s is resumed", scope)
        with self._desk.lock:
            for risk in self._desk.risks.values():
                risk.resume(scope, "operator", self._desk.clock())


def _is_in(scope: Scope, record: OrderRecord) -> bool:
    match scope.kind:
        case HaltScope.GLOBAL:
            return True
        case HaltScope.PROVIDER:
            return record.provider == scope.name
        case HaltScope.INSTANCE:
            return Scope.instance(record.owner) == scope
