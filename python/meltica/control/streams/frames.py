"""The format of Server-Sent Events."""

import msgspec

_encode = msgspec.json.Encoder().encode


def frame(kind: str, data: object, id: int | None = None) -> bytes:
    """Returns an event in the format of Server-Sent Events."""
    number = b"" if id is None else b"id: %d\n" % id
    return b"event: %s\n%sdata: %s\n\n" % (kind.encode(), number, _encode(data))
