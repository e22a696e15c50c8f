"""Runs the shutdown steps of the started components in reverse, within one deadline."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

log = logging.getLogger("meltica.gateway")


@dataclass(frozen=True)
class ShutdownStep:
    """How a component is stopped."""

    component: str
    stop: Callable[[], Awaitable[bool | None]]
    """Returns False if a part of the component did not stop, and has logged which."""
    share: float = 0.5
    """Seconds that the steps before it leave to this step; a stop shorter than all shares shortens each."""


async def run_shutdown(steps: list[ShutdownStep], timeout: float) -> list[str]:
    """Runs the steps, the last first, and empties the list; returns the components that did not stop.

    A late step is cancelled, abandoned and logged, so that the others still get their share.
    """
    deadline = time.monotonic() + timeout
    reserves = _reserves(steps, timeout)
    left_behind: list[str] = []
    while steps:
        step = steps.pop()
        remaining = max(0.1, deadline - time.monotonic() - reserves.pop())
        # Cancelling a late step may take long, so it is not awaited.
        stopping = asyncio.ensure_future(step.stop())
        done, _ = await asyncio.wait({stopping}, timeout=remaining)
        if not done:
            stopping.cancel()
            log.error("%s: did not stop within %.1f s and is abandoned", step.component, remaining)
        elif (error := stopping.exception()) is not None:
            log.error("%s: could not be stopped", step.component, exc_info=error)
        elif stopping.result() is not False:
            continue
        left_behind.append(step.component)
    return left_behind


def _reserves(steps: Sequence[ShutdownStep], timeout: float) -> list[float]:
    """Returns the seconds that each step leaves to those before it, which are stopped after it."""
    shares = [step.share for step in steps]
    scale = min(1.0, timeout / (sum(shares) or 1.0))
    return [scale * before for before in accumulate([0.0, *shares[:-1]])]
