"""`Disposal`: drops what ended runs leave, on a thread, as finalizers of strategies may take any time."""

import asyncio
import gc
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meltica.lambdas.instances import LambdaInstance


class Disposal:
    """Releases runs in batches, one after the other. Only the loop's thread uses it."""

    def __init__(self, call: "Callable[[Callable[[], None], str], asyncio.Future[None]]") -> None:
        """`call` runs a function on a thread of its own."""
        self._call = call
        self._runs: deque[LambdaInstance] = deque()
        self._active = False

    def add(self, run: "LambdaInstance") -> None:
        """Releases a run of which no callback will be called any more, or of which one does not return."""
        self._runs.append(run)
        self._next()

    def _next(self) -> None:
        if self._runs and not self._active:
            self._active = True
            self._call(self._release, "meltica-disposal").add_done_callback(self._done)

    def _done(self, _: "asyncio.Future[None]") -> None:
        self._active = False
        self._next()

    def _release(self) -> None:
        # Without the pause, another thread could collect a cycle of a strategy, and call its finalizers.
        paused = gc.isenabled()
        gc.disable()
        try:
            while self._runs:
                self._runs.popleft().release()
            gc.collect()
        finally:
            if paused:
                gc.enable()
