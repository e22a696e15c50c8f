"""What a JSON body must not have, though it is valid: keys that are given twice, and too many levels."""

import json
import re
from array import array
from itertools import accumulate
from typing import Any, Final

MAX_NESTING: Final = 64
"""Levels of a body: code that walks through it recursively must not exhaust the stack."""
MAX_COMPARED: Final = 64 << 10
"""Bytes of a body whose keys are compared; a larger one is a source, which has few."""

_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)
_OPEN, _CLOSE = b"[{", b"]}"
_STEPS: Final = bytes.maketrans(_OPEN + _CLOSE, b"\x01\x01\xff\xff")
_REST: Final = bytes({*range(256)} - {*_OPEN, *_CLOSE})


def json_fault(body: bytes) -> str | None:
    """Returns what valid JSON has that is refused; None for nothing."""
    if nesting(body) > MAX_NESTING:
        return f"it is nested too deeply: expected at most {MAX_NESTING} levels"
    try:
        if len(body) <= MAX_COMPARED:
            # Numbers stay texts: Python refuses to read one of thousands of digits.
            json.loads(body, object_pairs_hook=_object, parse_int=str, parse_float=str)
    except _Twice as twice:
        return f"the key `{twice.key[:80]}` is given twice; give it once"
    return None


def nesting(body: bytes) -> int:
    """Returns how deeply valid JSON is nested; 0 where that is surely at most MAX_NESTING."""
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        return 0
    brackets = _STRING.sub(b"", body).translate(_STEPS, _REST)
    return max(accumulate(array("b", brackets)), default=0)


class _Twice(Exception):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> None:
    """Compares the keys of an object, of which nothing is kept."""
    keys = [key for key, _ in pairs]
    if len({*keys}) < len(keys):
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
