"""The life of a connection, driven by hand: no socket, no clock."""

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
    Ready,
    Refused,
    Session,
    Subscribe,
    Timing,
    Unsubscribe,
)
from meltica.errors import Unauthenticated, VenueError
from meltica.runtime.backoff import Backoff

TIMING = Timing(
    open=10, answer=10, idle=15, pong=5, refused=5, least_pause=1, most_pause=8, steady=20, batch=4
)
NO = VenueError("no", "it may not")


def session(timing: Timing = TIMING, *, login: bool = False) -> Session:
    """A session whose pauses are exact."""
    return Session(timing, Backoff(timing.least_pause, timing.most_pause, lambda: 0.5), login=login)


def up(*channels: str, timing: Timing = TIMING) -> Session:
    """A session that is up and has channels, at 0."""
    made = session(timing)
    made.want(channels, 0)
    made.start(0)
    for action in made.opened(0):
        if isinstance(action, Subscribe):
            made.answered(Ack(action.id), 0)
    assert made.confirmed == set(channels)
    return made


def test_it_connects_and_asks_for_what_is_wanted() -> None:
    it = session()
    assert it.want(["b", "a"], 0) == []
    assert (it.wake_at, it.tick(9)) == (None, []), "what is wanted before the start begins nothing"
    assert it.start(0) == [Open()]
    assert it.start(0) == []
    ready, ask = it.opened(1)
    assert (ready, ask) == (Ready(), Subscribe(1, ("a", "b")))
    assert it.unsettled == {"a", "b"}
    assert it.answered(Ack(1), 2) == [Confirmed(("a", "b"))]
    assert it.unsettled == frozenset()


def test_only_the_difference_is_asked() -> None:
    it = up("a", "b")
    off, on = it.want(["b", "c"], 3)
    assert off == Unsubscribe(2, ("a",))
    assert on == Subscribe(3, ("c",))
    assert it.unsettled == {"a", "c"}
    assert it.want(["b", "c"], 3) == []
    it.answered(Ack(2), 4)
    it.answered(Ack(3), 4)
    assert (it.confirmed, it.unsettled) == ({"b", "c"}, frozenset())


def test_who_changes_their_mind_while_the_venue_thinks_gets_what_they_want_in_the_end() -> None:
    it = up()
    [ask] = it.want(["a"], 1)
    assert isinstance(ask, Subscribe)
    assert it.want([], 2) == []
    assert it.unsettled == {"a"}
    confirmed, off = it.answered(Ack(ask.id), 3)
    assert confirmed == Confirmed(("a",))
    assert isinstance(off, Unsubscribe)
    assert it.answered(Ack(off.id), 4) == []
    assert (it.confirmed, it.unsettled) == (set(), frozenset())


def test_a_login_comes_first() -> None:
    it = session(login=True)
    it.want(["account"], 0)
    it.start(0)
    assert it.opened(1) == [Login(1)]
    assert it.phase is Phase.LOGGING_IN
    assert it.answered(Ack(1), 2) == [Ready(), Subscribe(2, ("account",))]


def test_a_refused_login_is_told_and_tried_again_later() -> None:
    it = session(login=True)
    it.start(0)
    it.opened(0)
    error = Unauthenticated("bad_signature", "it differs")
    close, down = it.answered(Ack(1, error), 1)
    assert close == Close()
    assert isinstance(down, Down)
    assert (down.error, down.was_up, down.pause) == (error, False, 1)
    assert it.tick(1.9) == []
    assert it.tick(2) == [Open()]


def test_everything_wanted_is_asked_again_after_a_reconnect() -> None:
    it = up("a", "b")
    [down] = it.lost("gone", 100)
    assert down == Down(was_up=True, reason="gone", pause=1)
    assert (it.confirmed, it.unsettled) == (set(), {"a", "b"})
    assert it.wake_at == 101
    assert it.tick(101) == [Open()]
    assert it.opened(102)[1:] == [Subscribe(2, ("a", "b"))]


