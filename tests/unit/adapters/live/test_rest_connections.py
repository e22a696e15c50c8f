"""Connections of REST requests: whatever becomes of a request, the next ones have a connection."""

import asyncio
import contextlib

import pytest

from meltica.adapters.live.rest import CONNECTIONS
from meltica.errors import VenueUnavailable
from tests.support.scripted import Http, reply
from tests.unit.adapters.live.test_rest import client

STEPS = 500
"""More steps of the loop than a request takes."""


async def cancelled_after(steps: int, request: "asyncio.Future[object]") -> bool:
    """Cancels a request after some steps of the loop; returns whether it was over before."""
    for _ in range(steps):
        await asyncio.sleep(0)
    done = request.done()
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError, VenueUnavailable):
        await request
    return done


@pytest.mark.parametrize("changes", [True, False])
async def test_no_cancellation_costs_a_connection(changes: bool) -> None:
    async with Http() as http:
        # The connection is closed after each response, so that each request opens one.
        http.answer = lambda _: reply({}, then="close")
        rest = client(http.endpoint)
        for _ in range(CONNECTIONS):
            for steps in range(STEPS):
                request = asyncio.ensure_future(rest.call("POST", "/x", changes=changes))
                if await cancelled_after(steps, request):
                    break
            else:
                raise AssertionError(f"expected a response within {STEPS} steps of the loop")
        async with asyncio.timeout(20):
            assert await rest.call("POST", "/x", changes=changes) == {}
        await rest.close()
