"""Closing a position whose symbol has open orders: they are seen ended, then what is left is sold.

A sell that rests holds a part of the position, and a cancel may cross a fill. So the sale waits for the ends
of all orders of the symbol: it never sells more than the position.

1. Until then, new orders of the instance in the symbol are refused.
2. A sale that is refused, such as without a market, is repeated each second. Its refusals count no breach.
3. The wish ends with the sale, with `cancel_all`, and with the run of the instance. It is not persisted: a
   restart trades nothing that the strategy did not request in that run.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from meltica.errors import MelticaError, one_line
from meltica.trading.order import Owner, PositionKey

if TYPE_CHECKING:
    from meltica.trading.desk import Desk

log = logging.getLogger("meltica.trading")

CLOSING = "closing"
PAUSE = 10**9
"""2: nanoseconds between two attempts to sell."""


class Closings:
    """The positions that wait to be sold. The caller holds the lock of trading."""

    def __init__(self) -> None:
        self._sales: dict[PositionKey, tuple[Callable[[], object], int]] = {}
        """Position -> what sells it, and the earliest time."""

    def __bool__(self) -> bool:
        return bool(self._sales)

    def __contains__(self, key: PositionKey) -> bool:
        return key in self._sales

    def add(self, key: PositionKey, sell: Callable[[], object], earliest: int = 0) -> None:
        """Adds a position, which `sell` sells: called on trading's loop, without the lock."""
        self._sales[key] = (sell, earliest)

    def drop(self, owner: Owner, symbol: str | None = None) -> None:
        """3: forgets the positions of an owner, of one symbol or all."""
        for key in [each for each in self._sales if each.owner == owner and symbol in (None, each.symbol)]:
            del self._sales[key]

    def take_due(self, desk: "Desk") -> dict[PositionKey, Callable[[], object]]:
        """Returns the sales that are due, and forgets them."""
        now, held = desk.clock(), desk.open_keys()
        due = {
            key: sell
            for key, (sell, earliest) in self._sales.items()
            if earliest <= now and key not in held and desk.gate.obstacle(key.owner) is None
        }
        for key in due:
            del self._sales[key]
        return due


def close_due(desk: "Desk") -> None:
    """Sells the positions whose orders have ended. Called on trading's loop."""
    if not desk.closings:
        return
    with desk.lock:
        due = desk.closings.take_due(desk)
    for key, sell in due.items():
        try:
            sell()
        except MelticaError as error:
            log.warning("%s of %s not closed yet: %s", key.symbol, key.owner.instance, one_line(error))
            with desk.lock:
                desk.closings.add(key, sell, desk.clock() + PAUSE)
