"""`meltica audit`: lists, verifies and exports the record of all changes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meltica.cli import BadInput, exit_codes
from meltica.cli.database import database_options, open_database
from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.trading import echo_table, read_rows, row_options

if TYPE_CHECKING:
    from meltica.persistence.database import Database
    from meltica.persistence.stores.audit import Verification
    from meltica.persistence.stores.audit_export import Export

BROKEN = 3
CODES = {
    1: "the file exists already, or cannot be written or read",
    BROKEN: "rows were changed, removed or inserted",
    5: "the database cannot be started or reached",
    6: "the schema belongs to another version, or the database refused the query",
    130: "interrupted",
}
COLUMNS = (
    ("id", "id"),
    ("at", "actedAt"),
    ("action", "action"),
    ("subject", "subject"),
    ("by", "actor"),
)
LIMIT = 600.0
"""Seconds that a large audit may take."""


@click.group()
def audit() -> None:
    """List, verify and export the record of who changed what."""


@audit.command("list", epilog=gateway_codes("the rows were printed"))
@click.option("--actor", metavar="NAME", help="Only rows of this client.")
@click.option("--action", metavar="ACTION", help="Only this action, or a kind with a dot: `provider.`.")
@click.option("--subject", metavar="NAME", help="Only changes of this.")
@click.option("--since", metavar="DURATION", help="Only what was done since then, such as `12h`.")
@row_options
@gateway_options
def list_rows(since: str | None, limit: int, everything: bool, as_json: bool, **given: Any) -> None:
    """List the latest changes, the latest first."""
    where = (given.pop("url"), given.pop("home"), given.pop("token_folder"))
    if since is not None:
        given["since"] = int((datetime.now(UTC) - _duration("--since", since)).timestamp() * 1000)
    with connect(*where) as client:
        found = read_rows(client.audit, "entries", limit=limit, everything=everything, **given)
    echo_table(found, "entries", COLUMNS, "no change", as_json=as_json)


@audit.command(epilog=exit_codes({0: "the chain is complete", **CODES}))
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@database_options
def verify(file: Path | None, database: str | None, home: Path | None, as_json: bool) -> int:
    """Verify the chain of hashes of the audit, or of FILE.

    FILE is an exported audit. A gateway may be running. Keep the printed hash elsewhere: it shows later
    whether the rows up to it are still the same.
    """
    from meltica.cli.failures import CommandFailed
    from meltica.persistence.stores.audit_export import AuditFileError, verify_file

    if file is not None:
        try:
            result = verify_file(file)
        except AuditFileError as error:
            raise CommandFailed(error) from error
    else:
        with open_database(database, home) as dsn:
            result = asyncio.run(_verify(dsn))
    if as_json:
        click.echo(json.dumps(_shown(result)))
    elif result.fault is None:
        before = f" after row {result.pruned} with the hash {result.pruned_hash.hex()}"
        before = before if result.pruned else ""
        click.echo(f"{result.rows} rows verified{before}; row {result.last} has the hash {result.hash.hex()}")
    if result.fault is not None:
        click.echo(f"Error: the audit is not complete: {result.fault}", err=True)
        return BROKEN
    return 0


@audit.command(epilog=exit_codes({0: "the rows were exported, and removed with `--prune`", **CODES}))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--prune", is_flag=True, help="Remove the exported rows from the database.")
@click.option("--older-than", metavar="DURATION", help="Only the first rows, up to this age, such as `720h`.")
@database_options
def export(
    file: Path, prune: bool, older_than: str | None, database: str | None, home: Path | None, as_json: bool
) -> int:
    """Write the audit to a new FILE.

    `meltica audit verify FILE` verifies it. With `--prune`, the rows are removed once the file is on the
    disk. A new row states the hash from which on `meltica audit verify` proves the rest.
    """
    from meltica.cli.failures import CommandFailed
    from meltica.persistence.stores.audit_export import AuditBroken

    until = None if older_than is None else datetime.now(UTC) - _duration("--older-than", older_than)
    with open_database(database, home) as dsn:
        try:
            done = asyncio.run(_export(dsn, file, until, prune=prune))
        except AuditBroken as error:
            raise CommandFailed(error, BROKEN) from error
    pruned = prune and done.rows > 0
    if as_json:
        shown = {"rows": done.rows, "last": done.last, "hash": done.hash.hex(), "pruned": pruned}
        click.echo(json.dumps(shown))
    else:
        verb = "exported and removed" if pruned else "exported"
        click.echo(f"{done.rows} rows {verb}; row {done.last} has the hash {done.hash.hex()}")
    return 0


async def _verify(dsn: str) -> "Verification":
    from meltica.persistence.stores.audit import AuditLog

    async with _database(dsn) as database:
        return await AuditLog(database).verify()


async def _export(dsn: str, file: Path, until: datetime | None, *, prune: bool) -> "Export":
    from meltica.cli.risk import user
    from meltica.persistence.stores.audit_export import export_audit, prune_audit

    async with _database(dsn) as database:
        done = await export_audit(database, file, until)
        if prune and done.rows:
            await prune_audit(database, done, user(), file.name)
        return done


@asynccontextmanager
async def _database(dsn: str) -> "AsyncGenerator[Database]":
    from meltica.persistence import migrate, upgrade
    from meltica.persistence.database import Database, PoolOptions

    states = await migrate.status(dsn)
    upgrade.refuse_newer(states, dsn, None)
    upgrade.refuse_pending(states, dsn)
    options = PoolOptions(max_size=1, statement_timeout=LIMIT, transaction_timeout=LIMIT)
    async with await Database.open(dsn, options) as database:
        yield database


def _duration(option: str, text: str) -> timedelta:
    from pydantic import TypeAdapter, ValidationError

    from meltica.validation.section import Positive

    try:
        return TypeAdapter[timedelta](Positive).validate_python(text)
    except ValidationError:
        raise BadInput(f"{option}: expected a duration such as 12h, saw {text!r}") from None


def _shown(result: "Verification") -> dict[str, Any]:
    shown: dict[str, Any] = {"rows": result.rows, "last": result.last, "hash": result.hash.hex()}
    if result.pruned:
        shown["after"] = {"row": result.pruned, "hash": result.pruned_hash.hex()}
    return shown if result.fault is None else {**shown, "fault": result.fault}
