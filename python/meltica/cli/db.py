"""`meltica db`: the schema, dumps and restores."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from meltica.cli import EXIT_CODES, BadInput

if TYPE_CHECKING:
    from meltica.persistence.migrate import Migration

Command = TypeVar("Command", bound=Callable[..., object])
Result = TypeVar("Result")

URL_VARIABLES = ["MELTICA_DATABASE__DSN", "DATABASE_URL"]


def _target(command: Command) -> Command:
    """Adds the options that say which database is meant."""
    options = (
        click.option(
            "--url",
            envvar=URL_VARIABLES,
            metavar="URL",
            help=f"postgresql://user:password@host/name; else {' or '.join(URL_VARIABLES)}.",
        ),
        click.option(
            "--home",
            type=click.Path(file_okay=False, path_type=Path),
            help="Where the embedded PostgreSQL lives, which serves when there is no URL.",
        ),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(epilog=EXIT_CODES)
def db() -> None:
    """Bring the database's schema up and down, dump and restore it."""


@db.command(epilog=EXIT_CODES)
@click.argument("count", required=False, type=click.IntRange(min=1))
@_target
def up(count: int | None, url: str | None, home: Path | None, as_json: bool) -> None:
    """Run the next COUNT migrations, or all that are pending."""
    from meltica.persistence import migrate

    with _database(url, home) as dsn:
        ran = _run(migrate.up(dsn, count))
        _say_moved(dsn, "applied", ran, as_json)


@db.command(epilog=EXIT_CODES)
@click.argument("count", default=1, type=click.IntRange(min=1))
@click.option("--yes", is_flag=True, help="Drop the tables of those migrations, and all that is in them.")
@_target
def down(count: int, yes: bool, url: str | None, home: Path | None, as_json: bool) -> None:
    """Take back the last COUNT migrations (1). For development: what their tables hold is lost.

    In production the way back is a dump, made before the migration, and `meltica db restore`.
    """
    from meltica.persistence import migrate

    if not yes:
        raise BadInput("this drops tables and all that is in them; say --yes, and dump first what you need")
    with _database(url, home) as dsn:
        back = _run(_alone(dsn, lambda: migrate.down(dsn, count)))
        _say_moved(dsn, "reverted", back, as_json)


@db.command(epilog=EXIT_CODES)
@_target
def status(url: str | None, home: Path | None, as_json: bool) -> int:
    """Say where each migration stands; exit code 6 when the database is not that of this version."""
    from meltica.persistence import migrate
    from meltica.persistence.database import shown

    with _database(url, home) as dsn:
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


@db.command(epilog=EXIT_CODES)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_target
def dump(file: Path, url: str | None, home: Path | None, as_json: bool) -> None:
    """Write all that the database holds into FILE, which must not exist. A gateway may run meanwhile."""
    from meltica.persistence import backup
    from meltica.persistence.postgres import binaries

    with _database(url, home) as dsn:
        size = backup.dump(dsn, file, binaries.find())
    if as_json:
        click.echo(json.dumps({"file": str(file), "bytes": size}))
    else:
        click.echo(f"{file}: {size:,} bytes; restore it with: meltica db restore {file}")


@db.command(epilog=EXIT_CODES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Drop what the database holds now.")
@_target
def restore(file: Path, force: bool, url: str | None, home: Path | None, as_json: bool) -> None:
    """Make the database what it was in FILE: all of it, or nothing changes."""
    from meltica.persistence import backup, migrate
    from meltica.persistence.postgres import binaries

    async def work(dsn: str) -> int:
        there = await backup.tables(dsn)
        if there and not force:
            raise BadInput(f"the database holds {len(there)} tables of Meltica; say --force to replace them")
        await asyncio.to_thread(backup.restore, dsn, file, binaries.find(), force=force)
        return sum(state.state == "pending" for state in await migrate.status(dsn))

    with _database(url, home) as dsn:
        pending = _run(_alone(dsn, lambda: work(dsn)))
    if as_json:
        click.echo(json.dumps({"file": str(file), "pending": pending}))
    else:
        then = f"; {pending} migrations are pending: meltica db up" if pending else ""
        click.echo(f"{file}: restored{then}")


@contextmanager
def _database(url: str | None, home: Path | None) -> Generator[str]:
    """Yields the connection string of the database that is meant; errors become exit codes."""
    from meltica.cli.failures import Failure
    from meltica.errors import MelticaError
    from meltica.persistence.postgres.embedded import EmbeddedPostgres

    if url and home:
        if click.get_current_context().get_parameter_source("url") == ParameterSource.COMMANDLINE:
            raise click.UsageError("give --url or --home, not both")
        url = None
    try:
        if url:
            yield url
        else:
            with EmbeddedPostgres(home) as server:
                yield server.dsn
    except MelticaError as error:
        raise Failure(error) from error


async def _alone(dsn: str, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Runs what no gateway may run beside."""
    from meltica.persistence.lock import GatewayLock

    lock = GatewayLock(dsn)
    await lock.acquire()
    try:
        return await work()
    finally:
        await lock.release()


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def _say_moved(dsn: str, verb: str, moved: "list[Migration]", as_json: bool) -> None:
    from meltica.persistence import migrate

    states = _run(migrate.status(dsn))
    version = max((state.version for state in states if state.applied_at is not None), default=0)
    if as_json:
        click.echo(json.dumps({verb: [str(migration) for migration in moved], "version": version}))
        return
    for migration in moved:
        click.echo(f"{verb} {migration}")
    click.echo(f"the schema is at {version:04}" + ("" if moved else f"; nothing was to be {verb}"))
