"""JSON encoding of what lambdas emit and save."""

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


def encode(what: str, value: object, limit: int) -> str:
    """Encodes a value, which errors call `what`.

    Raises LambdaError when it has no JSON representation or exceeds `limit` bytes.
    """
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise LambdaError(f"{what} cannot be encoded as JSON: {error}") from error
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    if size > limit:
        raise LambdaError(f"{what}: expected at most {limit:,} bytes of JSON, saw {size:,}; make it smaller")
    return text
