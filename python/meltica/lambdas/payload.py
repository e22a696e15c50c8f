"""JSON encoding of the payloads that lambdas emit."""

from decimal import Decimal
from json import JSONEncoder

from meltica._core import Event
from meltica.errors import LambdaError


def _default(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Event):
        return value.to_dict()
    raise TypeError(f"{type(value).__name__} has no JSON representation")


_ENCODER = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default)


def encode(name: str, payload: object, limit: int) -> str:
    """Encodes `payload`. Raises LambdaError when it has no JSON representation or exceeds `limit` bytes."""
    try:
        text = _ENCODER.encode(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise LambdaError(f"emit {name!r}: the payload cannot be encoded as JSON: {error}") from error
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    if size > limit:
        raise LambdaError(
            f"emit {name!r}: expected at most {limit:,} bytes of JSON, the payload has {size:,}; send less"
        )
    return text
