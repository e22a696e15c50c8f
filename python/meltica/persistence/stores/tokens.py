"""Tokens of clients: their text, and the table with their hashes."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, LiteralString

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import kwargs_row

from meltica.errors import AlreadyExists, Conflict, NotFound
from meltica.model.access import TokenScope
from meltica.persistence.database import Database
from meltica.persistence.stores import audit

_TOKEN: Final = re.compile(r"mk_([0-9a-z]{12})_([0-9a-f]{64})")
_COLUMNS: LiteralString = (
    "id, name, scope, hash, created_at, created_by, expires_at, last_used_at, revoked_at"
)


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table `tokens`."""

    id: str
    name: str
    scope: TokenScope
    hash: bytes
    """SHA-256 of the secret. A secret has 256 random bits, so a slow hash would not make it safer."""
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    def accepts(self, secret: str) -> bool:
        """Returns whether a secret is that of this token, in constant time."""
        return hmac.compare_digest(self.hash, hash_of(secret))

    def ended(self, now: datetime) -> str | None:
        """Returns why the token can no longer be used; None if it can."""
        if self.revoked_at is not None:
            return "was revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return f"expired at {self.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        return None

    def audited(self) -> dict[str, object]:
        """Returns what the audit shows of it."""
        shown = {"name": self.name, "scope": self.scope.value}
        expires, revoked = self.expires_at, self.revoked_at
        return {
            **shown,
            **({} if expires is None else {"expiresAt": expires.isoformat()}),
            **({} if revoked is None else {"revokedAt": revoked.isoformat()}),
        }


@dataclass(frozen=True)
class NewToken:
    """A token that was just created; only now is its text available."""

    row: TokenRow
    text: str


def hash_of(secret: str) -> bytes:
    """Returns the hash of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def split(text: str) -> tuple[str, str] | None:
    """Returns id and secret of the text of a token, or None if it is not one."""
    match = _TOKEN.fullmatch(text)
    return None if match is None else (match[1], match[2])


def _row(**values: object) -> TokenRow:
    return msgspec.convert(values, TokenRow)


class TokenStore:
    """The table `tokens`. Commands change it beside a gateway, so nothing is cached here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[TokenRow]:
        """Returns all tokens, the oldest first, also those that can no longer be used."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=kwargs_row(_row))
            return await (
                await cursor.execute(f"select {_COLUMNS} from tokens order by created_at, id")
            ).fetchall()

    async def create(self, name: str, scope: TokenScope, expires_at: datetime | None, actor: str) -> NewToken:
        """Creates a token. Raises AlreadyExists for the name of one that can be used.

        So a client that repeats a request whose outcome is unknown does not create another one.
        """
        async with self._database.transaction() as connection:
            await connection.execute("lock table tokens in share row exclusive mode")
            query: LiteralString = (
                f"select {_COLUMNS} from tokens where name = %(name)s and revoked_at is null"
                " and (expires_at is null or expires_at > now()) limit 1"
            )
            existing = await _one(connection, query, {"name": name})
            if existing is not None:
                text = f"token `{existing.id}` has this name; choose another one, or revoke that token first"
                raise AlreadyExists(f"token `{name}` not created: {text}")
            return await _create(connection, name, scope, expires_at, actor)

    async def create_first(self, deliver: Callable[[str], None]) -> bool:
        """Creates an admin token if the database has no token; returns whether it did.

        `deliver` gets its text before the commit: without it, no client could use the token.
        """
        async with self._database.transaction() as connection:
            await connection.execute("lock table tokens in share row exclusive mode")
            if await (await connection.execute("select 1 from tokens limit 1")).fetchone() is not None:
                return False
            created = await _create(connection, "first start", TokenScope.ADMIN, None, "gateway")
            deliver(created.text)
        return True

    async def revoke(self, id: str, actor: str, *, keep_admin: bool) -> TokenRow:
        """Revokes a token. Raises NotFound, and Conflict for one that is revoked.

        With `keep_admin` also raises Conflict for the last admin token that can be used.
        """
        async with self._database.transaction() as connection:
            # Two revocations at once must not both leave the other's token as the last one.
            await connection.execute("lock table tokens in share row exclusive mode")
            before = await _one(connection, f"select {_COLUMNS} from tokens where id = %(id)s", {"id": id})
            if before is None:
                raise NotFound(f"token `{id}` does not exist")
            if before.revoked_at is not None:
                raise Conflict(f"token `{id}` is revoked already")
            if keep_admin and before.scope is TokenScope.ADMIN and not await _other_admin(connection, id):
                raise Conflict(
                    f"token `{id}` not revoked: it is the last one with the scope admin; create another one"
                    f" first, or run `meltica tokens revoke {id} --offline`"
                )
            row = await _one(
                connection,
                f"update tokens set revoked_at = clock_timestamp() where id = %(id)s returning {_COLUMNS}",
                {"id": id},
            )
            assert row is not None
            entry = audit.AuditEntry(
                actor=actor, action="token.revoke", subject=id, before=before.audited(), after=row.audited()
            )
            await audit.append(connection, entry)
        return row

    async def record_uses(self, uses: Mapping[str, datetime]) -> None:
        """Stores when tokens were last used."""
        async with self._database.connection() as connection:
            await connection.execute(
                "update tokens set last_used_at = greatest(last_used_at, used.at)"
                " from unnest(%s::text[], %s::timestamptz[]) as used (id, at) where tokens.id = used.id",
                ([*uses], [*uses.values()]),
            )


async def _create(
    connection: AsyncConnection, name: str, scope: TokenScope, expires_at: datetime | None, actor: str
) -> NewToken:
    id, secret = secrets.token_hex(6), secrets.token_hex(32)
    values = {
        "id": id,
        "name": name,
        "scope": scope,
        "hash": hash_of(secret),
        "expires_at": expires_at,
        "created_by": actor,
    }
    row = await _one(
        connection,
        "insert into tokens (id, name, scope, hash, expires_at, created_by) values"
        " (%(id)s, %(name)s, %(scope)s, %(hash)s, %(expires_at)s, %(created_by)s)"
        f" returning {_COLUMNS}",
        values,
    )
    assert row is not None
    entry = audit.AuditEntry(actor=actor, action="token.create", subject=id, after=row.audited())
    await audit.append(connection, entry)
    return NewToken(row, f"mk_{id}_{secret}")


async def _one(
    connection: AsyncConnection, query: LiteralString, values: Mapping[str, object]
) -> TokenRow | None:
    cursor = connection.cursor(row_factory=kwargs_row(_row))
    return await (await cursor.execute(query, values)).fetchone()


async def _other_admin(connection: AsyncConnection, id: str) -> bool:
    """Returns whether another admin token can be used for longer than a day."""
    query: LiteralString = (
        "select 1 from tokens where scope = 'admin' and id <> %s and revoked_at is null"
        " and (expires_at is null or expires_at > now() + interval '1 day')"
    )
    return await (await connection.execute(query, (id,))).fetchone() is not None


def now() -> datetime:
    """Returns the time that expiries are compared with."""
    return datetime.now(UTC)
