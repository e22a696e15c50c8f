"""The soak test of restarts, at a length that suits a test run."""

from tests.soak.restarts import soak


def test_restarted_instances_leave_nothing_behind() -> None:
    soaked = soak(200)
    assert not soaked.faults
    assert soaked.readings[-1].slots_in_use == 0
