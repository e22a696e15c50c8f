"""`meltica db`: the schema, dumps and restores."""

import asyncio
import json
import shlex
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meltica.cli import BadInput, exit_codes
from meltica.cli.database import database_options, open_database

if TYPE_CHECKING:
    from meltica.persistence.migrate import Migration

Result = TypeVar("Result")

CODES = {
    5: "the database cannot be started or reached",
    6: "a migration, dump or restore failed, or the schema belongs to another version",
    130: "interrupted",
}
ALONE = CODES | {7: "another gateway holds the database"}


@click.group()
def db() -> None:
    """Migrate, dump and restore the database."""


@db.command(epilog=exit_codes({0: "the migrations were applied", **CODES}))
@click.argument("count", required=False, type=click.IntRange(min=1))
@database_options
def up(count: int | None, database: str | None, home: Path | None, as_json: bool) -> None:
    """Apply all pending migrations, or the next COUNT."""
    from meltica.persistence import migrate

    with open_database(database, home, create=True) as dsn:
        applied = _run(migrate.up(dsn, count))
        _report(dsn, "applied", applied, as_json)


@db.command(epilog=exit_codes({0: "the migrations were reverted", **ALONE}))
@click.argument("count", default=1, type=click.IntRange(min=1))
@click.option("--yes", is_flag=True, help="Confirm that the tables of these migrations are dropped.")
@database_options
def down(count: int, yes: bool, database: str | None, home: Path | None, as_json: bool) -> None:
    """Revert the last COUNT migrations (1), for development. Deletes the data in their tables.

    In production, dump the database before an upgrade, and restore the dump to go back.
    """
    from meltica.persistence import migrate

    if not yes:
        raise BadInput("not reverted: this drops tables with their data; dump the database, then add --yes")
    with open_database(database, home, create=True) as dsn:
        reverted = _run(_alone(dsn, lambda: migrate.down(dsn, count)))
        _report(dsn, "reverted", reverted, as_json)


@db.command(epilog=exit_codes({0: "the schema belongs to this version", **CODES}))
@database_options
def status(database: str | None, home: Path | None, as_json: bool) -> int:
    """List the migrations and their states."""
    from meltica.persistence import migrate
    from meltica.persistence.database import shown

    with open_database(database, home, create=True) as dsn:
        states = _run(migrate.status(dsn))
        where = shown(dsn)
    faults = migrate.faults(states)
    pending = sum(state.state == "pending" for state in states)
    if as_json:
        rows = [
            {
                "version": state.version,
                "name": state.name,
                "state": state.state,
                "applied_at": state.applied_at.isoformat() if state.applied_at else None,
            }
            for state in states
        ]
        click.echo(json.dumps({"database": where, "pending": pending, "faults": faults, "migrations": rows}))
    else:
        click.echo(f"{where}: {len(states)} migrations, {pending} pending")
        for state in states:
            time = f"{state.applied_at:%Y-%m-%d %H:%M:%S} UTC" if state.applied_at else ""
            click.echo(f"  {state!s:<32}{state.state:<10}{time}".rstrip())
    for fault in faults:
        click.echo(f"Error: {fault}", err=True)
    return 6 if faults else 0


@db.command(epilog=exit_codes({0: "the dump was written", 2: "invalid option or file", **CODES}))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@database_options
def dump(file: Path, database: str | None, home: Path | None, as_json: bool) -> None:
    """Write the whole database to FILE, which must not exist. A gateway may be running."""
    from meltica.persistence import backup
    from meltica.persistence.postgres import binaries

    with open_database(database, home, create=True) as dsn:
        size = backup.dump(dsn, file, binaries.find())
    if as_json:
        click.echo(json.dumps({"file": str(file), "bytes": size}))
    else:
        click.echo(f"{file}: {size:,} bytes; restore it with: meltica db restore {shlex.quote(str(file))}")


@db.command(epilog=exit_codes({0: "the database was restored", 2: "invalid option or file", **ALONE}))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace the existing content of the database.")
@database_options
def restore(file: Path, force: bool, database: str | None, home: Path | None, as_json: bool) -> None:
    """Restore the database from FILE, in one transaction."""
    from meltica.persistence import backup, migrate, upgrade
    from meltica.persistence.postgres import binaries

    async def work(dsn: str) -> int:
        existing = await backup.tables(dsn)
        if existing and not force:
            count = len(existing)
            raise BadInput(
                f"not restored: the database has {count} tables of Meltica; add --force to replace them"
            )
        await asyncio.to_thread(backup.restore, dsn, file, binaries.find(), force=force)
        return sum(state.state == "pending" for state in await migrate.status(dsn))

    with open_database(database, home, create=True) as dsn:
        pending = _run(_alone(dsn, lambda: work(dsn)))
    if as_json:
        click.echo(json.dumps({"file": str(file), "pending": pending}))
    else:
        then = f"; {upgrade.pending_text(pending)}: meltica db up" if pending else ""
        click.echo(f"{file}: restored{then}")


async def _alone(dsn: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Runs work under the gateway lock."""
    from meltica.persistence.lock import GatewayLock

    lock = GatewayLock(dsn)
    await lock.acquire()
    try:
        return await work()
    finally:
        await lock.release()


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def _report(dsn: str, verb: str, moved: "list[Migration]", as_json: bool) -> None:
    from meltica.persistence import migrate

    states = _run(migrate.status(dsn))
    version = max((state.version for state in states if state.applied_at is not None), default=0)
    if as_json:
        click.echo(json.dumps({verb: [str(migration) for migration in moved], "version": version}))
        return
    for migration in moved:
        click.echo(f"{verb} {migration}")
    click.echo(f"the schema is at {version:04}" + ("" if moved else f"; nothing was to be {verb}"))
