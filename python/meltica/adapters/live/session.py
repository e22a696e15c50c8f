"""The life of one connection to a venue, as a pure state machine: what happened goes in, what to do comes
out.

There is no I/O here and no clock: each event brings the time, in seconds of any clock that never steps back.

    NEW -> OPENING -> (LOGGING_IN) -> UP -> DOWN -> OPENING ...          ENDED, from anywhere, for good

What is wanted is a set of channels, and the venue is asked for the difference to what it has confirmed, now
and after each reconnect; so nobody has to remember what was asked before. Rules, which the branches are
numbered by:

1. A connection that is not open in time is given up, and so is one that leaves a login or a request
   unanswered.
2. The next attempt waits, longer each time; a connection that stood for a while makes the pauses short again.
3. A request that names several channels and is refused is asked again in halves, so that one bad channel
   costs the others nothing. A channel that is refused alone is asked for again after a pause, for as long as
   it is wanted.
4. After `idle` seconds without a frame the venue is pinged; silence after that gives the connection up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import NamedTuple

from meltica.errors import VenueError
from meltica.runtime.backoff import Backoff


class Phase(Enum):
    """Where a connection stands."""

    NEW = auto()
    DOWN = auto()
    OPENING = auto()
    LOGGING_IN = auto()
    UP = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a connection waits for what, in seconds."""

    open: float = 10.0
    """For a connection to open."""
    answer: float = 10.0
    """For the answer to a login or a request."""
    idle: float = 15.0
    """Without a frame, before the venue is pinged."""
    pong: float = 10.0
    """For any sign of life after that."""
    refused: float = 5.0
    """Before a channel that was refused is asked for again."""
    least_pause: float = 0.25
    """Between two attempts to connect, at first."""
    most_pause: float = 10.0
    """Between two attempts to connect, in the end."""
    steady: float = 10.0
    """How long a connection stands before the pauses begin anew."""
    between: float = 0.0
    """Between two requests, where the venue counts them."""
    batch: int = 100
    """Most channels of one request."""


