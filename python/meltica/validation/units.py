"""Durations and sizes with units: `1h30m`, `250ms`, `512MiB`."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_MICROSECONDS = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_BYTES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_DURATION = re.compile("".join(f"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _MICROSECONDS))
_SIZE = re.compile(rf"({_NUMBER}) ?({'|'.join(_BYTES)})", re.IGNORECASE)
_PLAIN = re.compile(_NUMBER)
_LONGEST = timedelta(days=3650)


def parse_duration(value: object) -> timedelta:
    """Parses a duration such as `1h30m` or `250ms`, or a number of seconds. Units descend in size.

    Raises ValueError.
    """
    if isinstance(value, timedelta):
        return value
    text = _text(value)
    if _PLAIN.fullmatch(text):
        micros = Decimal(text) * _MICROSECONDS["s"]
    elif text and (match := _DURATION.fullmatch(text)):
        parts = match.groupdict(default="0")
        micros = sum((Decimal(parts[unit]) * size for unit, size in _MICROSECONDS.items()), Decimal(0))
    else:
        raise ValueError("expected a duration such as 30s, 5m, 1h30m or 250ms, or a number of seconds")
    if micros != micros.to_integral_value():
        raise ValueError("expected a duration of whole microseconds")
    if micros > _LONGEST // timedelta(microseconds=1):
        raise ValueError(f"expected a duration of at most {format_duration(_LONGEST)}")
    return timedelta(microseconds=int(micros))


def format_duration(value: timedelta) -> str:
    """Formats a duration in the shortest form that `parse_duration` reads back."""
    rest = value // timedelta(microseconds=1)
    parts: list[str] = []
    for unit, size in _MICROSECONDS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def parse_size(value: object) -> int:
    """Parses a size such as `512MiB` or `100kB`, or a number of bytes. Raises ValueError."""
    match = _SIZE.fullmatch(_text(value))
    if match is None:
        raise ValueError("expected a size such as 64KiB, 512MiB or 1GiB, or a number of bytes")
    units = {unit.lower(): size for unit, size in _BYTES.items()}
    size = Decimal(match[1]) * units[match[2].lower()]
    if size != size.to_integral_value():
        raise ValueError("expected a size of whole bytes")
    if size >= 1 << 63:
        raise ValueError(f"expected a size below {1 << 33}GiB")
    return int(size)


def format_size(value: int) -> str:
    """Formats a size in the shortest form that `parse_size` reads back."""
    for unit in ("GiB", "MiB", "KiB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return f"{value}B"


def _text(value: object) -> str:
    """Returns a number or string as a string; empty for any other type."""
    if isinstance(value, str):
        # Longer strings are not valid quantities, and parsing them would be slow.
        return value.strip() if len(value) <= 64 else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    # Goes through Decimal because the repr of a float may have an exponent.
    return format(Decimal(repr(value)), "f")


Duration = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, return_type=str)
]
"""A duration field; `Field(gt=timedelta(0))` makes it positive."""

Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size, return_type=str)]
"""A field that holds a number of bytes."""
