"""`meltica secrets`: the master key of stored secrets."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meltica.cli import exit_codes
from meltica.cli.database import database_options, open_database

if TYPE_CHECKING:
    from meltica.persistence.secret_rotation import Rotation

ACTOR = "command line"
CODES = exit_codes(
    {
        0: "all secrets are encrypted with the new key",
        2: "a secret cannot be decrypted, or a key is not valid; nothing changed",
        5: "the database cannot be started or reached",
        6: "the schema belongs to another version, or the database refused the change",
        7: "a gateway runs: stop it first",
        130: "interrupted",
    }
)


@click.group()
def secrets() -> None:
    """Rotate the master key that encrypts stored secrets."""


@secrets.command(epilog=CODES)
@click.option(
    "--token-folder",
    envvar="MELTICA_APISERVER__TOKENFOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that `apiServer.tokenFolder` names; it has the master key.",
)
@database_options
def rotate(database: str | None, home: Path | None, token_folder: Path | None, as_json: bool) -> None:
    """Encrypt all stored secrets with a new master key.

    Stop the gateway first. A key in the token folder is replaced. With MELTICA_SECRET_KEY or
    MELTICA_SECRET_KEY_FILE, put the new key in front of the old one first, and remove the old one afterwards.
    Interrupted, run it again.
    """
    with open_database(database, home) as dsn:
        result = asyncio.run(_rotate(dsn, database, home, token_folder))
    if as_json:
        click.echo(json.dumps({"keyId": result.key_id, "providers": result.providers}))
    else:
        count = f"{result.providers} provider{'' if result.providers == 1 else 's'}"
        click.echo(f"secrets of {count} encrypted again; the master key is {result.key_id}")


async def _rotate(dsn: str, url: str | None, home: Path | None, token_folder: Path | None) -> "Rotation":
    import os

    from meltica.persistence import migrate, upgrade
    from meltica.persistence.access_folder import AccessFolder
    from meltica.persistence.database import Database
    from meltica.persistence.lock import GatewayLock
    from meltica.persistence.secret_rotation import rotate as rotate_key
    from meltica.persistence.secrets import SecretKeySource

    states = await migrate.status(dsn)
    upgrade.refuse_newer(states, dsn, None)
    upgrade.refuse_pending(states, dsn)
    folder = AccessFolder.of(None if home else url, home, token_folder)
    lock = GatewayLock(dsn)
    await lock.acquire()
    try:
        await lock.claim()
        async with await Database.open(dsn) as database:
            return await rotate_key(database, lock, SecretKeySource(os.environ, folder), folder, ACTOR)
    finally:
        await lock.release()
