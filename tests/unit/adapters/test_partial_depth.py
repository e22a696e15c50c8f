"""Streams of the best levels, beside streams of changes."""

from dataclasses import replace

import pytest

from meltica.adapters.binance.codec import BINANCE
from tests.support.venue_sessions import FAULTS, fed, generate
from tests.support.venue_sessions.binance import INSTRUMENTS, Binance, BinanceUsdm


class Spot(Binance):
    partials = True


class Usdm(BinanceUsdm):
    partials = True


@pytest.mark.parametrize("stream", [Spot, Usdm])
def test_a_partial_depth_never_becomes_part_of_the_book(stream: type[Binance]) -> None:
    both = generate(stream, INSTRUMENTS, steps=300, faults=FAULTS)
    without = [line for line in both.lines if not line.message or "@depth20" not in line.message.frame]
    assert len(both.lines) - len(without) > 50
    result, alone = fed.feed(BINANCE, both), fed.feed(BINANCE, replace(both, lines=without))
    assert list(result.states()) == list(alone.states())
    assert result.bad_frames == alone.bad_frames
