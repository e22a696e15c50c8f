"""Decodes single frames, for the author of a codec.

from meltica.testing import decode

assert decode(MY_VENUE, '{"ch":"trade", ...}')[0]["message"] == "trade"
"""

from typing import TYPE_CHECKING

from meltica._core import Codec

if TYPE_CHECKING:
    from meltica._core import DecodedMessage
    from meltica.adapters.codec import Codec as Declaration


def decode(codec: "Declaration", frame: str | bytes) -> "list[DecodedMessage]":
    """Returns what a codec reads from a frame: one entry per message, in order.

    Raises CodecError with every fault of the declaration. A message that is refused has the key `error`.
    """
    return Codec(codec).decode(frame.encode() if isinstance(frame, str) else frame)