def test_pauses_grow_until_a_connection_has_stood_for_a_while() -> None:
    it = session()
    it.start(0)
    now, pauses = 0.0, list[float]()
    for stands in (0, 0, 0, 19, 20):
        if stands:
            it.opened(now)
            now += stands
            # Frames came all the while.
            it.heard(now)
        [down] = it.lost("gone", now)
        assert isinstance(down, Down)
        pauses.append(down.pause)
        now += down.pause
        assert it.tick(now) == [Open()]
    assert pauses == [1, 2, 4, 8, 1]


@pytest.mark.parametrize("stage", ["opening", "login", "request"])
def test_what_is_not_answered_in_time_ends_the_connection(stage: str) -> None:
    it = session(login=stage == "login")
    it.want(["a"], 0)
    it.start(0)
    if stage != "opening":
        it.opened(0)
    assert it.wake_at == 10
    assert it.tick(9.9) == []
    close, down = it.tick(10)
    assert close == Close()
    assert isinstance(down, Down)
    assert "within 10 s" in down.reason


def test_silence_is_asked_about_and_then_believed() -> None:
    it = up("a")
    assert it.wake_at == 15
    [ping] = it.tick(15)
    assert isinstance(ping, Ping)
    assert it.wake_at == 20
    close, down = it.tick(20)
    assert (close, type(down)) == (Close(), Down)


def test_any_frame_is_a_sign_of_life() -> None:
    it = up("a")
    it.heard(14)
    assert it.wake_at == 29
    it.tick(29)
    it.heard(33)
    assert it.tick(34) == []
    assert it.wake_at == 48


def test_one_bad_channel_costs_the_others_nothing() -> None:
    it = up()
    asked = it.want(["a", "b", "bad", "c"], 0)
    refused = list[Refused]()
    while asked:
        action = asked.pop(0)
        if isinstance(action, Subscribe):
            error = NO if "bad" in action.channels else None
            asked += it.answered(Ack(action.id, error), 0)
        elif isinstance(action, Refused):
            refused.append(action)
    assert refused == [Refused("bad", NO)]
    assert it.confirmed == {"a", "b", "c"}
    assert (it.refused, it.unsettled) == ({"bad": NO}, frozenset())
    assert it.tick(4.9) == []
    [again] = it.tick(5)
    assert isinstance(again, Subscribe)
    assert again.channels == ("bad",)


def test_asking_again_does_not_wait_out_the_pause() -> None:
    it = up()
    [ask] = it.want(["bad"], 0)
    assert isinstance(ask, Subscribe)
    it.answered(Ack(ask.id, NO), 0)
    [again] = it.want(["bad"], 1)
    assert isinstance(again, Subscribe)
    assert it.unsettled == {"bad"}


def test_what_is_refused_and_not_wanted_any_more_is_no_fault() -> None:
    it = up()
    [ask] = it.want(["bad"], 0)
    assert isinstance(ask, Subscribe)
    it.want([], 1)
    assert it.unsettled == {"bad"}
    assert it.answered(Ack(ask.id, NO), 2) == []
    assert (it.refused, it.unsettled) == ({}, frozenset())


def test_a_channel_is_renewed_by_leaving_it() -> None:
    it = up("a", "b")
    [off] = it.renew(["a", "unknown"], 1)
    assert isinstance(off, Unsubscribe)
    assert it.unsettled == {"a"}
    [on] = it.answered(Ack(off.id), 2)
    assert isinstance(on, Subscribe)
    assert on.channels == ("a",)
    assert it.answered(Ack(on.id), 3) == [Confirmed(("a",))]
    assert it.unsettled == frozenset()


def test_requests_are_cut_and_paced() -> None:
    it = up(timing=Timing(batch=2, between=1.0))
    assert it.want("abcde", 0) == [Subscribe(1, ("a", "b"))]
    assert it.wake_at == 1
    assert it.tick(1) == [Subscribe(2, ("c", "d"))]
    assert it.tick(2) == [Subscribe(3, ("e",))]


