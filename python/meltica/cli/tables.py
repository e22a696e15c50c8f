"""Prints responses for people: lists as tables, one resource as lines of `key: value`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import click


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Prints rows below their headings, or `empty` for no row. An absent value is shown as `-`."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    cells.insert(0, list(headings))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def print_details(value: Mapping[str, Any], indent: int = 0) -> None:
    """Prints an object with one line for each key, nested objects indented."""
    width = max((len(key) for key in value), default=0)
    for key, item in value.items():
        margin = " " * indent
        if isinstance(item, Mapping) and item:
            click.echo(f"{margin}{key}:")
            print_details(cast(Mapping[str, Any], item), indent + 2)
        elif isinstance(item, list) and any(isinstance(each, Mapping) for each in cast(list[Any], item)):
            click.echo(f"{margin}{key}:")
            for each in cast(list[Mapping[str, Any]], item):
                click.echo(f"{margin}  -")
                print_details(each, indent + 4)
        else:
            click.echo(f"{margin}{(key + ':').ljust(width + 1)}  {_cell(cast(object, item))}")


def builtins(found: object) -> Any:
    """Returns a schema as JSON."""
    import msgspec

    return msgspec.to_builtins(found)


def echo_details(found: object, *, as_json: bool) -> None:
    """Prints a schema as lines of `key: value`, or as JSON."""
    shown = builtins(found)
    if as_json:
        click.echo(json.dumps(shown))
    else:
        print_details(shown)


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, cast(Sequence[object], value))) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "" or value == {}:
        return "-"
    # A text of a venue or a strategy cannot move the cursor or start a line.
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))


def print_deletion(key: str, name: str, status: str, *, as_json: bool) -> None:
    """Prints what became of a deletion: `status` is `removed`, or `removing` while a run still stops."""
    if as_json:
        click.echo(json.dumps({key: name, "deleted": status == "removed"}))
    elif status == "removed":
        click.echo(f"{name} is deleted")
    else:
        click.echo(f"{name} still stops, and is deleted then; it is in the list until then")
