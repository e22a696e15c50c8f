"""The state machine of a connection, without a socket or a clock."""

from collections.abc import Iterable
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltica.adapters.live.session import (
    Ack,
    Action,
    Close,
    Confirmed,
    Down,
    Login,
    Open,
    Phase,
    Ping,
    Refused,
    Session,
    SessionReady,
    Subscribe,
    Timing,
    Unsubscribe,
)
from meltica.errors import Unauthenticated, VenueError
from meltica.runtime.backoff import Backoff

TIMING = Timing(
    open_timeout=10,
    ack_timeout=10,
    ping_after=15,
    pong_timeout=5,
    refused_pause=5,
    min_pause=1,
    max_pause=8,
    stable_after=20,
    max_channels=4,
)
NO = VenueError("no", "it may not")


def session(timing: Timing = TIMING, *, login: bool = False) -> Session:
    """Returns a session without jitter."""
    return Session(timing, Backoff(timing.min_pause, timing.max_pause, lambda: 0.5), login=login)


def up(*channels: str, timing: Timing = TIMING) -> Session:
    """Returns a session that is up with confirmed channels, at time 0."""
    machine = session(timing)
    machine.set_channels(channels, 0)
    machine.start(0)
    for action in machine.opened(0):
        if isinstance(action, Subscribe):
            machine.acknowledged(Ack(action.id), 0)
    assert machine.confirmed == set(channels)
    return machine


def test_it_connects_and_subscribes() -> None:
    machine = session()
    assert machine.set_channels(["b", "a"], 0) == []
    assert (machine.wake_at, machine.tick(9)) == (None, []), "no attempt before the start"
    assert machine.start(0) == [Open()]
    assert machine.start(0) == []
    ready, request = machine.opened(1)
    assert (ready, request) == (SessionReady(), Subscribe(1, ("a", "b")))
    assert machine.unsettled == {"a", "b"}
    assert machine.acknowledged(Ack(1), 2) == [Confirmed(("a", "b"))]
    assert machine.unsettled == frozenset()


def test_only_the_difference_is_requested() -> None:
    machine = up("a", "b")
    off, on = machine.set_channels(["b", "c"], 3)
    assert off == Unsubscribe(2, ("a",))
    assert on == Subscribe(3, ("c",))
    assert machine.unsettled == {"a", "c"}
    assert machine.set_channels(["b", "c"], 3) == []
    machine.acknowledged(Ack(2), 4)
    machine.acknowledged(Ack(3), 4)
    assert (machine.confirmed, machine.unsettled) == ({"b", "c"}, frozenset())


def test_a_change_during_a_request_is_applied_after_its_acknowledgement() -> None:
    machine = up()
    [request] = machine.set_channels(["a"], 1)
    assert isinstance(request, Subscribe)
    assert machine.set_channels([], 2) == []
    assert machine.unsettled == {"a"}
    confirmed, off = machine.acknowledged(Ack(request.id), 3)
    assert confirmed == Confirmed(("a",))
    assert isinstance(off, Unsubscribe)
    assert machine.acknowledged(Ack(off.id), 4) == []
    assert (machine.confirmed, machine.unsettled) == (set(), frozenset())


def test_a_login_comes_first() -> None:
    machine = session(login=True)
    machine.set_channels(["account"], 0)
    machine.start(0)
    assert machine.opened(1) == [Login(1)]
    assert machine.phase is Phase.LOGGING_IN
    assert machine.acknowledged(Ack(1), 2) == [SessionReady(), Subscribe(2, ("account",))]


def test_a_refused_login_is_reported_and_retried() -> None:
    machine = session(login=True)
    machine.start(0)
    machine.opened(0)
    error = Unauthenticated("bad_signature", "it differs")
    close, down = machine.acknowledged(Ack(1, error), 1)
    assert close == Close()
    assert isinstance(down, Down)
    assert (down.error, down.was_up, down.pause) == (error, False, 1)
    assert machine.tick(1.9) == []
    assert machine.tick(2) == [Open()]


def test_channels_are_subscribed_again_after_a_reconnect() -> None:
    machine = up("a", "b")
    [down] = machine.disconnected("gone", 100)
    assert down == Down(was_up=True, reason="gone", pause=1)
    assert (machine.confirmed, machine.unsettled) == (set(), {"a", "b"})
    assert machine.wake_at == 101
    assert machine.tick(101) == [Open()]
    assert machine.opened(102)[1:] == [Subscribe(2, ("a", "b"))]


