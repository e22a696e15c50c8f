"""`meltica audit`: verifies the record of all changes."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meltica.cli import exit_codes
from meltica.cli.database import database_options, open_database

if TYPE_CHECKING:
    from meltica.persistence.stores.audit import Verification

CODES = exit_codes(
    {
        0: "the chain is complete",
        3: "rows were changed, removed or inserted",
        5: "the database cannot be started or reached",
        6: "the schema belongs to another version, or the database refused the query",
        130: "interrupted",
    }
)


@click.group()
def audit() -> None:
    """Verify the record of who changed what."""


@audit.command(epilog=CODES)
@database_options
def verify(url: str | None, home: Path | None, as_json: bool) -> int:
    """Recompute the chain of hashes of the audit, with or without a gateway.

    Keep the printed hash elsewhere: it shows later whether the rows up to it are still the same.
    """
    with open_database(url, home) as dsn:
        result = asyncio.run(_verify(dsn))
    if as_json:
        shown = {"rows": result.rows, "last": result.last, "hash": result.hash.hex(), "fault": result.fault}
        click.echo(json.dumps({name: value for name, value in shown.items() if value is not None}))
    elif result.fault is None:
        click.echo(f"{result.rows} rows verified; row {result.last} has the hash {result.hash.hex()}")
    if result.fault is not None:
        click.echo(f"Error: the audit is not complete: {result.fault}", err=True)
        return 3
    return 0


async def _verify(dsn: str) -> "Verification":
    from meltica.persistence import migrate, upgrade
    from meltica.persistence.database import Database
    from meltica.persistence.stores.audit import AuditLog

    states = await migrate.status(dsn)
    upgrade.refuse_newer(states, dsn, None)
    upgrade.refuse_pending(states, dsn)
    async with await Database.open(dsn) as database:
        return await AuditLog(database).verify()
