"""Client order ids: 18 of 0-9 and a-z, of which the first three mark the home and fifteen are random.

Every venue accepts this form. The ids contain neither a counter nor a clock, so no state has to be restored
before the next id: 36^15 is about 2^77, and among a billion ids a repetition has a chance of 1 in 400,000.

The mark shows which orders may come from this home, for example after an older backup was restored. It proves
nothing: the owner of an order is looked up by the whole id among the stored orders.
"""

import os
import re

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
MARK_LENGTH = 3
RANDOM_LENGTH = 15

_EVEN = 256 - 256 % len(ALPHABET)
_LETTERS = bytes(ord(ALPHABET[byte % len(ALPHABET)]) for byte in range(256))
_BIASED = bytes(range(_EVEN, 256))
"""Random bytes that are dropped: with them, the first letters would be more likely than the others."""
_MARK = re.compile(f"[0-9a-z]{{{MARK_LENGTH}}}")


def new_mark() -> str:
    """Returns a random mark for a new home. It is stored with the home and never changes."""
    return _random(MARK_LENGTH)


class ClientOrderIds:
    """Makes the client order ids of one home."""

    __slots__ = ("mark",)

    def __init__(self, mark: str) -> None:
        if _MARK.fullmatch(mark) is None:
            raise ValueError(f"mark of the home: expected 3 of 0-9 and a-z, saw {mark[:80]!r}")
        self.mark = mark

    def next(self) -> str:
        """Returns a new id."""
        return self.mark + _random(RANDOM_LENGTH)

    def has_mark(self, client_order_id: str) -> bool:
        """Returns whether an id has the form and the mark of this home; not whether the order is ours."""
        return len(client_order_id) == MARK_LENGTH + RANDOM_LENGTH and client_order_id.startswith(self.mark)


def _random(length: int) -> str:
    letters = ""
    while len(letters) < length:
        letters += os.urandom(length + 8).translate(_LETTERS, _BIASED).decode()
    return letters[:length]
