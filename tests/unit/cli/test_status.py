"""The status line of a gateway."""

import pytest

from meltica._core import HISTOGRAM_BOUNDS_NS
from meltica.cli.serve.status import Sample, line, quantile
from meltica.runtime.lifecycle import InstanceState

BOUNDS = len(HISTOGRAM_BOUNDS_NS)
NONE = (0,) * BOUNDS


def sample(time: float, dispatched: int, latency: tuple[int, ...] = (), **options: object) -> Sample:
    defaults: dict[str, object] = {
        "dropped": 0,
        "lambdas": (InstanceState.RUNNING, InstanceState.FAILED, InstanceState.RUNNING),
        "providers": (),
        "database": True,
    }
    return Sample(time=time, dispatched=dispatched, latency=latency, **(defaults | options))  # pyright: ignore[reportArgumentType]


def test_a_line_covers_the_time_since_the_previous_one() -> None:
    latency = (0, 98, *(100,) * (BOUNDS - 2))
    now = sample(2.5, 4000, latency, dropped=1234, database=False, providers=(InstanceState.STARTING,))
    assert line(sample(2.0, 1000, NONE), now, 3725.9) == (
        "6,000 events/s | p99 <4.1 us | lambdas 2 running, 1 failed | providers 1 starting | dropped 1,234 | "
        "database unavailable | up 1:02:05"
    )


def test_a_line_without_events() -> None:
    text = line(sample(2.0, 5), sample(2.0, 5, NONE, lambdas=()), 0.0)
    assert text == (
        "0 events/s | p99 - | lambdas none | providers none | dropped 0 | database up | up 0:00:00"
    )


def test_a_narrow_terminal_shows_trading() -> None:
    text = line(sample(2.0, 5), sample(3.0, 5, NONE, trading=("live: orders 2",)), 1.0)
    assert text.startswith("live: orders 2 | 0 events/s")


@pytest.mark.parametrize(
    ("before", "now", "bound"),
    [
        (NONE, NONE, None),
        ((), (), None),
        ((), (1,) * BOUNDS, HISTOGRAM_BOUNDS_NS[0]),
        ((100,) * BOUNDS, (100, *(101,) * (BOUNDS - 1)), HISTOGRAM_BOUNDS_NS[1]),
        # A restarted lambda counts from 0.
        ((100,) * BOUNDS, (1,) * BOUNDS, None),
    ],
)
def test_quantiles_cover_the_time_between_two_samples(
    before: tuple[int, ...], now: tuple[int, ...], bound: int | None
) -> None:
    assert quantile(before, now, 0.99) == bound
