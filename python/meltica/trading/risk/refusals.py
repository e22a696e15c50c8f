"""`Refusals`: what risk refused, until it is written; bounded whatever a strategy does.

1. The first refusals of an instance within a second are rows of their own.
2. Further ones are folded by provider, symbol, rule and verdict: one row has the first of them, their count,
   and the time of the last one. It is complete a second after its first.
3. Of an instance with very many kinds, those beyond are folded by rule and verdict, with the symbol `*`.
4. While nothing is taken, rows stay incomplete and further refusals are folded.
So the counts add up to all refusals.
"""

from collections import deque
from typing import NamedTuple
from uuid import UUID

from meltica.model.symbols import ANY
from meltica.persistence.stores.trading.rows import Trigger, Verdict
from meltica.trading.order import Owner

WINDOW = 1_000_000_000
"""Nanoseconds until a row with a count is complete."""
OWN_ROWS = 10
"""Refusals of an instance within a window that are rows of their own."""
KINDS = 64
"""Folded rows of an instance, above which the symbol no longer counts."""
KEPT = 10_000
"""Waiting rows above which all further refusals are folded."""


class Refusal(NamedTuple):
    """A refused order or amendment, or several ones of a kind."""

    time: int
    owner: Owner
    order_id: UUID | None
    provider: str
    symbol: str
    rule: str
    message: str
    seen: object
    limit: object
    verdict: Verdict | None
    """What it led to as a breach; None if the rule does not count."""
    times: int = 1
    last: int = 0
    """When the last of several ones was refused; 0 for a single one."""
    intent_at: int | None = None
    """When the strategy requested it, the first of several ones; None if no strategy did."""
    trigger: Trigger | None = None


class Refusals:
    """The refusals that are not written yet. The caller holds the lock of trading."""

    def __init__(self) -> None:
        self._rows: deque[Refusal] = deque()
        self._singles: dict[Owner, tuple[int, int]] = {}
        """Owner -> start of its window, and its own rows since then."""
        self._folded: dict[Owner, dict[tuple[object, ...], Refusal]] = {}

    def add(self, refusal: Refusal) -> None:
        """Adds a refusal."""
        owner, time = refusal.owner, refusal.time
        start, count = self._singles.get(owner, (time, 0))
        if not 0 <= time - start < WINDOW:
            start, count = time, 0
        if count < OWN_ROWS and len(self._rows) < KEPT:
            self._singles[owner] = start, count + 1
            self._rows.append(refusal)
            return
        folded = self._folded.setdefault(owner, {})
        key: tuple[object, ...] = (refusal.provider, refusal.symbol, refusal.rule, refusal.verdict)
        if key not in folded and len(folded) >= KINDS:
            key = (refusal.rule, refusal.verdict)
            refusal = refusal._replace(provider=ANY, symbol=ANY)
        first = folded.get(key, refusal)
        times = 1 if first is refusal else first.times + 1
        folded[key] = first._replace(times=times, last=max(time, first.last))

    def take(self, now: int, most: int) -> list[Refusal]:
        """Returns the rows that are complete, at most so many, and forgets them."""
        taken: list[Refusal] = []
        for owner, folded in list(self._folded.items()):
            for key, refusal in list(folded.items()):
                if len(taken) < most and not 0 <= now - refusal.time < WINDOW:
                    taken.append(folded.pop(key))
            if not folded:
                del self._folded[owner]
        while self._rows and len(taken) < most:
            taken.append(self._rows.popleft())
        return taken

    def take_all(self) -> list[Refusal]:
        """Returns all rows, also incomplete ones, and forgets them."""
        taken = [*self._rows, *(each for folded in self._folded.values() for each in folded.values())]
        self._rows.clear()
        self._folded.clear()
        return taken
