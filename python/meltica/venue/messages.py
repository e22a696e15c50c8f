"""The messages of a client on a stream: four operations, as JSON texts."""

import contextlib
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from meltica.http.errors import HttpError
from meltica.venue.auth import Signed

PATH = "/v1/stream"

Id = Annotated[int, Meta(ge=0, lt=1 << 53)]


class Operation(
    Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"
):
    """A message of a client; the response has the same id."""

    id: Id


class SubscribeMessage(Operation, frozen=True, kw_only=True, tag="subscribe"):
    """Subscribes to channels."""

    channels: list[str]


class UnsubscribeMessage(Operation, frozen=True, kw_only=True, tag="unsubscribe"):
    """Unsubscribes from channels."""

    channels: list[str]


class LoginMessage(Operation, frozen=True, kw_only=True, tag="login"):
    """Authenticates the stream as an account's."""

    key: str
    time: int
    """Milliseconds."""
    signature: str

    def signed(self) -> Signed:
        """Returns the request that its signature covers."""
        return Signed(self.key, str(self.time), self.signature, "GET", PATH)


class PingMessage(Operation, frozen=True, kw_only=True, tag="ping"):
    """Requests a pong."""


class _Numbered(Struct):
    id: Id


_OPS = msgspec.json.Decoder(SubscribeMessage | UnsubscribeMessage | LoginMessage | PingMessage)


def read(raw: str | bytes) -> SubscribeMessage | UnsubscribeMessage | LoginMessage | PingMessage:
    """Parses a message. Raises HttpError."""
    try:
        return _OPS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError(400, "bad_request", f"expected an op as docs/venue.md has it: {error}") from None


def id_of(raw: str | bytes) -> int | None:
    """Returns the id of a message, even of a refused one; None if it has none."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(raw, type=_Numbered).id
    return None
