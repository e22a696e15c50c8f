"""What the commands about trading share: options, and how results are printed."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from meltica.cli.tables import builtins, print_table

Command = TypeVar("Command", bound=Callable[..., object])

MODE = click.option("--mode", type=click.Choice(["live", "paper"]), help="Only this mode.")
ACCOUNT_MODE = click.option(
    "--mode", type=click.Choice(["live", "paper"]), default="live", show_default=True, help="Of the account."
)
REASON = click.option("--reason", metavar="TEXT", required=True, help="Why; recorded with the client.")
PAGE = 500
"""Rows of a page when all are read."""
_LIMIT = click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True, help="Rows.")
_ALL = click.option("--all", "everything", is_flag=True, help="All rows, not the first ones.")


def row_options(command: Command) -> Command:
    """Adds `--limit` and `--all`; see `read_rows`."""
    return _LIMIT(_ALL(command))


def read_rows(
    read: Callable[..., Any], key: str, *path: str, limit: int, everything: bool, **filters: Any
) -> dict[str, Any]:
    """Returns the first page of a list as JSON, or the rows of all pages; `key` is that of the rows."""
    from meltica.client.trading import pages

    if not everything:
        return builtins(read(*path, limit=limit, **filters))
    shown = [builtins(page) for page in pages(read, *path, limit=PAGE, **filters)]
    rows = [row for page in shown for row in page[key]]
    return {key: rows, "count": len(rows)}


def filter_option(name: str, text: str) -> Callable[[Command], Command]:
    """Returns an option that selects rows."""
    return click.option(f"--{name}", metavar=name.upper(), help=text)


def echo_json(found: object) -> None:
    """Prints a schema as one JSON object."""
    click.echo(json.dumps(builtins(found)))


def echo_table(
    found: object, key: str, columns: Sequence[tuple[str, str]], empty: str, *, as_json: bool
) -> None:
    """Prints the list `key` of a schema: a column for each pair of heading and key, or JSON."""
    shown = builtins(found)
    if as_json:
        click.echo(json.dumps(shown))
        return
    headings = [heading for heading, _ in columns]
    rows = [[_value(each, name) for _, name in columns] for each in shown[key]]
    print_table(headings, rows, empty)
    if "cursor" in shown:
        click.echo("there are more rows: repeat it with a higher --limit, or with --all", err=True)


def echo_change(found: object, text: str, *, as_json: bool) -> None:
    """Prints what was done, or JSON; says so if it is not recorded yet."""
    shown = builtins(found)
    if as_json:
        click.echo(json.dumps(shown))
        return
    click.echo(text)
    if shown.get("recorded") is False:
        click.echo("it goes on, or is not in the database yet", err=True)


def utc(milliseconds: float) -> str:
    """Returns a time for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(milliseconds / 1000))


def _value(row: dict[str, Any], name: str) -> object:
    value = row.get(name)
    return utc(value) if name.endswith("At") and isinstance(value, int) else value
