"""A short soak test: all events are delivered, kept ones never change, and all slots are returned."""

from tests.soak.events import EVERY, KEPT, STEP, soak


def test_a_million_events_are_delivered_without_a_leak() -> None:
    soaked = soak(STEP)
    assert soaked.faults == []
    assert soaked.kept >= KEPT == STEP // EVERY
    assert len(soaked.readings) == 1, "only the long soak test has enough readings to check memory"
