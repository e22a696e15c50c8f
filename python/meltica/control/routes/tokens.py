"""`/tokens`: lists, creates and revokes the tokens of clients."""

from datetime import UTC, datetime
from typing import Annotated

from litestar import Controller, Request, Response, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from meltica.api.tokens import CreatedToken, NewToken, Token, Tokens
from meltica.control.access import ADMIN, Principal
from meltica.control.bodies import QUERY, invalid
from meltica.control.changes import ChangeRunner
from meltica.control.paging import AnyLimit, Cursor, key_of, next_cursor, page_of
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND
from meltica.control.services import ControlServices
from meltica.http.errors import HttpError
from meltica.persistence.stores.tokens import TokenRow

TokenKey = tuple[Annotated[datetime, Meta(tz=True)], str]


class TokensController(Controller):
    """All tokens."""

    path = "/tokens"
    tags = ["tokens"]
    guards = [ADMIN]

    @get(summary="List the tokens", operation_id="listTokens")
    async def list_tokens(
        self,
        services: NamedDependency[ControlServices],
        limit: AnyLimit = None,
        cursor: Cursor = None,
    ) -> Tokens:
        """Returns tokens, the oldest first. Raises DatabaseUnavailable."""
        rows = await services.tokens.store.all()
        page = page_of(rows, _by_age, key_of(cursor, TokenKey), limit)
        return Tokens(tokens=[_token(row) for row in page.rows], cursor=next_cursor(page, _by_age))

    @post(
        status_code=201,
        summary="Create a token",
        description="The response is the only one with the secret.",
        operation_id="createToken",
        opt={QUERY: CHANGE_QUERY},
        responses=CONFLICT,
    )
    async def create_token(
        self,
        request: Request[Principal, object, State],
        data: JSONBody[NewToken],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> CreatedToken:
        """Creates a token. Raises AlreadyExists, DatabaseUnavailable, and HttpError for too wide a scope."""
        expires_at = _checked(data, request.user)
        with precondition.rehearsal():
            create = services.tokens.create(data.name, data.scope, expires_at, request.user.actor)
            created = await changes.result(create, "creation of a token")
        return CreatedToken(token=_token(created.row), secret=created.text)

    @delete(
        "/{id:str}",
        status_code=200,
        summary="Revoke a token",
        description="The last token with the scope admin cannot be revoked.",
        operation_id="revokeToken",
        opt={QUERY: CHANGE_QUERY},
        responses=NOT_FOUND | CONFLICT,
    )
    async def revoke_token(
        self,
        id: FromPath[str],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[Token]:
        """Revokes a token. Raises NotFound, Conflict and DatabaseUnavailable."""
        with precondition.rehearsal():
            row = await changes.result(services.tokens.revoke(id, actor), f"revocation of token {id}")
        return Response(_token(row))


def _by_age(row: TokenRow) -> tuple[datetime, str]:
    return (row.created_at, row.id)


def _checked(new: NewToken, client: Principal) -> datetime | None:
    """Returns when a new token expires. Raises HttpError unless it is within what its creator may do."""
    if not 1 <= len(new.name.encode()) <= 256:
        raise invalid([(("name",), "`name`: expected 1 to 256 bytes")])
    if client.scope is None or not client.scope.includes(new.scope):
        raise HttpError(403, "forbidden", f"token not created: its scope would exceed {client.scope}")
    try:
        expires = None if new.expires_at is UNSET else datetime.fromtimestamp(new.expires_at / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise invalid([(("expiresAt",), "`expiresAt`: expected milliseconds since 1970")]) from None
    if expires is not None and expires <= datetime.now(UTC):
        raise invalid([(("expiresAt",), "`expiresAt`: expected a time in the future")])
    if client.expires_at is not None and (expires is None or expires > client.expires_at):
        raise HttpError(403, "forbidden", "token not created: it would outlive the token of its creator")
    return expires


def _token(row: TokenRow) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scope=row.scope,
        created_at=int(row.created_at.timestamp() * 1000),
        created_by=row.created_by,
        expires_at=_time(row.expires_at),
        last_used_at=_time(row.last_used_at),
        revoked_at=_time(row.revoked_at),
    )


def _time(value: datetime | None) -> int | UnsetType:
    return UNSET if value is None else int(value.timestamp() * 1000)
