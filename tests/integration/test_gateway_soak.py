"""A short form of the chaos of gateways: states agree at each quiet point."""

import pytest

from tests.soak.gateway import soak


@pytest.mark.timeout(300)
@pytest.mark.untraced
def test_half_a_minute_of_chaos_leaves_states_that_agree() -> None:
    lines: list[str] = []
    soaked = soak(30.0, 1, lines.append)
    assert soaked.faults == [], lines
    assert soaked.rounds >= 1
    assert sum(soaked.answers.values()) >= 10
