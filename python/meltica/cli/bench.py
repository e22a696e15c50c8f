"""`meltica bench`."""

import json
from pathlib import Path
from typing import Any, cast

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object: floor_ns and rows.")
@click.option(
    "--session",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A recording of Binance frames to measure beside the sample.",
)
def bench(as_json: bool, session: Path | None) -> None:
    """Measure what each step of an event's path costs on this machine.

    Ratios are to the floor: one call of an empty Python bound method from C, in the same run.
    """
    from meltica import bench as benchmarks

    result: dict[str, Any] = benchmarks.run(session, lambda name: click.echo(f"{name} ...", err=True))
    if as_json:
        click.echo(json.dumps(result))
    else:
        _show(result)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"floor F: {result['floor_ns']:.1f} ns, an empty bound method called from C")
    table.add_column("what")
    for name in ("ns", "ratio to F", "budget"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in cast(list[dict[str, Any]], result["rows"]):
        table.add_row(row["name"], f"{row['ns']:,.1f}", f"{row['ratio']:.2f}", _budget(row), _verdict(row))
    Console().print(table)


def _budget(row: dict[str, Any]) -> str:
    if row.get("budget_ns") is not None:
        return f"{row['budget_ns']:,.0f} ns"
    return f"{row['budget_ratio']:g} F" if row.get("budget_ratio") is not None else ""


def _verdict(row: dict[str, Any]) -> str:
    if row.get("ok") is None:
        return ""
    return "[green]ok[/green]" if row["ok"] else "[red]missed[/red]"
