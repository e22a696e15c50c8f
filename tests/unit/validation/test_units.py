"""Durations and sizes: accepted and refused input, and round trips through their text form."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.validation.units import format_duration, format_size, parse_duration, parse_size

LONGEST = timedelta(days=3650)
durations = st.timedeltas(min_value=timedelta(0), max_value=LONGEST)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("500us", 0.0005),
        ("1.5s", 1.5),
        ("2d", 172_800),
        (" 5s ", 5),
        ("30", 30),
        ("0.25", 0.25),
        (30, 30),
        (1.5, 1.5),
        (1e-6, 0.000001),
        ("0s", 0),
        (0, 0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1:30",
            "PT30S",
            "30m1h",
            "5s5s",
            "-1s",
            "1e3s",
            "1h30",
            "s",
            "\u0661s",
            "1ns",
            "0.5us",
            "3651d",
            "9e99",
        ),
        *("", " ", "5 s", True, False, None, -1, 0.5e-6, float("inf"), float("nan"), ["5s"], "1" * 65 + "s"),
        "99999999999999999999d",
    ],
)
def test_invalid_durations_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@given(durations)
def test_durations_survive_a_round_trip(value: timedelta) -> None:
    assert parse_duration(format_duration(value)) == value
    assert parse_duration(value) == value


@given(st.decimals(min_value=0, max_value=10**8, places=6))
def test_a_number_is_seconds_exactly(value: Decimal) -> None:
    assert parse_duration(str(value)) == timedelta(microseconds=int(value * 1_000_000))


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        assert timedelta(0) <= parse_duration(text) <= LONGEST
    except ValueError as error:
        assert str(error).startswith("expected a duration")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("64KiB", 65_536), ("1GiB", 1 << 30), ("1.5MiB", 3 << 19), ("2MB", 2_000_000), ("100 kB", 100_000)),
        *(("10", 10), ("10b", 10), (4096, 4096), ("1gib", 1 << 30), ("0", 0)),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "KiB", "-1", "1.5", "0.3B", "1K", "1TiBx", True, None, [1], "9" * 30, 1.5]
)
def test_invalid_sizes_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_sizes_survive_a_round_trip(value: int) -> None:
    assert parse_size(format_size(value)) == value
    assert parse_size(value) == value