def test_pauses_grow_until_a_connection_was_stable() -> None:
    machine = session()
    machine.start(0)
    now, pauses = 0.0, list[float]()
    for uptime in (0, 0, 0, 19, 20):
        if uptime:
            machine.opened(now)
            now += uptime
            # Frames arrived until the end.
            machine.received(now)
        [down] = machine.disconnected("gone", now)
        assert isinstance(down, Down)
        pauses.append(down.pause)
        now += down.pause
        assert machine.tick(now) == [Open()]
    assert pauses == [1, 2, 4, 8, 1]


@pytest.mark.parametrize("stage", ["opening", "login", "request"])
def test_a_time_out_closes_the_connection(stage: str) -> None:
    machine = session(login=stage == "login")
    machine.set_channels(["a"], 0)
    machine.start(0)
    if stage != "opening":
        machine.opened(0)
    assert machine.wake_at == 10
    assert machine.tick(9.9) == []
    close, down = machine.tick(10)
    assert close == Close()
    assert isinstance(down, Down)
    assert "within 10 s" in down.reason


def test_silence_after_a_ping_closes_the_connection() -> None:
    machine = up("a")
    assert machine.wake_at == 15
    [ping] = machine.tick(15)
    assert isinstance(ping, Ping)
    assert machine.wake_at == 20
    close, down = machine.tick(20)
    assert (close, type(down)) == (Close(), Down)


def test_any_frame_resets_the_ping_timer() -> None:
    machine = up("a")
    machine.received(14)
    assert machine.wake_at == 29
    machine.tick(29)
    machine.received(33)
    assert machine.tick(34) == []
    assert machine.wake_at == 48


def test_a_refused_channel_does_not_affect_the_others() -> None:
    machine = up()
    actions = machine.set_channels(["a", "b", "bad", "c"], 0)
    refused = list[Refused]()
    while actions:
        action = actions.pop(0)
        if isinstance(action, Subscribe):
            error = NO if "bad" in action.channels else None
            actions += machine.acknowledged(Ack(action.id, error), 0)
        elif isinstance(action, Refused):
            refused.append(action)
    assert refused == [Refused("bad", NO)]
    assert machine.confirmed == {"a", "b", "c"}
    assert (machine.refused, machine.unsettled) == ({"bad": NO}, frozenset())
    assert machine.tick(4.9) == []
    [again] = machine.tick(5)
    assert isinstance(again, Subscribe)
    assert again.channels == ("bad",)


def test_a_new_request_does_not_wait_for_the_pause() -> None:
    machine = up()
    [request] = machine.set_channels(["bad"], 0)
    assert isinstance(request, Subscribe)
    machine.acknowledged(Ack(request.id, NO), 0)
    [again] = machine.set_channels(["bad"], 1)
    assert isinstance(again, Subscribe)
    assert machine.unsettled == {"bad"}


def test_the_refusal_of_an_unwanted_channel_is_ignored() -> None:
    machine = up()
    [request] = machine.set_channels(["bad"], 0)
    assert isinstance(request, Subscribe)
    machine.set_channels([], 1)
    assert machine.unsettled == {"bad"}
    assert machine.acknowledged(Ack(request.id, NO), 2) == []
    assert (machine.refused, machine.unsettled) == ({}, frozenset())


def test_renewing_unsubscribes_and_subscribes() -> None:
    machine = up("a", "b")
    [off] = machine.renew(["a", "unknown"], 1)
    assert isinstance(off, Unsubscribe)
    assert machine.unsettled == {"a"}
    [on] = machine.acknowledged(Ack(off.id), 2)
    assert isinstance(on, Subscribe)
    assert on.channels == ("a",)
    assert machine.acknowledged(Ack(on.id), 3) == [Confirmed(("a",))]
    assert machine.unsettled == frozenset()


def test_requests_are_split_and_paced() -> None:
    machine = up(timing=Timing(max_channels=2, request_interval=1.0))
    assert machine.set_channels("abcde", 0) == [Subscribe(1, ("a", "b"))]
    assert machine.wake_at == 1
    assert machine.tick(1) == [Subscribe(2, ("c", "d"))]
    assert machine.tick(2) == [Subscribe(3, ("e",))]


