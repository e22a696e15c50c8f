"""Fixtures for the tests of live adapters."""

import pytest

from meltica.adapters.live.order_tracker import LATE
from tests.support.tracked_account import TrackedAccount


@pytest.fixture
def account() -> TrackedAccount:
    """An order tracker that has read its account, long after."""
    connected = TrackedAccount()
    connected.reconnect()
    connected.venue.now += LATE
    return connected
