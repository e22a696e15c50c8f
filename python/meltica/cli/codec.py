"""`meltica codec`: checks codecs against recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from meltica.cli import JSON_HELP, BadInput, exit_codes
from meltica.cli.tables import print_table

SYMBOLS = 10
"""Symbols that are named."""


@click.group()
def codec() -> None:
    """Work on codecs, the declarations of the messages of a venue."""


@codec.command(
    epilog=exit_codes(
        {
            0: "checked: the codec fits the recording",
            2: "invalid option, codec or recording",
            3: "a frame was refused, a book never synced or ended stale, a checksum failed or was not "
            "verified, or no message was decoded",
            4: "a recording is damaged",
        }
    )
)
@click.argument("name", metavar="NAME|FILE.py:NAME")
@click.argument(
    "recordings", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RECORDING..."
)
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def check(name: str, recordings: tuple[Path, ...], as_json: bool) -> int:
    """Check a codec against recordings of frames.

    NAME|FILE.py:NAME is an installed codec or a declaration in a file. RECORDING is a file, a directory or a
    glob of frames, as `meltica replay` reads them.

    Prints for each message of the codec how many matched and the fields that were never present, then samples
    of what matched nothing or was refused, the books that never synced, and the verified checksums.
    """
    from meltica.backtest.codec_check import CodecCheck
    from meltica.cli.json_output import JsonOutput
    from meltica.errors import MelticaError, ReplayError

    output = JsonOutput.reserve() if as_json else None
    try:
        session = CodecCheck(name, recordings)
    except MelticaError as error:
        raise BadInput(str(error)) from error
    try:
        report = session.run()
    except ReplayError as error:
        click.echo(f"Error: {error}", err=True)
        return 4
    if output is not None:
        output.write(report)
    else:
        _show(report)
    return 0 if report["fits"] else 3


def _show(report: dict[str, Any]) -> None:
    click.echo(f"codec {report['codec']}: {report['frames']:,} frames")
    rows = [
        (each["name"], each["role"], each["matched"], each["refused"], each["never_present"])
        for each in report["messages"]
    ]
    print_table(("message", "role", "matched", "refused", "never present"), rows, "no message is declared")
    for what in ("unmatched", "refused"):
        found = report[what]
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.get("kinds", {}).items())
        click.echo(f"{what}: {found['count']:,}" + (f": {kinds}" if kinds else ""))
        for sample in found["samples"]:
            click.echo(f"  {_sample(sample)}")
    if report["unknown_names"]:
        click.echo(f"unknown names: {report['unknown_names']:,}")
    books, checksums = report["books"], report["checksums"]
    click.echo(
        f"books: {len(books['synced'])} synced, {report['gaps']:,} gaps"
        f"{_listed('synced', books['synced'])}{_listed('never synced', books['never_synced'])}"
        f"{_listed('stale at the end', books['stale_at_end'])}"
    )
    counts = ", ".join(f"{checksums[name]:,} {name}" for name in ("verified", "failed", "unverified"))
    click.echo(f"checksums: {counts}{_listed('never verified', checksums['never_verified'])}")


def _listed(what: str, symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - SYMBOLS} more" if len(symbols) > SYMBOLS else ""
    return f"; {what}: {', '.join(symbols[:SYMBOLS])}{more}" if symbols else ""


def _sample(sample: dict[str, Any]) -> str:
    times = f"{sample['count']:,} x " if sample["count"] > 1 else ""
    place = f"{sample['file']}, line {sample['line']}" if "line" in sample else "in the replay"
    fault = f" ({sample['error']})" if "error" in sample else ""
    return f"{times}{place}{fault}: {_printable(sample['frame'])}"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
