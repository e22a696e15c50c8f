"""How deeply JSON is nested: code that walks through it recursively must not exhaust the stack."""

import re
from typing import Final

MAX_NESTING: Final = 64
"""Levels of a body; the deepest one that a route takes has fewer than ten."""

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.S)


def nesting(body: bytes) -> int:
    """Returns how deeply valid JSON is nested; a lower bound where that is at most MAX_NESTING."""
    if body.count(b"[") + body.count(b"{") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for match in _TOKEN.finditer(body):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest
