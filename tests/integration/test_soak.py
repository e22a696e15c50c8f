"""The soak in small: every event arrives, kept ones stay what they were, and every slot comes back."""

from tests.soak.events import EVERY, KEPT, STEP, soak


def test_a_million_events_are_delivered_without_a_leak() -> None:
    soaked = soak(STEP)
    assert soaked.faults == []
    assert soaked.kept >= KEPT == STEP // EVERY
    assert len(soaked.readings) == 1, "too few to judge memory by: the long form does"
