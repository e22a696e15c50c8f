"""The generator of sessions keeps to the rules of the venues: books built by those rules are the market's."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from tests.support.venue_sessions import (
    FAULTS,
    VENUES,
    Instrument,
    Session,
    generate,
    kraken,
    naive,
    okx,
    session,
)

EVERY_VENUE = pytest.mark.parametrize("name", VENUES)


def outcomes(name: str, made: Session) -> Iterator[tuple[int, naive.Outcome]]:
    """Yields the number of each line with what the venue's rules make of it."""
    _, _, builder = VENUES[name]
    builders: dict[int, naive.Builder] = {}
    for number, line in enumerate(made.lines):
        if line.mark.startswith("lost"):
            del builders[line.connection]
        elif line.message is not None:
            rules = builders.setdefault(line.connection, builder())
            yield (
                number,
                rules.apply(line.message.frame, line.message.symbol if line.message.requested else None),
            )


def as_book(scale: Instrument, sides: naive.Sides) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    def side(levels: dict[str, str], *, best_first: bool) -> list[tuple[int, int]]:
        mantissas = [
            (int(Decimal(p).scaleb(scale.price_digits)), int(Decimal(q).scaleb(scale.quantity_digits)))
            for p, q in levels.items()
        ]
        return sorted(mantissas, reverse=best_first)

    return side(sides[0], best_first=True), side(sides[1], best_first=False)


@EVERY_VENUE
@pytest.mark.parametrize("connections", [1, 2])
def test_books_built_by_the_rules_are_those_of_the_market(name: str, connections: int) -> None:
    made = session(name, connections=connections, faults=FAULTS)
    scales = {i.symbol: i for i in made.instruments}
    checked = 0
    for number, outcome in outcomes(name, made):
        line = made.lines[number]
        assert line.message
        if line.expected is not None and not line.repeated:
            sides = outcome[line.message.symbol or ""]
            assert sides is not None, f"line {number}: {line.message.frame[:200]}"
            expected = list(line.expected.bids), list(line.expected.asks)
            assert as_book(scales[line.message.symbol or ""], sides) == expected
            checked += 1
    assert checked > 400


@EVERY_VENUE
def test_each_lost_frame_breaks_a_book(name: str) -> None:
    made = session(name, faults=FAULTS)
    assert len(made.lost) == len(FAULTS.lose)
    broken = [
        (n, symbol) for n, found in outcomes(name, made) for symbol, sides in found.items() if sides is None
    ]
    for before, message in made.lost:
        due = next(
            n
            for n, line in enumerate(made.lines[before:], before)
            if line.message and line.message.kind == "snapshot" and line.message.symbol == message.symbol
        )
        noticed = [n for n, symbol in broken if symbol == message.symbol and before <= n < due]
        # The checksum covers 10 of 25 levels: a loss below them cannot be noticed.
        assert noticed or name == "kraken-deep"


@EVERY_VENUE
def test_a_session_without_faults_never_breaks(name: str) -> None:
    made = session(name, seed=3)
    assert all(sides is not None for _, found in outcomes(name, made) for sides in found.values())
    assert all(made.trades().values())


def test_a_seed_yields_the_same_session() -> None:
    stream, instruments, _ = VENUES["okx"]
    first, same, other = (generate(stream, instruments, seed=seed, steps=30) for seed in (3, 3, 4))
    assert first.recording() == same.recording() != other.recording()


def test_the_checksum_of_kraken_is_that_of_its_documentation() -> None:
    asks = [("45285.2", "0.00100000"), ("45286.4", "1.54582015")]
    bids = [("45283.5", "0.10000000"), ("45283.4", "1.54582015")]
    assert kraken.checksum(asks, bids) == 2178325928


def test_the_checksum_of_okx_takes_the_sides_in_turn() -> None:
    bids, asks = [("3366.1", "7")], [("3366.8", "9"), ("3368", "8")]
    assert okx.checksum(bids, asks) == okx.checksum(bids, asks[:2])
    import zlib

    assert okx.checksum(bids, asks) % (1 << 32) == zlib.crc32(b"3366.1:7:3366.8:9:3368:8")
