"""The options of commands that work on a database without a gateway."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource

from meltica.cli import JSON_HELP

Command = TypeVar("Command", bound=Callable[..., object])

URL_VARIABLES = ["MELTICA_DATABASE__DSN", "DATABASE_URL"]


def database_options(command: Command) -> Command:
    """Adds the options that select the database, and `--json`."""
    options = (
        click.option(
            "--dsn",
            "database",
            envvar=URL_VARIABLES,
            metavar="URL",
            help=f"Database, postgresql://user:password@host/name; default: {' or '.join(URL_VARIABLES)}.",
        ),
        click.option(
            "--home",
            type=click.Path(file_okay=False, path_type=Path),
            help="Directory of the embedded PostgreSQL, which is used without a DSN.",
        ),
        click.option("--json", "as_json", is_flag=True, help=JSON_HELP),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def open_database(database: str | None, home: Path | None, *, create: bool = False) -> Generator[str]:
    """Yields the DSN of the selected database; errors become exit codes.

    Without `create`, a home without a database is an error: a misspelt one would become a second gateway's.
    """
    import psycopg

    from meltica.cli.failures import CommandFailed
    from meltica.errors import DatabaseError, DatabaseUnavailable, MelticaError
    from meltica.persistence.database import error_text
    from meltica.persistence.postgres.embedded import EmbeddedPostgres

    if database and home:
        if click.get_current_context().get_parameter_source("database") == ParameterSource.COMMANDLINE:
            raise click.UsageError("give --dsn or --home, not both")
        database = None
    try:
        if database:
            yield database
        else:
            embedded = EmbeddedPostgres(home)
            if not create and not embedded.data.exists():
                text = "expected the home of a gateway; check --home and MELTICA_HOME"
                raise DatabaseUnavailable(f"{embedded.home} has no database: {text}")
            with embedded as server:
                yield server.dsn
    except MelticaError as error:
        raise CommandFailed(error) from error
    except psycopg.Error as error:
        refused = DatabaseError(f"the database refused a statement: {error_text(error)}")
        raise CommandFailed(refused) from error
