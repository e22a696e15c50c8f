"""Short forms of four soak tests. They run at the same time, because each of them mostly waits."""

import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

import pytest

from tests.soak import gateway, trading, venue
from tests.support.paths import ROOT

pytestmark = [pytest.mark.untraced, pytest.mark.timeout(900)]

Result = TypeVar("Result")
Report = Callable[[str], object]


class Soaks(NamedTuple):
    """The result of each soak, with the lines that it reports."""

    of_venue: Future[tuple[venue.Soaked, list[str]]]
    of_gateway: Future[tuple[gateway.Soaked, list[str]]]
    of_trading: Future[tuple[trading.Traded, list[str]]]
    of_kills: Future[tuple[trading.Traded, list[str]]]


def _venue(report: Report) -> venue.Soaked:
    return venue.soak(60.0, report)


def _gateway(report: Report) -> gateway.Soaked:
    return gateway.soak(0.0, 1, report, pace=0.2)


def _trading(report: Report) -> trading.Traded:
    return trading.soak(0.0, 1, report, pace=0.25)


def _kills(report: Report) -> trading.Traded:
    return trading.soak_kills(4, 2, report)


def _run(soak: Callable[[Report], Result]) -> tuple[Result, list[str]]:
    lines: list[str] = []
    return soak(lines.append), lines


@pytest.fixture(name="soaks", scope="module")
def _soaks() -> Generator[Soaks]:
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(4, get_context("spawn")) as pool:
        # The processes import this module by its name.
        patch.setattr(sys, "path", [str(ROOT), *sys.path])
        yield Soaks(
            of_venue=pool.submit(_run, _venue),
            of_gateway=pool.submit(_run, _gateway),
            of_trading=pool.submit(_run, _trading),
            of_kills=pool.submit(_run, _kills),
        )


def test_a_minute_of_faults_of_the_venue_leaves_correct_books_and_counts_every_gap(soaks: Soaks) -> None:
    soaked, lines = soaks.of_venue.result()
    assert soaked.faults == [], lines
    assert soaked.rounds >= 2
    assert len(soaked.resources) >= 2, "resources are compared between rounds"
    assert soaked.books_compared >= soaked.rounds * venue.LAMBDAS * 3
    assert soaked.gaps_forced >= 10
    assert soaked.disconnects == soaked.rounds
    assert {"submit done", "cancel done", "submit refused"} <= set(soaked.orders)


def test_each_fault_of_the_chaos_of_gateways_leaves_states_that_agree(soaks: Soaks) -> None:
    soaked, lines = soaks.of_gateway.result()
    assert soaked.faults == [], lines
    expected = 15 if any("the disk is not filled" in line for line in lines) else 17
    assert len(soaked.injected) == expected, soaked.injected
    assert sum(soaked.answers.values()) >= 50


def test_books_agree_with_the_ledger_of_the_venue_after_each_fault(soaks: Soaks) -> None:
    traded, lines = soaks.of_trading.result()
    assert traded.faults == [], lines
    assert len(traded.injected) == 18, traded.injected
    assert traded.fills >= 10


def test_each_fill_is_counted_once_by_strategies_of_a_gateway_that_is_killed(soaks: Soaks) -> None:
    traded, lines = soaks.of_kills.result()
    assert traded.faults == [], lines
    assert traded.fills > 0