class Ack(NamedTuple):
    """A venue's answer to a login, a subscription or its end."""

    id: int
    """Of the request."""
    error: VenueError | None = None
    """Why it was refused; None when it was done."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a connection; `opened` or `lost` tells what came of it."""


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection now, whatever state it is in; nothing of it is to be told any more."""


@dataclass(frozen=True, slots=True)
class Login:
    """Send a login."""

    id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Ask for channels."""

    id: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Ask for channels no more."""

    id: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for a sign of life."""

    id: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The connection stands, logged in where that is needed; channels are asked for from now on."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Channels are there from now on."""

    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A channel was refused, to be asked for again after a pause."""

    channel: str
    error: VenueError


@dataclass(frozen=True, slots=True)
class Down:
    """The connection is gone, or did not come to be; `pause` seconds until the next attempt."""

    was_up: bool
    reason: str
    pause: float
    error: VenueError | None = None
    """Why the login was refused, if that was it."""


Action = Open | Close | Login | Subscribe | Unsubscribe | Ping | Ready | Confirmed | Refused | Down
_Request = type[Subscribe] | type[Unsubscribe]


class _Asked(NamedTuple):
    kind: _Request
    channels: tuple[str, ...]
    deadline: float


class Session:
    """One connection's life. Every event returns what is to be done about it, in order."""

    def __init__(self, timing: Timing, backoff: Backoff | None = None, *, login: bool = False) -> None:
        self.phase = Phase.NEW
        self.wanted: frozenset[str] = frozenset()
        self.confirmed: set[str] = set()
        """Channels that the venue says are there."""
        self.refused: dict[str, VenueError] = {}
        """Channels that the venue refused when last asked."""
        self._timing = timing
        self._login = login
        self._backoff = backoff or Backoff(timing.least_pause, timing.most_pause)
        self._ids = count(1)
        self._asked: dict[int, _Asked] = {}
        self._halves: list[tuple[_Request, tuple[str, ...]]] = []
        self._again: dict[str, float] = {}
        self._renewing: set[str] = set()
        self._login_id = 0
        self._deadline = 0.0
        """In DOWN, OPENING and LOGGING_IN: when that ends."""
        self._since = 0.0
        self._heard = 0.0
        self._pinged: float | None = None
        self._next_request = 0.0

    def start(self, now: float) -> list[Action]:
        """Begins with the first attempt, unless it has begun or been ended."""
        if self.phase is not Phase.NEW:
            return []
        return self._open(now)

    def opened(self, now: float) -> list[Action]:
        """A connection was opened."""
        if self.phase is not Phase.OPENING:
            return []
        self._heard, self._pinged = now, None
        if not self._login:
            return self._up(now)
        self.phase = Phase.LOGGING_IN
        self._deadline = now + self._timing.answer
        self._login_id = next(self._ids)
        return [Login(self._login_id)]

    def lost(self, reason: str, now: float) -> list[Action]:
        """The connection ended, or could not be opened."""
        if self.phase in (Phase.NEW, Phase.DOWN, Phase.ENDED):
            return []
        return [self._down(reason, now)]

    def drop(self, reason: str, now: float) -> list[Action]:
        """The connection is of no use any more: it is given up, if it stands."""
        return self._give_up(reason, now) if self.phase is Phase.UP else []

    def answered(self, answer: Ack, now: float) -> list[Action]:
        """The venue answered a request; an answer to none that waits is a sign of life, and no more."""
        self._heard, self._pinged = now, None
        if self.phase is Phase.LOGGING_IN and answer.id == self._login_id:
            if answer.error is not None:
                reason = f"the login was refused: {answer.error}"
                return [Close(), self._down(reason, now, answer.error)]
            return self._up(now)
        asked = self._asked.pop(answer.id, None)
        if asked is None:  # a pong, or what came after a time-out
            return []
        return [*self._settle(asked, answer.error, now), *self._ask(now)]

    def heard(self, now: float) -> list[Action]:
        """Frames have come since the last look."""
        self._heard, self._pinged = now, None
        return []

    def want(self, channels: Iterable[str], now: float) -> list[Action]:
        """These channels, and no others, are wanted from now on."""
        wanted = frozenset(channels)
        for channel in self._again.keys() - self._busy():
            # Whoever asks again does not wait out the pause.
            del self._again[channel], self.refused[channel]
        self.wanted = wanted
        return self._ask(now)

    def renew(self, channels: Iterable[str], now: float) -> list[Action]:
        """Ends the subscription of channels and asks for them again: for what the venue sends at the
        start.
        """
        self._renewing.update(self.confirmed.intersection(channels))
        return self._ask(now)

    def tick(self, now: float) -> list[Action]:
        """Time has passed, at least until `wake_at`."""
        match self.phase:
            case Phase.DOWN if now >= self._deadline:
                return self._open(now)
            case Phase.OPENING if now >= self._deadline:  # 1
                return self._give_up(f"it did not open within {self._timing.open:g} s", now)
            case Phase.LOGGING_IN if now >= self._deadline:  # 1
                return self._give_up(f"a login was not answered within {self._timing.answer:g} s", now)
            case Phase.UP:
                return self._look(now)
            case _:
                return []

    def end(self) -> list[Action]:
        """Ends it for good."""
        self.phase = Phase.ENDED
        return [Close()]

    @property
    def wake_at(self) -> float | None:
        """When `tick` has something to do; None is never."""
        if self.phase in (Phase.NEW, Phase.ENDED):
            return None
        if self.phase is not Phase.UP:
            return self._deadline
        times = [asked.deadline for asked in self._asked.values()]
        times.extend(self._again.values())
        if self._pinged is None:
            times.append(self._heard + self._timing.idle)
        else:
            times.append(self._pinged + self._timing.pong)
        if self._work():
            times.append(self._next_request)
        return min(times)

    @property
    def unsettled(self) -> frozenset[str]:
        """Channels of which the venue has not yet said whether it does what is wanted."""
        return (self.wanted ^ self.confirmed | self._renewing | self._busy()) - self._again.keys()

    def _open(self, now: float) -> list[Action]:
        self.phase = Phase.OPENING
        self._deadline = now + self._timing.open
        return [Open()]

    def _up(self, now: float) -> list[Action]:
        self.phase = Phase.UP
        self._since = self._next_request = now
        return [Ready(), *self._ask(now)]

    def _give_up(self, reason: str, now: float) -> list[Action]:
        return [Close(), self._down(reason, now)]

    def _down(self, reason: str, now: float, error: VenueError | None = None) -> Down:
        was_up = self.phase is Phase.UP
        if was_up and now - self._since >= self._timing.steady:  # 2
            self._backoff.reset()
        pause = self._backoff.next()
        self.phase = Phase.DOWN
        self._deadline = now + pause
        self.confirmed.clear()
        self.refused.clear()
        self._again.clear()
        self._asked.clear()
        self._halves.clear()
        self._renewing.clear()
        return Down(was_up, reason, pause, error)

    def _settle(self, asked: _Asked, error: VenueError | None, now: float) -> list[Action]:
        channels = asked.channels
        if error is not None:  # 3
            first, *others = channels
            if others:
                middle = len(channels) // 2
                self._halves += [(asked.kind, channels[:middle]), (asked.kind, channels[middle:])]
                return []
            if asked.kind is Subscribe and first not in self.wanted:
                # It is as it should be.
                return []
            self.refused[first] = error
            self._again[first] = now + self._timing.refused
            return [Refused(first, error)]
        if asked.kind is Subscribe:
            self.confirmed.update(channels)
            return [Confirmed(channels)]
        self.confirmed.difference_update(channels)
        self._renewing.difference_update(channels)
        return []

    def _look(self, now: float) -> list[Action]:
        late = [asked for asked in self._asked.values() if now >= asked.deadline]
        if late:  # 1
            named = ", ".join(late[0].channels[:3])
            return self._give_up(
                f"a request for {named} was not answered within {self._timing.answer:g} s", now
            )
        actions: list[Action] = []
        if self._pinged is not None:
            if now >= self._pinged + self._timing.pong:  # 4
                silence = now - self._heard
                return self._give_up(f"it was silent for {silence:.1f} s, after a ping as well", now)
        elif now >= self._heard + self._timing.idle:  # 4
            self._pinged = now
            actions.append(Ping(next(self._ids)))
        for channel in [channel for channel, again in self._again.items() if now >= again]:  # 3
            del self._again[channel], self.refused[channel]
        return [*actions, *self._ask(now)]

    def _busy(self) -> set[str]:
        busy = {channel for asked in self._asked.values() for channel in asked.channels}
        return busy.union(*(channels for _, channels in self._halves))

    def _work(self) -> list[tuple[_Request, tuple[str, ...]]]:
        """What is to be asked now, each as one request."""
        work = list(self._halves)
        free = self._busy().union(self._again)
        off = (self.confirmed - self.wanted | self._renewing) - free
        on = self.wanted - self.confirmed - free
        size = self._timing.batch
        kinds: list[tuple[_Request, Sequence[str]]] = [(Unsubscribe, sorted(off)), (Subscribe, sorted(on))]
        for kind, channels in kinds:
            work += [(kind, tuple(channels[at : at + size])) for at in range(0, len(channels), size)]
        return work

    def _ask(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.phase is not Phase.UP:
            return actions
        for kind, channels in self._work():
            if now < self._next_request:
                break
            self._next_request = now + self._timing.between
            if (kind, channels) in self._halves:
                self._halves.remove((kind, channels))
            id = next(self._ids)
            self._asked[id] = _Asked(kind, channels, now + self._timing.answer)
            actions.append(kind(id, channels))
        return actions
