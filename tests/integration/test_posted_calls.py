"""Functions that other threads post to an instance, and the queue of requests in the other direction."""

import asyncio
import threading
from typing import Any, Literal

import pytest

from meltica import _core

TRADES = ("p", "Trade", "BTC-USDT")


def trade(producer: _core.Producer, n: int) -> None:
    """Publishes one trade."""
    producer.publish("Trade", "BTC-USDT", {"tradeId": str(n), "price": "1", "quantity": "1"})


class Rig:
    """An instance that notes its callbacks."""

    def __init__(self, mode: Literal["thread", "shared"] = "thread", **options: Any) -> None:
        self.core = _core.Core()
        self.producer = self.core.producer("p")
        self.host = self.core.host(mode)
        self.seen: list[str] = []
        self.threads: set[int] = set()
        self.stopped = threading.Event()
        self.instance = self.host.add(
            "i",
            callbacks={"Trade": lambda event: self.note(f"trade {event.trade_id}")},
            routes=[TRADES],
            on_start=lambda: self.note("start"),
            on_stop=lambda: self.note("stop"),
            **options,
        )

    def note(self, text: str) -> None:
        """Notes a call and its thread."""
        self.seen.append(text)
        self.threads.add(threading.get_ident())
        if text == "stop":
            self.stopped.set()

    def close(self) -> list[str]:
        """Stops the instance and its host."""
        assert self.instance.stop()
        assert self.host.stop()
        return self.seen


@pytest.mark.parametrize("mode", ["thread", "shared"])
def test_posted_calls_come_after_the_start_and_before_the_first_event(
    mode: Literal["thread", "shared"],
) -> None:
    rig = Rig(mode)
    assert rig.instance.post(lambda: rig.note("one"))
    assert rig.instance.post(lambda: rig.note("two"))
    rig.instance.start()
    trade(rig.producer, 1)
    assert rig.producer.drain(5.0)
    assert rig.close() == ["start", "one", "two", "trade 1", "stop"]
    assert len(rig.threads) == 1
    assert threading.get_ident() not in rig.threads


def test_a_sleeping_host_is_woken_for_a_posted_call() -> None:
    rig = Rig()
    rig.instance.start()
    called = threading.Event()
    rig.instance.post(called.set)
    assert called.wait(20)
    rig.close()


def test_a_backlog_of_events_does_not_delay_a_posted_call() -> None:
    rig = Rig()
    entered, go = threading.Event(), threading.Event()
    rig.instance.start()

    def hold() -> None:
        entered.set()
        go.wait(20)

    rig.instance.post(hold)
    assert entered.wait(20)
    for n in range(3):
        trade(rig.producer, n)

    def post_next() -> None:
        rig.instance.post(lambda: rig.note("posted"))

    # The callback of the first event posts: the call comes before the second event of the same batch.
    rig.note = _first_trade(rig, post_next)  # type: ignore[method-assign]
    go.set()
    assert rig.producer.drain(5.0)
    assert rig.close() == ["start", "trade 0", "posted", "trade 1", "trade 2", "stop"]


def _first_trade(rig: Rig, function: Any) -> Any:
    seen = rig.seen

    def note(text: str) -> None:
        seen.append(text)
        if text == "trade 0":
            function()

    return note


def test_posted_calls_come_before_the_stop_and_not_after_the_end() -> None:
    rig = Rig()
    rig.instance.start()
    entered, go = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        go.wait(20)

    rig.instance.post(hold)
    assert entered.wait(20)
    rig.instance.post(lambda: rig.note("late"))
    stopping = threading.Thread(target=rig.instance.stop)
    stopping.start()
    go.set()
    stopping.join(20)
    assert rig.instance.state == "stopped"
    assert not rig.instance.post(lambda: rig.note("never"))
    assert rig.close() == ["start", "late", "stop"]


def test_an_exception_of_a_posted_call_follows_the_error_policy() -> None:
    errors: list[tuple[str, BaseException]] = []

    def report(name: str, error: BaseException) -> None:
        errors.append((name, error))

    rig = Rig(on_error=report, max_errors=2)
    rig.instance.start()

    def fail() -> None:
        raise ValueError("posted")

    ended = threading.Event()
    for _ in range(2):
        rig.instance.post(fail)
    rig.instance.post(ended.set)
    assert rig.stopped.wait(20)
    assert rig.host.stop()
    assert [(name, str(error)) for name, error in errors] == [("post", "posted")] * 2
    assert (rig.instance.state, rig.instance.stats()["errors"]) == ("failed", 2)
    assert not ended.is_set()
    assert rig.seen == ["start", "stop"]


async def test_a_batch_of_requests_wakes_the_loop_once() -> None:
    queue = _core.IntentQueue()
    loop = asyncio.get_running_loop()
    batches: list[list[tuple[Any, int | None]]] = []
    arrived = asyncio.Event()

    def take() -> None:
        batches.append(queue.take())
        arrived.set()

    loop.add_reader(queue.fileno(), take)
    try:
        for number in range(3):
            queue.push(number)
        assert len(queue) == 3
        await arrived.wait()
        arrived.clear()
        queue.push("last", trace=(1 << 128) - 1)
        await arrived.wait()
    finally:
        loop.remove_reader(queue.fileno())
    assert batches == [[(0, None), (1, None), (2, None)], [("last", (1 << 128) - 1)]]
    assert queue.take() == []


async def test_no_request_of_several_threads_is_lost() -> None:
    queue = _core.IntentQueue()
    loop = asyncio.get_running_loop()
    taken: list[tuple[int, int]] = []
    complete = asyncio.Event()
    each = 5000

    def take() -> None:
        taken.extend(body for body, _ in queue.take())
        if len(taken) == 4 * each:
            complete.set()

    def push(writer: int) -> None:
        for number in range(each):
            queue.push((writer, number))

    loop.add_reader(queue.fileno(), take)
    try:
        writers = [threading.Thread(target=push, args=(writer,)) for writer in range(4)]
        for writer in writers:
            writer.start()
        await asyncio.wait_for(complete.wait(), 30)
        for writer in writers:
            writer.join()
    finally:
        loop.remove_reader(queue.fileno())
    for writer in range(4):
        assert [number for by, number in taken if by == writer] == list(range(each))


def test_a_full_queue_refuses_a_request() -> None:
    queue = _core.IntentQueue(capacity=1)
    queue.push("kept")
    with pytest.raises(_core.CapacityError, match="the queue of requests is full: 1 wait for trading"):
        queue.push("refused")
    assert queue.take() == [("kept", None)]
    with pytest.raises(ValueError, match="capacity of at least 1"):
        _core.IntentQueue(0)
