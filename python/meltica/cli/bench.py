"""`meltica bench`."""

import json
from pathlib import Path
from typing import Any, cast

import click

from meltica.cli import JSON_HELP, BadInput, exit_codes


@click.command(epilog=exit_codes({0: "measured", 2: "invalid option or recording", 130: "interrupted"}))
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
@click.option(
    "--session",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also measure a recording of Binance frames.",
)
@click.option("--only", metavar="TEXT", default="", help="Measure only rows with this text in their name.")
def bench(as_json: bool, session: Path | None, only: str) -> None:
    """Run the benchmarks of the event path.

    Ratios are to the floor F: one call of an empty Python bound method from C, in the same run.
    """
    from meltica import bench as benchmarks
    from meltica.errors import ReplayError

    try:
        rows = benchmarks.rows(session, only)
    except ReplayError as error:
        raise BadInput(str(error)) from error
    if not rows:
        names = "; ".join(row.name for row in benchmarks.rows(session))
        raise BadInput(f"--only {only}: unknown row; expected a part of one of these names: {names}")
    result: dict[str, Any] = benchmarks.run(rows, lambda name: click.echo(f"{name} ...", err=True))
    if as_json:
        click.echo(json.dumps(result))
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = f"floor F: {result['floor_ns']:.1f} ns, an empty bound method called from C"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("what")
    for name in ("time", "in F", "budget"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in cast(list[dict[str, Any]], result["rows"]):
        time = _time(row["ns"]) if "ns" in row else _value(row, row["value"])
        ratio = f"{row['ratio']:,.2f}" if "ratio" in row else ""
        table.add_row(row["name"], time, ratio, _budget(row), _verdict(row))
    Console().print(table)


def _time(ns: float) -> str:
    from meltica.cli.replay.summary import duration

    return f"{ns:,.1f} ns" if ns < 10_000 else duration(ns)


def _value(row: dict[str, Any], value: float) -> str:
    return f"{value:,.1f} {row['unit']}"


def _budget(row: dict[str, Any]) -> str:
    if row.get("budget") is not None:
        return _value(row, row["budget"])
    if row.get("budget_ns") is not None:
        return _time(row["budget_ns"])
    return f"{row['budget_ratio']:g} F" if row.get("budget_ratio") is not None else ""


def _verdict(row: dict[str, Any]) -> str:
    if row.get("ok") is None:
        return ""
    return "[green]ok[/green]" if row["ok"] else "[red]missed[/red]"
