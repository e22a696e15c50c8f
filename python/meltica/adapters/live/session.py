"""One connection to a venue as a pure state machine: events in, actions out.

It does no I/O and reads no clock: each event carries the time, in seconds of any monotonic clock.

    NEW -> OPENING -> (LOGGING_IN) -> UP -> DOWN -> OPENING ...          ENDED, from any state, final

The caller sets the desired channels. The session compares them with those that the venue has confirmed, and
sends the requests for the difference: at every change, and after each reconnect. Callers need not track
requests. Rules (comments in the code refer to these numbers):

1. A connection that does not open in time is closed, and so is one whose login or request is not acknowledged
   in time.
2. The pause before the next attempt grows. It is reset after a connection that stayed up for a while.
3. A refused request for several channels is repeated in halves, so that one bad channel does not affect the
   others. A single channel that was refused is requested again after a pause, as long as it is wanted.
4. After `ping_after` seconds without a frame the session sends a ping. If no frame follows, the connection is
   closed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from typing import NamedTuple

from meltica.errors import VenueError
from meltica.runtime.backoff import Backoff


class Phase(Enum):
    """The state of a connection."""

    NEW = auto()
    DOWN = auto()
    OPENING = auto()
    LOGGING_IN = auto()
    UP = auto()
    ENDED = auto()


@dataclass(frozen=True, slots=True)
class Timing:
    """Time-outs and pauses of a connection, in seconds, and the size of a request."""

    open_timeout: float = 10.0
    """Time for a connection to open."""
    ack_timeout: float = 10.0
    """Time for the venue to acknowledge a login or a request."""
    ping_after: float = 15.0
    """Time without a frame before a ping is sent."""
    pong_timeout: float = 10.0
    """Time for any frame to arrive after a ping."""
    refused_pause: float = 5.0
    """Time before a refused channel is requested again."""
    min_pause: float = 0.25
    """The first pause between two attempts to connect."""
    max_pause: float = 10.0
    """The longest pause between two attempts to connect."""
    stable_after: float = 10.0
    """Uptime of a connection after which the pauses start at `min_pause` again."""
    request_interval: float = 0.0
    """Time between two requests, for a venue that limits them."""
    max_channels: int = 100
    """The most channels in one request."""


class Ack(NamedTuple):
    """A venue's acknowledgement of a login, a subscribe or an unsubscribe request."""

    id: int
    """The id of the request."""
    error: VenueError | None = None
    """The reason of a refusal; None when the request succeeded."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open a connection; call `opened` or `disconnected` with the result."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection immediately, in any state; the session ignores its later events."""


