"""`EventHub`: reads events once, and gives them to the queues of all streams.

Events with a number come from the outbox, which is read while streams have such kinds. So they are those
that are committed, each stream has all of them in one order, and what a stream missed is read again from its
number. Streams of states and market data need no database.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from meltica.control.streams.events import PRIVATE, EventFilter, StreamEvent, private_event
from meltica.control.streams.subscriber import Subscriber
from meltica.errors import DatabaseError, DatabaseUnavailable, one_line
from meltica.http.errors import HttpError
from meltica.http.protocol import max_connections
from meltica.persistence.stores.event_log import EventLog, LoggedEvent

POLL: Final = 0.1
"""Seconds between two reads of the outbox."""
BATCH: Final = 500
MAX_STREAMS: Final = 204
"""At most two fifths of the connections of the server: one client may use half of them."""
CODES: Final = ("disconnected", "too_slow", "unauthenticated", "database_unavailable", "stopping")
"""Why a stream ends."""

DELETED: Final = "events that it has not sent were deleted; a stream after the last id begins with a reset"

log = logging.getLogger("meltica.streams")


class Start(NamedTuple):
    """Where a stream begins."""

    id: int | None
    """None for a stream without numbers."""
    reset: bool
    """Whether events before it were requested that do not exist any more."""


class EventHub:
    """The streams of a gateway."""

    def __init__(
        self,
        events: EventLog,
        states: Callable[[], Iterable[StreamEvent]],
        stopping: Callable[[], bool],
    ) -> None:
        """`states` returns the state of each provider and instance as it is now."""
        self._events = events
        self._states = states
        self._stopping = stopping
        self._subscribers: set[Subscriber] = set()
        self._private: set[Subscriber] = set()
        """Those that have events with a number."""
        self._open = 0
        self._position = 0
        self._known: dict[object, StreamEvent] = {}
        self._task: asyncio.Task[None] | None = None
        self.closed: Counter[str] = Counter(dict.fromkeys(CODES, 0))
        """How many streams ended, by code."""

    def __len__(self) -> int:
        return self._open

    async def start(self, filter: EventFilter, last: int | None) -> Start:
        """Returns where a stream begins that has seen the event `last`.

        Raises HttpError if too many streams exist, and DatabaseError for kinds whose events have a number.
        """
        if self._stopping():
            raise HttpError(503, "stopping", "stream not opened: the gateway is stopping")
        self._refuse_too_many()
        if not filter.is_private:
            return Start(None, reset=False)
        try:
            position = await self._events.position()
        except DatabaseUnavailable as error:
            kinds = ", ".join(sorted(filter.kinds.intersection(PRIVATE)))
            text = f"stream not opened: {kinds} come from the database, which is unavailable"
            raise DatabaseUnavailable(f"{text}; name other kinds, or retry later: {error}") from error
        if last is None or last == position:
            return Start(position, reset=False)
        complete = await self._events.is_complete_after(last, position)
        return Start(last if complete else position, reset=not complete)

    async def catch_up(self, subscriber: Subscriber) -> list[StreamEvent]:
        """Returns the next events that a subscriber missed; none once it gets the live ones.

        Raises DatabaseError.
        """
        while subscriber.filter.is_private:
            if self._private and subscriber.position >= self._position:
                break
            # What another stream reads meanwhile may be later than this read.
            live = self._position if self._private else None
            logged = await self._events.after(subscriber.position, BATCH)
            if _lacks_events(logged, subscriber.position):
                subscriber.end("too_slow", DELETED)
                return []
            if logged:
                subscriber.position = logged[-1].id
                events = [event for each in logged if (event := _converted(each)) is not None]
                if accepted := [event for event in events if subscriber.filter.accepts(event)]:
                    return accepted
            elif live is not None:
                subscriber.position = max(subscriber.position, live)
            elif not self._private:
                self._position = subscriber.position
                break
        self._join(subscriber)
        return []

    def enter(self) -> None:
        """Counts a stream until it leaves, also while it reads what it missed.

        Raises HttpError if too many streams exist: others may have entered since `start`.
        """
        self._refuse_too_many()
        self._open += 1

    def _refuse_too_many(self) -> None:
        limit = min(MAX_STREAMS, max_connections() * 2 // 5)
        if self._open >= limit:
            text = f"stream not opened: at most {limit} are served at a time; retry later"
            raise HttpError(503, "too_many_streams", text, headers={"retry-after": "5"})

    def leave(self, subscriber: Subscriber) -> None:
        """Ends a subscription, also one that did not join."""
        self._open -= 1
        self._subscribers.discard(subscriber)
        self._private.discard(subscriber)
        self.closed[subscriber.code or "disconnected"] += 1
        if not self._subscribers and self._task is not None:
            self._task.cancel()
            self._task = None

    def _join(self, subscriber: Subscriber) -> None:
        """Gives the state of everything to a subscriber, and from now on all live events."""
        if not self._subscribers:
            self._known = {event.key: event for event in self._states()}
        for event in self._known.values():
            subscriber.push(event)
        self._subscribers.add(subscriber)
        if subscriber.filter.is_private:
            self._private.add(subscriber)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-streams")

    async def _run(self) -> None:
        failure: str | None = None
        while True:
            await asyncio.sleep(POLL)
            if self._stopping():
                for subscriber in list(self._subscribers):
                    subscriber.end("stopping", "the gateway is stopping; resume by the id of the last event")
                return
            try:
                self._push_states()
                found = await self._events.after(self._position, BATCH) if self._private else ()
                if _lacks_events(found, self._position):
                    for subscriber in list(self._private):
                        subscriber.end("too_slow", DELETED)
                for logged in found:
                    self._position = logged.id
                    if (event := _converted(logged)) is not None:
                        self._push(event)
                failure = None
            except DatabaseError as error:
                if failure is None:
                    failure = one_line(error)
                    log.warning("events are streamed again when the database responds: %s", failure)
            except Exception:
                log.exception("events not streamed, retrying")

    def _push_states(self) -> None:
        for event in self._states():
            if self._known.get(event.key) != event:
                self._known[event.key] = event
                self._push(event)

    def _push(self, event: StreamEvent) -> None:
        for subscriber in self._subscribers:
            subscriber.push(event)


def _lacks_events(found: Sequence[LoggedEvent], position: int) -> bool:
    """Returns whether events between a position and those that were read after it were deleted."""
    return bool(found) and found[0].pruned > position


def _converted(logged: LoggedEvent) -> StreamEvent | None:
    """Returns an event as streams send it; None for one whose content is not valid, which is logged."""
    try:
        return private_event(logged)
    except (ValueError, KeyError, TypeError):
        log.exception("event %d of the outbox is not valid", logged.id)
        return None
