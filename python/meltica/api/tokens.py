"""`/tokens`: the tokens of clients, without their secrets. Times are milliseconds."""

from msgspec import UNSET, Struct, UnsetType

from meltica.api.envelope import Schema
from meltica.model.access import TokenScope

Time = int | UnsetType


class Token(Schema, frozen=True, kw_only=True):
    """A token."""

    id: str
    """The part of a token that is not secret."""
    name: str
    """What the token is for."""
    scope: TokenScope
    """`viewer`, `operator` or `admin`."""
    created_at: int
    created_by: str
    """The client that created it."""
    expires_at: Time = UNSET
    """When it expires, in milliseconds; absent if it does not."""
    last_used_at: Time = UNSET
    """Behind by up to a minute."""
    revoked_at: Time = UNSET
    """When it was revoked, in milliseconds; absent if it was not."""


class Tokens(Schema, frozen=True, kw_only=True):
    """All tokens, the oldest first, also those that expired or were revoked."""

    tokens: list[Token]
    """The tokens of this page."""
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""


class CreatedToken(Schema, frozen=True, kw_only=True):
    """A token that was just created."""

    token: Token
    """The token, without its secret."""
    secret: str
    """The whole text of the token. It is not stored, so no other response has it."""


class NewToken(Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token to create."""

    name: str
    """What the token is for."""
    scope: TokenScope = TokenScope.VIEWER
    """`viewer`, `operator` or `admin`; none above that of the client."""
    expires_at: Time = UNSET
    """When it expires; absent if it does not."""
