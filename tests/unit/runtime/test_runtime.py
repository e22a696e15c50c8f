"""Backoff pauses, restart budgets, the state writer, and blocking calls next to the event loop."""

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


def test_pauses_have_a_jitter_of_a_fifth() -> None:
    assert Backoff(1.0, 5.0, jitter=lambda: 0.0).next() == pytest.approx(0.8)
    assert Backoff(1.0, 5.0, jitter=lambda: 1.0).next() == pytest.approx(1.2)
    assert Backoff(5.0, 5.0, jitter=lambda: 1.0).next() == 5.0, "the jitter is within the maximum"


def test_a_budget_counts_restarts_within_its_window() -> None:
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
        (LambdaError("on\n  one line"), "on one line"),
        (Overdue("timed out"), "timed out"),
        (OSError("no disk"), "OSError: no disk"),
        (TimeoutError(), "TimeoutError"),
        (LambdaError(), "LambdaError"),
    ],
)
def test_errors_are_formatted_as_one_line(error: Exception, text: str) -> None:
    assert one_line(error) == text


class Recorder:
    """Records the states that are written; the next writes raise `errors`."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.errors: list[Exception] = []
        self.attempted = asyncio.Event()

    def write(self, text: str) -> Callable[[], asyncio.Future[None]]:
        async def work() -> None:
            self.attempted.set()
            if self.errors:
                raise self.errors.pop(0)
            self.written.append(text)

        return lambda: asyncio.ensure_future(work())


async def test_the_latest_state_of_each_component_is_written() -> None:
    state_writer, recorder = StateWriter(), Recorder()
    state_writer.put("x", "a", recorder.write("a1"))
    state_writer.put("x", "b", recorder.write("b1"))
    state_writer.put("x", "a", recorder.write("a2"))
    state_writer.start()
    assert await state_writer.close(PATIENCE)
    assert recorder.written == ["a2", "b1"]
    assert await state_writer.close(PATIENCE), "closing twice is allowed"


async def test_the_state_writer_retries_until_a_write_succeeds_or_its_row_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state_writer, recorder = StateWriter(retry=0.0), Recorder()
    recorder.errors = [DatabaseUnavailable("unavailable"), DatabaseUnavailable("unavailable")]
    state_writer.start()
    state_writer.put("x", "a", recorder.write("a"))
    assert await state_writer.close(PATIENCE)
    assert recorder.written == ["a"]
    recorder.errors = [
        NotFound("no row"),
        DatabaseError("refused"),
        DatabaseError("refused"),
        ValueError("bug"),
    ]
    state_writer = StateWriter(retry=0.0)
    state_writer.start()
    state_writer.put("x", "b", recorder.write("lost"))
    state_writer.put("x", "c", recorder.write("kept"))
    assert await state_writer.close(PATIENCE)
    assert recorder.written == ["a", "kept"]
    assert "state of x b not persisted: no row" in caplog.text
    assert caplog.text.count("state of x c not persisted, retrying: refused") == 1


async def test_closing_does_not_wait_for_an_unavailable_database() -> None:
    state_writer, recorder = StateWriter(retry=PATIENCE), Recorder()
    recorder.errors = [DatabaseUnavailable("unavailable")]
    state_writer.start()
    state_writer.put("x", "a", recorder.write("a"))
    await recorder.attempted.wait()
    assert not await state_writer.close(0.01)


async def test_a_newer_state_replaces_one_that_awaits_its_retry() -> None:
    state_writer, recorder = StateWriter(retry=0.0), Recorder()
    recorder.errors = [DatabaseUnavailable("unavailable")]
    state_writer.start()
    state_writer.put("x", "a", recorder.write("old"))
    await recorder.attempted.wait()
    state_writer.put("x", "a", recorder.write("new"))
    assert await state_writer.close(PATIENCE)
    assert recorder.written == ["new"]


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


async def test_a_result_after_the_timeout_is_passed_to_the_late_callback() -> None:
    gate, late = threading.Event(), asyncio.Event()
    with pytest.raises(Overdue, match=r"timed out after 0\.01 s"):
        await within(0.01, call(lambda: gate.wait(PATIENCE), "x"), late=lambda _: late.set())
    gate.set()
    await asyncio.wait_for(late.wait(), PATIENCE)
    assert await within(PATIENCE, call(lambda: 5, "x")) == 5


async def test_a_call_continues_when_its_wait_is_cancelled() -> None:
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
