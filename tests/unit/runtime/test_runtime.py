"""Pauses, budgets, notes, and blocking calls beside the loop."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from meltica.errors import DatabaseError, DatabaseUnavailable, LambdaError, NotFound, Overdue, one_line
from meltica.runtime.backoff import Backoff, Budget
from meltica.runtime.state_writer import StateWriter
from meltica.runtime.threads import call, within

PATIENCE = 20.0


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(1.0, 5.0, jitter=lambda: 0.5)
    assert [backoff.next() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.reset()
    assert backoff.next() == 1


def test_pauses_are_uneven_by_a_fifth() -> None:
    assert Backoff(1.0, 5.0, jitter=lambda: 0.0).next() == pytest.approx(0.8)
    assert Backoff(1.0, 5.0, jitter=lambda: 1.0).next() == pytest.approx(1.2)


def test_a_budget_counts_what_lies_within_the_window() -> None:
    now = 0.0
    budget = Budget(2, 10.0, lambda: now)
    assert [budget.spend(), budget.spend(), budget.spend()] == [True, True, False]
    now = 10.0
    assert not budget.spend()
    now = 10.1
    assert [budget.spend(), budget.spend(), budget.spend()] == [True, True, False]
    assert not Budget(0, 10.0, lambda: now).spend()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LambdaError("as\n  it is"), "as it is"),
        (Overdue("did not end"), "did not end"),
        (OSError("no disk"), "OSError: no disk"),
        (TimeoutError(), "TimeoutError"),
        (LambdaError(), "LambdaError"),
    ],
)
def test_errors_are_told_in_a_line(error: Exception, text: str) -> None:
    assert one_line(error) == text


class Book:
    """What notes are written into; `fail` is raised by the next writes."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.fail: list[Exception] = []
        self.tried = asyncio.Event()

    def write(self, text: str) -> Callable[[], asyncio.Future[None]]:
        async def work() -> None:
            self.tried.set()
            if self.fail:
                raise self.fail.pop(0)
            self.written.append(text)

        return lambda: asyncio.ensure_future(work())


async def test_the_latest_note_of_each_is_written() -> None:
    notes, book = StateWriter(), Book()
    notes.put("x", "a", book.write("a1"))
    notes.put("x", "b", book.write("b1"))
    notes.put("x", "a", book.write("a2"))
    notes.start()
    assert await notes.close(PATIENCE)
    assert book.written == ["a2", "b1"]
    assert await notes.close(PATIENCE), "closing twice is allowed"


async def test_notes_wait_for_the_database_and_survive_what_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes, book = StateWriter(retry=0.0), Book()
    book.fail = [DatabaseUnavailable("away"), DatabaseUnavailable("away")]
    notes.start()
    notes.put("x", "a", book.write("a"))
    assert await notes.close(PATIENCE)
    assert book.written == ["a"]
    for error in (NotFound("no row"), DatabaseError("refused"), ValueError("a bug")):
        notes = StateWriter()
        notes.start()
        book.fail = [error]
        notes.put("x", "b", book.write("lost"))
        notes.put("x", "c", book.write("kept"))
        assert await notes.close(PATIENCE)
    assert book.written == ["a", "kept", "kept", "kept"]
    assert "the state of x b could not be written: no row" in caplog.text


async def test_closing_notes_does_not_wait_for_a_database_that_is_gone() -> None:
    notes, book = StateWriter(retry=PATIENCE), Book()
    book.fail = [DatabaseUnavailable("away")]
    notes.start()
    notes.put("x", "a", book.write("a"))
    await book.tried.wait()
    assert not await notes.close(0.01)


async def test_a_newer_note_wins_over_one_that_waits() -> None:
    notes, book = StateWriter(retry=0.0), Book()
    book.fail = [DatabaseUnavailable("away")]
    notes.start()
    notes.put("x", "a", book.write("old"))
    await book.tried.wait()
    notes.put("x", "a", book.write("new"))
    assert await notes.close(PATIENCE)
    assert book.written == ["new"]


async def test_calls_return_and_raise() -> None:
    def fail(error: BaseException) -> None:
        raise error

    assert await call(lambda: threading.current_thread().name, "somewhere") == "somewhere"
    with pytest.raises(KeyError):
        await call(lambda: fail(KeyError()), "x")
    with pytest.raises(RuntimeError, match="SystemExit: 3"):
        await call(lambda: fail(SystemExit(3)), "x")
    with pytest.raises(RuntimeError, match="StopIteration: end"):
        await call(lambda: fail(StopIteration("end")), "x")


async def test_who_waits_within_bounds_gets_the_rest_late() -> None:
    gate, late = threading.Event(), asyncio.Event()
    with pytest.raises(Overdue, match=r"did not end within 0\.01 s"):
        await within(0.01, call(lambda: gate.wait(PATIENCE), "x"), late=lambda _: late.set())
    gate.set()
    await asyncio.wait_for(late.wait(), PATIENCE)
    assert await within(PATIENCE, call(lambda: 5, "x")) == 5


async def test_a_wait_that_is_cancelled_leaves_the_call_to_itself() -> None:
    gate, late = threading.Event(), asyncio.Event()
    waiting = asyncio.ensure_future(
        within(PATIENCE, call(lambda: gate.wait(PATIENCE), "x"), late=lambda _: late.set())
    )
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    gate.set()
    await asyncio.wait_for(late.wait(), PATIENCE)
