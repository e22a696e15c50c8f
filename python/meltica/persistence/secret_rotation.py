"""The rotation of the master key: all stored secrets are encrypted again, in one transaction.

1. A key in the access folder: the new key is added to the file in front of the old one, so that each secret
   can be decrypted at any time. The old one is removed after the transaction.
2. A rotation that was interrupted is completed by the next one.
3. Keys in a variable: the operator puts the new one in front, rotates, and removes the old one.
"""

from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

from psycopg.types.json import Jsonb

from meltica.errors import ConfigError, MelticaError
from meltica.persistence.access_folder import SECRET_KEYS
from meltica.persistence.secrets import SecretKeys, SecretKeySource, new_key
from meltica.persistence.stores.audit import AuditEntry, append

if TYPE_CHECKING:
    from meltica.persistence.access_folder import AccessFolder
    from meltica.persistence.database import Database
    from meltica.persistence.lock import GatewayLock

_SELECT: LiteralString = (
    "select name, key_id, secrets from providers where key_id is not null order by name for update"
)
_UPDATE: LiteralString = "update providers set secrets = %s, key_id = %s where name = %s"


class Rotation(NamedTuple):
    """The result of a rotation."""

    key_id: str
    """The key that encrypts now."""
    providers: int
    """How many providers have secrets that were encrypted again."""


async def rotate(
    database: "Database", lock: "GatewayLock", source: SecretKeySource, folder: "AccessFolder", actor: str
) -> Rotation:
    """Encrypts all secrets with a new key, or with the first one of a variable. The caller holds the lock.

    Raises ConfigError for secrets that cannot be decrypted: no secret has changed then.
    """
    if not source.is_generated:
        return await _encrypt_again(database, lock, source.keys(), actor)
    stored, origin = folder.secret_keys() or "", str(folder.path / SECRET_KEYS)
    keys = SecretKeys.parse(stored, origin) if stored else SecretKeys([])
    await _refuse_lost(database, keys, folder)
    if len(keys.ids) < 2:  # 2: else the new key is the first one already
        stored = f"{new_key()}\n{stored}".strip()
        keys = SecretKeys.parse(stored, origin)
        folder.save_secret_keys(stored)
    result = await _encrypt_again(database, lock, keys, actor)
    folder.save_secret_keys(stored.split()[0])
    return result


async def _refuse_lost(database: "Database", keys: SecretKeys, folder: "AccessFolder") -> None:
    """Raises ConfigError for secrets whose key is not in the folder: it may be that of another gateway."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_SELECT)).fetchall()
    lost = [
        f"provider `{name}`: the master key {id} is not in {folder.path}"
        for name, id, _ in rows
        if id not in keys
    ]
    if lost:
        raise ConfigError("secrets not rotated: nothing changed", lost)


async def _encrypt_again(database: "Database", lock: "GatewayLock", keys: SecretKeys, actor: str) -> Rotation:
    if not keys.ids:
        raise MelticaError("secrets not rotated: no master key is set")
    async with database.connection() as connection, connection.transaction():
        await lock.prove(connection)
        rows = await (await connection.execute(_SELECT)).fetchall()
        found: list[str] = []
        changed: list[tuple[str, dict[str, str]]] = []
        for name, id, secrets in rows:
            if id != keys.first:
                changed.append((name, _again(name, id, secrets, keys, found)))
        if found:
            raise ConfigError("secrets not rotated: nothing changed", found)
        for name, secrets in changed:
            await connection.execute(_UPDATE, (Jsonb(secrets), keys.first, name))
        after: dict[str, Any] = {"keyId": keys.first, "providers": [name for name, _ in changed]}
        await append(
            connection, AuditEntry(actor=actor, action="secrets.rotate", subject="providers", after=after)
        )
    return Rotation(keys.first, len(changed))


def _again(
    provider: str, id: str, secrets: dict[str, str], keys: SecretKeys, found: list[str]
) -> dict[str, str]:
    """Returns the secrets of a provider encrypted with the first key; adds what cannot be decrypted."""
    again: dict[str, str] = {}
    for key, text in secrets.items():
        try:
            again[key] = keys.encrypt(provider, key, keys.decrypt(provider, key, id, text))
        except ConfigError as error:
            found += [f"provider `{provider}`: {fault}" for fault in error.faults]
    return again
