"""Texts of strategies and venues as a terminal shows them."""

import re
from typing import Final

_CONTROL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but tab and line feed, marks of the direction of text, and halves of surrogate pairs."""


def visible(text: str) -> str:
    """Returns a text with control characters as escapes, which cannot move a cursor or forge a line.

    Lines after the first one are indented.
    """
    escaped = _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    return escaped.replace("\n", "\n    ")
