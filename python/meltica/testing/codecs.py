"""Decodes single frames, for the author of a codec.

from meltica.testing import decode

assert decode(MY_VENUE, '{"ch":"trade", ...}')[0]["message"] == "trade"
"""

from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, cast

from meltica._core import Codec

if TYPE_CHECKING:
    from meltica.adapters.codec import Codec as Declaration


class DecodedMessage(TypedDict):
    """A message of a frame, as `decode` describes it."""

    outcome: Literal["event", "diff", "snapshot", "control", "unmatched", "refused"]
    message: NotRequired[str]
    symbol: NotRequired[str]
    present: NotRequired[list[str]]
    payload: NotRequired[dict[str, Any]]
    error: NotRequired[str]


def decode(codec: "Declaration", frame: str | bytes) -> "list[DecodedMessage]":
    """Returns what a codec reads from a frame: one entry per message, in order.

    Raises CodecError with every fault of the declaration. A message that is refused has the key `error`.
    """
    messages = Codec(codec).decode(frame.encode() if isinstance(frame, str) else frame)
    return cast("list[DecodedMessage]", messages)
