"""`Rig`: an adapter in a data plane of its own, and all its events."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Self, TypeVar, cast

import pytest

from meltica._core import KINDS, BookSnapshot, Codec, Core, Event, ExecReport, Producer
from meltica.adapters.base import Adapter, Route
from meltica.model.account import Account
from meltica.testing.stage import Book, Stage

PATIENCE = 30.0
"""Seconds to wait for a condition."""
DEPTH = 25
"""Levels per side of the books."""

T = TypeVar("T")
NOTICES = ("BookGap", "MarketStale")


class Rig:
    """Runs one adapter as the gateway does, without a gateway. Use it with `with`.

    `kinds` are the kinds of its events; notices about them are added.
    """

    def __init__(self, adapter: Adapter, name: str | None = None, kinds: Sequence[str] = KINDS) -> None:
        self.adapter = adapter
        if name is not None:
            adapter.bind_name(name)
        self.name = adapter.providers()[0]
        self.events: list[Event] = []
        """All events, in order."""
        self.error: BaseException | None = None
        """The exception that `run` raised."""
        core = Core()
        declaration = adapter.codec()
        codec = None if declaration is None else Codec(declaration)
        self.producers: dict[str, Producer] = {
            provider: core.producer(provider, codec) for provider in adapter.providers()
        }
        self._host = core.host("thread")
        self._host.add(
            "contract",
            callbacks=dict.fromkeys((*kinds, *NOTICES), self.events.append),
            routes=[(provider, kind, None) for provider in self.producers for kind in kinds],
            # The tests need every event; a live gateway would conflate.
            policies=dict.fromkeys(KINDS, "block"),
            book_depth=DEPTH,
        ).start()
        self._thread = threading.Thread(target=self._run, name=f"{self.name}-run", daemon=True)

    def __enter__(self) -> Self:
        try:
            self.adapter.start(self.producers)
        except BaseException:
            self.close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self.adapter.run()
        except BaseException as error:
            self.error = error

    @property
    def account(self) -> Account:
        """The adapter's account; the test is skipped without one."""
        account = self.adapter.account
        if account is None:
            pytest.skip(f"{type(self.adapter).__name__} has no account here")
        return account

    def close(self) -> None:
        """Stops the adapter; fails if it does not stop in time."""
        self.adapter.stop()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        for producer in self.producers.values():
            producer.drain(PATIENCE)
        self._host.stop()
        assert not self._thread.is_alive(), f"run() of {self.name} did not end after stop()"

    def finish(self) -> None:
        """Waits until the source ends and all events are delivered."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "run() did not end"
        assert all(producer.drain(PATIENCE) for producer in self.producers.values())

    def subscribe(self, *routes: tuple[str, str | None]) -> None:
        """Subscribes the adapter to (kind, symbol) pairs."""
        self.adapter.route([Route(kind, symbol) for kind, symbol in routes], [])

    def unsubscribe(self, *routes: tuple[str, str | None]) -> None:
        """Unsubscribes the adapter from (kind, symbol) pairs."""
        self.adapter.route([], [Route(kind, symbol) for kind, symbol in routes])

    def do(self, call: Coroutine[object, object, T]) -> T:
        """Awaits a call of the account, on an event loop of its own."""

        async def bounded() -> T:
            async with asyncio.timeout(PATIENCE):
                return await call

        return asyncio.run(bounded())

    def wait(self, holds: Callable[[], T | None], what: str, seconds: float = PATIENCE) -> T:
        """Waits until `holds()` is true and returns its value; a failure shows `what` and the last events."""
        deadline = time.monotonic() + seconds
        while not (value := holds()):
            assert self.error is None, f"run() ended: {self.error!r}"
            if time.monotonic() > deadline:
                last = [str(event) for event in self.events[-5:]]
                # Newest last; a wrong codec declaration shows here.
                bad = [
                    text for producer in self.producers.values() for _, text, _ in producer.bad_frames()[-3:]
                ]
                raise AssertionError(
                    f"expected {what} within {seconds:g} s; connection: {self.adapter.connection_error};"
                    f" bad frames: {bad}; last of {len(self.events)} events: {last}"
                )
            threading.Event().wait(0.005)
        return value

    def since(self, mark: int, kind: str, symbol: str | None = None) -> Sequence[Event]:
        """Returns the events of a kind, and of a symbol, after the first `mark` events."""
        return [
            event
            for event in self.events[mark:]
            if event.kind == kind and (symbol is None or event.symbol == symbol)
        ]

    def comes(self, kind: str, symbol: str | None = None, mark: int | None = None) -> Event:
        """Waits for the next event, or the first after `mark` events, and returns it."""
        mark = len(self.events) if mark is None else mark
        return self.wait(lambda: self.since(mark, kind, symbol), f"{kind} of {symbol or 'anything'}")[0]

    def reports(self, client_order_id: str, mark: int = 0) -> list[ExecReport]:
        """Returns the reports of an order."""
        reports = [cast(ExecReport, event) for event in self.since(mark, "ExecReport")]
        return [report for report in reports if report.client_order_id == client_order_id]

    def agrees(self, stage: Stage, symbol: str, mark: int = 0) -> Book:
        """Waits until a book after the first `mark` events equals the venue's book with the same update id.

        Fails immediately when two books with the same update id differ.
        """

        def same() -> Book | None:
            truth = stage.book(symbol)
            for event in reversed(self.since(mark, "BookSnapshot", symbol)[-500:]):
                book = cast(BookSnapshot, event)
                if book.last_update_id != truth.update_id:
                    continue
                for side, actual, expected in (
                    ("bids", book.bids, truth.bids),
                    ("asks", book.asks, truth.asks),
                ):
                    levels = tuple((level.price_decimal, level.quantity_decimal) for level in actual)
                    assert levels == expected[:DEPTH], f"{side} of {symbol} at {truth.update_id} differ"
                return truth
            return None

        return self.wait(same, f"a book of {symbol} at the venue's update id")
