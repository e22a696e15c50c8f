"""What risk decided, for the rows and events that trading writes."""

from collections import Counter
from typing import NamedTuple

from meltica.persistence.stores.trading.rows import Verdict
from meltica.trading.order import Owner
from meltica.trading.risk.refusals import Refusal, Refusals
from meltica.trading.risk.scopes import Halt, Scope


class Breach(NamedTuple):
    """A breach without a refusal: an order that the venue rejected, or a fill that passed a limit."""

    time: int
    owner: Owner
    rule: str
    message: str
    verdict: Verdict


class HaltChange(NamedTuple):
    """A scope was halted or resumed."""

    time: int
    scope: Scope
    halt: Halt | None
    """None if it was resumed."""
    by: str


RiskEvent = Refusal | Breach | HaltChange


class EventLog:
    """The events that trading has not taken yet."""

    __slots__ = ("_events", "_refusals", "refused")

    def __init__(self) -> None:
        self._events: list[Breach | HaltChange] = []
        self._refusals = Refusals()
        self.refused: Counter[str] = Counter()
        """How many orders and amendments were refused, by rule."""

    def add(self, event: RiskEvent) -> None:
        """Adds an event."""
        if isinstance(event, Refusal):
            self.refused[event.rule] += 1
            self._refusals.add(event)
        else:
            self._events.append(event)

    def take(self, now: int, most: int) -> list[RiskEvent]:
        """Returns the waiting events, and at most so many complete rows of refusals, and forgets them."""
        events, self._events = self._events, []
        return [*self._refusals.take(now, most), *events]

    def take_all(self) -> list[RiskEvent]:
        """Returns all waiting events, and forgets them."""
        events, self._events = self._events, []
        return [*self._refusals.take_all(), *events]