def test_what_waited_to_be_asked_is_forgotten_with_the_connection() -> None:
    it = up("a", "b", timing=Timing(between=1.0))
    [off] = it.want([], 2)
    assert isinstance(off, Unsubscribe)
    assert it.answered(Ack(off.id, NO), 2.5) == [], "the halves wait for their turn"
    it.lost("gone", 2.6)
    it.tick(9)
    assert it.opened(9) == [Ready()]


def test_nothing_comes_after_the_end() -> None:
    it = up("a")
    assert it.end() == [Close()]
    assert it.wake_at is None
    for late in (it.start(9), it.opened(9), it.lost("gone", 9), it.tick(9), it.want("b", 9)):
        assert late == []
    assert it.answered(Ack(1), 9) == []


class Venue:
    """What a venue knows of a connection: the plain model that a session is compared with."""

    def __init__(self) -> None:
        self.has: set[str] = set()
        self.asked: dict[int, Subscribe | Unsubscribe] = {}
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
                    busy = {channel for other in self.asked.values() for channel in other.channels}
                    assert busy.isdisjoint(channels), "one request about a channel at a time"
                    if isinstance(action, Subscribe):
                        assert self.has.isdisjoint(channels)
                    else:
                        assert self.has.issuperset(channels)
                    self.asked[id] = action
                case Close() | Down():
                    self.__init__()
                case Ready():
                    self.ready = True
                case _:
                    pass

    def answer(self, id: int, *, well: bool) -> Ack:
        action = self.asked.pop(id)
        if not well:
            return Ack(id, NO)
        if isinstance(action, Subscribe):
            self.has.update(action.channels)
        else:
            self.has.difference_update(action.channels)
        return Ack(id)


_sets = st.frozensets(st.sampled_from("abcdef"))
_steps = st.one_of(
    st.tuples(st.just("want"), _sets),
    st.tuples(st.just("renew"), _sets),
    st.tuples(st.just("answer"), st.booleans()),
    st.tuples(st.sampled_from(["open", "lose", "hear"]), st.none()),
    st.tuples(st.just("wait"), st.floats(0.1, 30)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_steps, max_size=40), st.sampled_from([1, 3, 100]), st.sampled_from([0.0, 0.5]))
def test_whatever_happens_the_venue_does_what_is_wanted_in_the_end(
    steps: list[tuple[str, object]], batch: int, between: float
) -> None:
    it, venue, now = session(Timing(batch=batch, between=between, idle=1000)), Venue(), 0.0

    def settle() -> None:
        assert it.confirmed == venue.has, "what is taken for confirmed is what the venue has"
        assert it.wake_at is not None
        if it.wake_at <= now:
            venue.take(it.tick(now))
            assert it.wake_at > now, "nothing is left to do at once"

    venue.take(it.start(now))
    for what, value in steps:
        match what, value:
            case "want", frozenset():
                venue.take(it.want(cast(frozenset[str], value), now))
            case "renew", frozenset():
                venue.take(it.renew(cast(frozenset[str], value), now))
            case "answer", bool() if venue.asked:
                venue.take(it.answered(venue.answer(min(venue.asked), well=value), now))
            case "open", _ if venue.opening:
                venue.opening = False
                venue.take(it.opened(now))
            case "lose", _ if venue.opening or venue.ready:
                venue.take(it.lost("gone", now))
            case "hear", _ if venue.ready:
                venue.take(it.heard(now))
            case "wait", float():
                now += value
                venue.take(it.tick(now))
            case _:
                pass
        settle()
    for _ in range(100):
        if venue.opening:
            venue.opening = False
            venue.take(it.opened(now))
        elif venue.asked:
            venue.take(it.answered(venue.answer(min(venue.asked), well=True), now))
        elif it.unsettled or it.refused or it.phase is not Phase.UP:
            assert it.wake_at is not None
            now = it.wake_at
            venue.take(it.tick(now))
        else:
            break
    assert venue.has == it.confirmed == it.wanted
