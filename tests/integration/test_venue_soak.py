"""A short soak test of the venue: a minute of faults, and all states agree at each quiet point."""

import pytest

from tests.soak.venue import LAMBDAS, soak


@pytest.mark.timeout(300)
@pytest.mark.untraced
def test_a_minute_of_faults_leaves_correct_books_and_counts_every_gap() -> None:
    soaked = soak(60.0)
    assert soaked.faults == []
    assert soaked.rounds >= 2
    assert len(soaked.resources) >= 2, "resources are compared between rounds"
    assert soaked.books_compared >= soaked.rounds * LAMBDAS * 3
    assert soaked.gaps_forced >= 10
    assert soaked.disconnects == soaked.rounds
    assert {"submit done", "cancel done", "submit refused"} <= set(soaked.orders)