def test_unsent_requests_are_dropped_with_the_connection() -> None:
    machine = up("a", "b", timing=Timing(request_interval=1.0))
    [off] = machine.set_channels([], 2)
    assert isinstance(off, Unsubscribe)
    assert machine.acknowledged(Ack(off.id, NO), 2.5) == [], "the halves are paced"
    machine.disconnected("gone", 2.6)
    machine.tick(9)
    assert machine.opened(9) == [SessionReady()]


def test_an_ended_session_does_nothing() -> None:
    machine = up("a")
    assert machine.end() == [Close()]
    assert machine.wake_at is None
    for late in (
        machine.start(9),
        machine.opened(9),
        machine.disconnected("gone", 9),
        machine.tick(9),
        machine.set_channels("b", 9),
    ):
        assert late == []
    assert machine.acknowledged(Ack(1), 9) == []


class Venue:
    """The venue's side of a connection: the plain model that a session is compared with."""

    def __init__(self) -> None:
        self.subscribed: set[str] = set()
        self.pending: dict[int, Subscribe | Unsubscribe] = {}
        self.opening = False
        self.ready = False

    def take(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Open():
                    assert not self.opening
                    assert not self.ready
                    self.opening = True
                case Subscribe(id, channels) | Unsubscribe(id, channels):
                    assert self.ready
                    assert channels
                    busy = {channel for other in self.pending.values() for channel in other.channels}
                    assert busy.isdisjoint(channels), "one request for a channel at a time"
                    if isinstance(action, Subscribe):
                        assert self.subscribed.isdisjoint(channels)
                    else:
                        assert self.subscribed.issuperset(channels)
                    self.pending[id] = action
                case Close() | Down():
                    self.__init__()
                case SessionReady():
                    self.ready = True
                case _:
                    pass

    def answer(self, id: int, *, accept: bool) -> Ack:
        action = self.pending.pop(id)
        if not accept:
            return Ack(id, NO)
        if isinstance(action, Subscribe):
            self.subscribed.update(action.channels)
        else:
            self.subscribed.difference_update(action.channels)
        return Ack(id)


_sets = st.frozensets(st.sampled_from("abcdef"))
_steps = st.one_of(
    st.tuples(st.just("want"), _sets),
    st.tuples(st.just("renew"), _sets),
    st.tuples(st.just("answer"), st.booleans()),
    st.tuples(st.sampled_from(["open", "lose", "receive"]), st.none()),
    st.tuples(st.just("wait"), st.floats(0.1, 30)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_steps, max_size=40), st.sampled_from([1, 3, 100]), st.sampled_from([0.0, 0.5]))
def test_the_venue_ends_with_the_wanted_channels(
    steps: list[tuple[str, object]], batch: int, interval: float
) -> None:
    machine, venue, now = (
        session(Timing(max_channels=batch, request_interval=interval, ping_after=1000)),
        Venue(),
        0.0,
    )

    def check() -> None:
        assert machine.confirmed == venue.subscribed, "confirmed channels are the subscribed ones"
        assert machine.wake_at is not None
        if machine.wake_at <= now:
            venue.take(machine.tick(now))
            assert machine.wake_at > now, "all due work is done"

    venue.take(machine.start(now))
    for what, value in steps:
        match what, value:
            case "want", frozenset():
                venue.take(machine.set_channels(cast(frozenset[str], value), now))
            case "renew", frozenset():
                venue.take(machine.renew(cast(frozenset[str], value), now))
            case "answer", bool() if venue.pending:
                venue.take(machine.acknowledged(venue.answer(min(venue.pending), accept=value), now))
            case "open", _ if venue.opening:
                venue.opening = False
                venue.take(machine.opened(now))
            case "lose", _ if venue.opening or venue.ready:
                venue.take(machine.disconnected("gone", now))
            case "receive", _ if venue.ready:
                venue.take(machine.received(now))
            case "wait", float():
                now += value
                venue.take(machine.tick(now))
            case _:
                pass
        check()
    for _ in range(100):
        if venue.opening:
            venue.opening = False
            venue.take(machine.opened(now))
        elif venue.pending:
            venue.take(machine.acknowledged(venue.answer(min(venue.pending), accept=True), now))
        elif machine.unsettled or machine.refused or machine.phase is not Phase.UP:
            assert machine.wake_at is not None
            now = machine.wake_at
            venue.take(machine.tick(now))
        else:
            break
    assert venue.subscribed == machine.confirmed == machine.wanted