@dataclass(frozen=True, slots=True)
class Login:
    """Send a login request."""

    id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send a request to subscribe to channels."""

    id: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Send a request to unsubscribe from channels."""

    id: int
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping."""

    id: int


@dataclass(frozen=True, slots=True)
class SessionReady:
    """The connection is up and, where required, logged in; subscriptions follow."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The venue confirmed the subscription of channels."""

    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue refused a channel; it is requested again after a pause."""

    channel: str
    error: VenueError


@dataclass(frozen=True, slots=True)
class Down:
    """The connection was lost or could not be opened; the next attempt follows in `pause` seconds."""

    was_up: bool
    reason: str
    pause: float
    error: VenueError | None = None
    """The error of a refused login."""


Action = Open | Close | Login | Subscribe | Unsubscribe | Ping | SessionReady | Confirmed | Refused | Down
_Request = type[Subscribe] | type[Unsubscribe]


class _Pending(NamedTuple):
    """A request that the venue has not acknowledged yet."""

    kind: _Request
    channels: tuple[str, ...]
    deadline: float


class Session:
    """The state machine of one connection. Each event returns the actions to take, in order."""

    def __init__(self, timing: Timing, backoff: Backoff | None = None, *, login: bool = False) -> None:
        self.phase = Phase.NEW
        self.wanted: frozenset[str] = frozenset()
        self.confirmed: set[str] = set()
        """Channels whose subscription the venue has confirmed."""
        self.refused: dict[str, VenueError] = {}
        """Channels whose latest subscription the venue refused."""
        self._timing = timing
        self._login = login
        self._backoff = backoff or Backoff(timing.min_pause, timing.max_pause)
        self._ids = count(1)
        self._pending: dict[int, _Pending] = {}
        self._halves: list[tuple[_Request, tuple[str, ...]]] = []
        self._retry_at: dict[str, float] = {}
        self._renewing: set[str] = set()
        self._login_id = 0
        self._deadline = 0.0
        """When DOWN, OPENING or LOGGING_IN ends."""
        self._up_since = 0.0
        self._received_at = 0.0
        self._pinged_at: float | None = None
        self._next_request = 0.0

    def start(self, now: float) -> list[Action]:
        """Starts the first attempt; does nothing if the session was started or ended before."""
        if self.phase is not Phase.NEW:
            return []
        return self._open(now)

    def opened(self, now: float) -> list[Action]:
        """Reports that the connection was opened."""
        if self.phase is not Phase.OPENING:
            return []
        self._received_at, self._pinged_at = now, None
        if not self._login:
            return self._up(now)
        self.phase = Phase.LOGGING_IN
        self._deadline = now + self._timing.ack_timeout
        self._login_id = next(self._ids)
        return [Login(self._login_id)]

    def disconnected(self, reason: str, now: float) -> list[Action]:
        """Reports that the connection ended or could not be opened."""
        if self.phase in (Phase.NEW, Phase.DOWN, Phase.ENDED):
            return []
        return [self._down(reason, now)]

    def drop(self, reason: str, now: float) -> list[Action]:
        """Closes a connection that is up; the next attempt follows as after any other loss."""
        return self._give_up(reason, now) if self.phase is Phase.UP else []

    def acknowledged(self, ack: Ack, now: float) -> list[Action]:
        """Reports an acknowledgement. One that matches no pending request counts as a frame only."""
        self._received_at, self._pinged_at = now, None
        if self.phase is Phase.LOGGING_IN and ack.id == self._login_id:
            if ack.error is not None:
                reason = f"login refused: {ack.error}"
                return [Close(), self._down(reason, now, ack.error)]
            return self._up(now)
        request = self._pending.pop(ack.id, None)
        if request is None:  # a pong, or an acknowledgement after its time-out
            return []
        return [*self._complete(request, ack.error, now), *self._send_requests(now)]

    def received(self, now: float) -> list[Action]:
        """Reports that frames arrived since the last call."""
        self._received_at, self._pinged_at = now, None
        return []

    def set_channels(self, channels: Iterable[str], now: float) -> list[Action]:
        """Sets the channels to be subscribed, in place of the previous ones."""
        wanted = frozenset(channels)
        for channel in self._retry_at.keys() - self._in_flight():
            # A new request does not wait for the pause after a refusal.
            del self._retry_at[channel], self.refused[channel]
        self.wanted = wanted
        return self._send_requests(now)

    def renew(self, channels: Iterable[str], now: float) -> list[Action]:
        """Unsubscribes channels and subscribes them again, for a venue that sends a snapshot at the start."""
        self._renewing.update(self.confirmed.intersection(channels))
        return self._send_requests(now)

    def tick(self, now: float) -> list[Action]:
        """Reports the time; call it at `wake_at` or later."""
        match self.phase:
            case Phase.DOWN if now >= self._deadline:
                return self._open(now)
            case Phase.OPENING if now >= self._deadline:  # 1
                return self._give_up(f"connection not open within {self._timing.open_timeout:g} s", now)
            case Phase.LOGGING_IN if now >= self._deadline:  # 1
                return self._give_up(f"login not acknowledged within {self._timing.ack_timeout:g} s", now)
            case Phase.UP:
                return self._check(now)
            case _:
                return []

    def end(self) -> list[Action]:
        """Ends the session; nothing follows."""
        self.phase = Phase.ENDED
        return [Close()]

    @property
    def wake_at(self) -> float | None:
        """When to call `tick` next; None for never."""
        if self.phase in (Phase.NEW, Phase.ENDED):
            return None
        if self.phase is not Phase.UP:
            return self._deadline
        times = [request.deadline for request in self._pending.values()]
        times.extend(self._retry_at.values())
        if self._pinged_at is None:
            times.append(self._received_at + self._timing.ping_after)
        else:
            times.append(self._pinged_at + self._timing.pong_timeout)
        if self._due_requests():
            times.append(self._next_request)
        return min(times)

    @property
    def unsettled(self) -> frozenset[str]:
        """Channels whose requests the venue has not acknowledged yet."""
        return (self.wanted ^ self.confirmed | self._renewing | self._in_flight()) - self._retry_at.keys()

    def _open(self, now: float) -> list[Action]:
        self.phase = Phase.OPENING
        self._deadline = now + self._timing.open_timeout
        return [Open()]

    def _up(self, now: float) -> list[Action]:
        self.phase = Phase.UP
        self._up_since = self._next_request = now
        return [SessionReady(), *self._send_requests(now)]

    def _give_up(self, reason: str, now: float) -> list[Action]:
        return [Close(), self._down(reason, now)]

    def _down(self, reason: str, now: float, error: VenueError | None = None) -> Down:
        was_up = self.phase is Phase.UP
        if was_up and now - self._up_since >= self._timing.stable_after:  # 2
            self._backoff.reset()
        pause = self._backoff.next()
        self.phase = Phase.DOWN
        self._deadline = now + pause
        self.confirmed.clear()
        self.refused.clear()
        self._retry_at.clear()
        self._pending.clear()
        self._halves.clear()
        self._renewing.clear()
        return Down(was_up, reason, pause, error)

    def _complete(self, request: _Pending, error: VenueError | None, now: float) -> list[Action]:
        channels = request.channels
        if error is not None:  # 3
            first, *others = channels
            if others:
                middle = len(channels) // 2
                self._halves += [(request.kind, channels[:middle]), (request.kind, channels[middle:])]
                return []
            if request.kind is Subscribe and first not in self.wanted:
                # The channel is no longer wanted.
                return []
            self.refused[first] = error
            self._retry_at[first] = now + self._timing.refused_pause
            return [Refused(first, error)]
        if request.kind is Subscribe:
            self.confirmed.update(channels)
            return [Confirmed(channels)]
        self.confirmed.difference_update(channels)
        self._renewing.difference_update(channels)
        return []

    def _check(self, now: float) -> list[Action]:
        late = [request for request in self._pending.values() if now >= request.deadline]
        if late:  # 1
            named = ", ".join(late[0].channels[:3])
            return self._give_up(
                f"request for {named} not acknowledged within {self._timing.ack_timeout:g} s", now
            )
        actions: list[Action] = []
        if self._pinged_at is not None:
            if now >= self._pinged_at + self._timing.pong_timeout:  # 4
                silence = now - self._received_at
                return self._give_up(f"no frame for {silence:.1f} s, and none after a ping", now)
        elif now >= self._received_at + self._timing.ping_after:  # 4
            self._pinged_at = now
            actions.append(Ping(next(self._ids)))
        for channel in [channel for channel, time in self._retry_at.items() if now >= time]:  # 3
            del self._retry_at[channel], self.refused[channel]
        return [*actions, *self._send_requests(now)]

    def _in_flight(self) -> set[str]:
        in_flight = {channel for request in self._pending.values() for channel in request.channels}
        return in_flight.union(*(channels for _, channels in self._halves))

    def _due_requests(self) -> list[tuple[_Request, tuple[str, ...]]]:
        """Returns the requests to send, the halves of refused ones first."""
        requests = list(self._halves)
        taken = self._in_flight().union(self._retry_at)
        off = (self.confirmed - self.wanted | self._renewing) - taken
        on = self.wanted - self.confirmed - taken
        size = self._timing.max_channels
        kinds: list[tuple[_Request, Sequence[str]]] = [(Unsubscribe, sorted(off)), (Subscribe, sorted(on))]
        for kind, channels in kinds:
            requests += [(kind, tuple(channels[at : at + size])) for at in range(0, len(channels), size)]
        return requests

    def _send_requests(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.phase is not Phase.UP:
            return actions
        for kind, channels in self._due_requests():
            if now < self._next_request:
                break
            self._next_request = now + self._timing.request_interval
            if (kind, channels) in self._halves:
                self._halves.remove((kind, channels))
            id = next(self._ids)
            self._pending[id] = _Pending(kind, channels, now + self._timing.ack_timeout)
            actions.append(kind(id, channels))
        return actions
