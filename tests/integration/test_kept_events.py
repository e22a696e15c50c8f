"""A kept event never changes, whatever keeps it alive."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meltica.adapters.replay import sample
from tests.conftest import replay

KINDS = ("Trade", "Ticker", "BookSnapshot")


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return [line.rstrip() for line in sample.lines()][:1500]


class Keeper:
    """Keeps every third event of a kind, with its representation at delivery."""

    def __init__(self, hold: Callable[[Any], object]) -> None:
        self.hold = hold
        self.kept: list[tuple[object, str, dict[str, Any]]] = []
        self.count = 0

    def __call__(self, event: Any) -> None:
        self.count += 1
        if self.count % 3 == 0:
            self.kept.append((self.hold(event), repr(event), event.to_dict()))


class Box:
    def __init__(self, event: Any) -> None:
        self.event = event


def _caught(event: Any) -> BaseException:
    """An exception whose traceback is the only reference to the event."""

    def fails(event: Any) -> None:
        raise RuntimeError("on purpose")

    try:
        fails(event)
    except RuntimeError as error:
        return error
    raise AssertionError


def _generator(event: Any) -> Iterator[Any]:
    def waits() -> Iterator[Any]:
        yield None
        yield event

    generator = waits()
    next(generator)
    return generator


def _from_traceback(error: Any) -> Any:
    return error.__traceback__.tb_next.tb_frame.f_locals["event"]


HOLDS: dict[str, tuple[Callable[[Any], object], Callable[[Any], Any]]] = {
    "attribute": (Box, lambda box: box.event),
    "closure": (lambda event: lambda: event, lambda closure: closure()),
    "generator": (_generator, next),
    "bound method": (lambda event: event.to_dict, lambda method: method.__self__),
    "traceback": (_caught, _from_traceback),
}


@pytest.mark.parametrize("mode", ["thread", "shared"])
@pytest.mark.parametrize("how", HOLDS)
def test_kept_events_never_change(lines: list[bytes], mode: str, how: str) -> None:
    hold, read = HOLDS[how]
    keepers = {kind: Keeper(hold) for kind in KINDS}
    others = {kind: Keeper(lambda _event: None) for kind in KINDS}
    replay(lines, dict(keepers), dict(others), mode=mode)
    assert all(keeper.count > 30 for keeper in keepers.values())
    for kind in KINDS:
        assert keepers[kind].count == others[kind].count
        for holder, shown, data in keepers[kind].kept:
            event = read(holder)
            assert event.kind == kind
            assert (repr(event), event.to_dict()) == (shown, data)


def test_events_read_by_another_thread_never_change(lines: list[bytes]) -> None:
    wrong: list[object] = []
    handed: list[tuple[Any, dict[str, Any]]] = []
    more, ended = threading.Semaphore(0), threading.Event()

    def compare() -> None:
        while more.acquire() and not (ended.is_set() and not handed):
            event, data = handed.pop()
            if event.to_dict() != data:
                wrong.append(event)

    def hand_over(event: Any) -> None:
        handed.append((event, event.to_dict()))
        more.release()

    reader = threading.Thread(target=compare)
    reader.start()
    replay(lines, dict.fromkeys(KINDS, hand_over))
    ended.set()
    more.release()
    reader.join(30)
    assert not reader.is_alive()
    assert wrong == []
