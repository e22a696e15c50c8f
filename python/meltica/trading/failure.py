"""Ends trading after an unexpected exception, as if the process had been killed.

1. No order leaves any more, and the open orders of all instances are cancelled. The cancels are repeated,
   also while the database is unavailable, until trading is rebuilt.
2. Nothing of the orders, positions and balances in memory is written any more: an exception may have left
   half a change. What operators do is still recorded.
3. The owner of trading rebuilds it from the database, and reconciles: what was not written is found there.
"""

import logging

from meltica.errors import one_line
from meltica.trading.desk import Desk

log = logging.getLogger("meltica.trading")


def fail(desk: Desk, error: BaseException) -> bool:
    """Ends trading on a desk; returns False if it has failed before."""
    with desk.lock.reading:
        first = desk.gate.fail(error)
    if not first:
        log.error("trading has failed before: %s", one_line(error), exc_info=error)
        return False
    log.critical(
        "trading has failed: no order leaves, and open orders are cancelled: %s",
        one_line(error),
        exc_info=error,
    )
    with desk.lock.reading:
        for machine in desk.open_machines():
            # A cancel may have been lost with the exception.
            machine.cancel_failed()
    cancel_open(desk)
    return True


def cancel_open(desk: Desk) -> None:
    """1: requests the cancels that are due. An order that cannot be cancelled leaves the others alone."""
    with desk.lock.reading:
        now = desk.clock()
        for machine in desk.open_machines():
            try:
                desk.carry_out(machine, [*machine.cancel(now), *machine.tick(now)])
            except Exception:
                log.exception("order %s not cancelled", machine.record.client_order_id)
    desk.wake()


def freeze(desk: Desk, instances: frozenset[str]) -> None:
    """Lets no further order of instances leave, because a fill of theirs could not be stored.

    Their open orders are cancelled. A restart reconciles them.
    """
    if instances == desk.gate.frozen:
        return
    log.critical("no order leaves for %s: a fill could not be stored", ", ".join(sorted(instances)))
    with desk.lock:
        desk.gate.frozen = instances
        desk.cancel(each for each in desk.open_machines() if each.record.owner.instance in instances)
    desk.wake()
