"""Upgrades of the schema at the start of a gateway: a dump before each one, and the way back.

The embedded database is dumped to `dumps` in its home. The name of a dump begins with the schema version that
it holds: `0003-20260102T030405Z.sql.gz`. For any other database, the command that dumps it is logged.
"""

import asyncio
import logging
import os
import shlex
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from meltica.errors import MelticaError, MigrationError
from meltica.persistence import backup, migrate
from meltica.persistence.database import SCHEMA, shown
from meltica.persistence.migrate import Migration, Status
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.account import server_account
from meltica.persistence.postgres.dumps import TIME, dumps
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.home import home_option

KEPT = 3
"""How many dumps are kept."""

_log = logging.getLogger("meltica.database")


async def up(dsn: str, postgres: EmbeddedPostgres | None) -> list[Migration]:
    """Applies all pending migrations after a dump of the database; returns them.

    Raises MigrationError when the schema is newer than this version, and when the dump or a migration fails.
    """
    states = await migrate.status(dsn)
    refuse_newer(states, dsn, postgres)
    version = _version(states)
    pending = any(state.state == "pending" for state in states)
    if not version or not pending:
        return await migrate.up(dsn)
    if postgres is None:
        _log.warning(
            "the schema of the database (%s) is upgraded from %04d without a dump; to be able to go back,"
            " dump it before an upgrade: %s",
            shown(dsn),
            version,
            dump_command(dsn, version),
        )
        return await migrate.up(dsn)
    dump = await asyncio.to_thread(_dump, postgres, version)
    try:
        applied = await migrate.up(dsn)
    except MigrationError:
        # A gateway that is restarted again and again must not replace the dumps of earlier upgrades.
        if _version(await migrate.status(dsn)) == version:
            dump.unlink()
        raise
    _log.info("the database was dumped before its upgrade: %s", dump)
    for old in dumps(postgres.home)[KEPT:]:
        old.path.unlink()
    return applied


def refuse_newer(states: Sequence[Status], dsn: str, postgres: EmbeddedPostgres | None) -> None:
    """Raises MigrationError with the way back when the database has migrations that this version lacks."""
    unknown = [state for state in states if state.state == "unknown"]
    if not unknown:
        return
    newest = max((state.version for state in states if state.state != "unknown"), default=0)
    raise MigrationError(
        f"the schema of the database is at {unknown[-1]}, but this version of Meltica only has migrations up"
        f" to {newest:04}; install the version that upgraded it, or go back to the state before the upgrade: "
        + _way_back(newest, dsn, postgres)
    )


def refuse_pending(states: Sequence[Status], dsn: str) -> None:
    """Raises MigrationError with the commands to run when the database lacks migrations of this version."""
    pending = [state for state in states if state.state != "applied"]
    if not pending:
        return
    version = _version(states)
    dump = f"dump the database with `{dump_command(dsn, version)}`, then " if version else ""
    raise MigrationError(
        f"{pending_text(len(pending))}, and database.runMigrations is false; {dump}run `meltica db up`"
    )


def pending_text(count: int) -> str:
    """Returns how many migrations are pending, as a clause."""
    return "1 migration is pending" if count == 1 else f"{count} migrations are pending"


def dump_command(dsn: str, version: int) -> str:
    """Returns the shell command that dumps a database to a file that `meltica db restore` accepts."""
    flags = f"--schema={SCHEMA} --no-owner --no-privileges --compress=6 --file=meltica-{version:04}.sql.gz"
    return f"pg_dump {flags} {shlex.quote(f'--dbname={backup.without_password(dsn)}')}"


def _way_back(newest: int, dsn: str, postgres: EmbeddedPostgres | None) -> str:
    if postgres is None:
        url = shlex.quote(backup.without_password(dsn))
        return (
            "restore the dump that you wrote before it, with PGPASSWORD set if the role has a password: "
            f"meltica db restore --force --dsn {url} meltica-{newest:04}.sql.gz"
        )
    restore = f"meltica db restore --force{home_option(postgres.home)}"
    for dump in dumps(postgres.home):
        if dump.version <= newest:
            return f"{restore} {shlex.quote(str(dump.path))} ({dump.lost})"
    folder = postgres.home / "dumps"
    return f"{restore} FILE, with a dump of yours, because {folder} has none of {newest:04} or older"


def _dump(postgres: EmbeddedPostgres, version: int) -> Path:
    account = server_account(postgres.data)
    folder = postgres.home / "dumps"
    path = folder / f"{version:04}-{datetime.now(UTC):{TIME}}.sql.gz"
    try:
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        else:
            account.own(folder)
        for part in folder.glob(".*.sql.gz-*"):
            # Of an upgrade that was killed: one that is restarted again and again must not fill the disk.
            shutil.rmtree(part)
        backup.dump(postgres.dsn, path, binaries.find(), own=account.own)
    except (MelticaError, OSError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise MigrationError(
            f"the schema was not upgraded, because the dump before it failed: {reason}; mend this, or upgrade"
            f" without a dump: meltica db up{home_option(postgres.home)}"
        ) from error
    return path


def _version(states: Sequence[Status]) -> int:
    return max((state.version for state in states if state.applied_at is not None), default=0)
