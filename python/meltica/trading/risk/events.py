"""What risk decided, for the rows and events that trading writes."""

from collections import Counter
from typing import NamedTuple
from uuid import UUID

from meltica.persistence.stores.trading.rows import Verdict
from meltica.trading.order import Owner
from meltica.trading.risk.scopes import Halt, Scope


class Refusal(NamedTuple):
    """One refused order or amendment."""

    time: int
    owner: Owner
    order_id: UUID
    provider: str
    symbol: str
    rule: str
    message: str
    seen: object
    limit: object
    verdict: Verdict | None
    """What it led to as a breach; None if the rule does not count."""


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

KEPT_REFUSALS = 10_000
"""Waiting events above which further refusals are only counted."""


class EventLog:
    """The events that trading has not taken yet.

    Refusals are bounded, because a strategy in a loop may cause any number; all other events are kept.
    """

    __slots__ = ("_events", "refused", "unkept")

    def __init__(self) -> None:
        self._events: list[RiskEvent] = []
        self.refused: Counter[str] = Counter()
        """How many orders and amendments were refused, by rule."""
        self.unkept = 0
        """Refusals that were only counted."""

    def add(self, event: RiskEvent) -> None:
        """Adds an event."""
        if isinstance(event, Refusal):
            self.refused[event.rule] += 1
        if isinstance(event, Refusal) and len(self._events) >= KEPT_REFUSALS:
            self.unkept += 1
            return
        self._events.append(event)

    def take(self) -> list[RiskEvent]:
        """Returns the waiting events, oldest first, and forgets them."""
        events, self._events = self._events, []
        return events
