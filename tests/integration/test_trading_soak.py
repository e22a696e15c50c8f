"""Two minutes of the trading soak: every fault once, and books that agree with the venue's ledger."""

import pytest

from tests.soak.trading import soak, soak_kills


@pytest.mark.timeout(900)
@pytest.mark.untraced
def test_books_agree_with_the_ledger_of_the_venue_after_each_fault() -> None:
    lines: list[str] = []
    traded = soak(0.0, 1, lines.append, pace=0.25)
    assert traded.faults == [], lines
    assert len(traded.injected) == 18, traded.injected
    assert traded.fills >= 100


@pytest.mark.timeout(600)
@pytest.mark.untraced
def test_each_fill_is_counted_once_by_strategies_of_a_gateway_that_is_killed() -> None:
    lines: list[str] = []
    traded = soak_kills(4, 2, lines.append)
    assert traded.faults == [], lines
    assert traded.fills > 0
