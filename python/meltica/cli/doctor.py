"""`meltica doctor`."""

import json
from pathlib import Path

import click

from meltica.cli import EXIT_CODES

UNFIT = 9
COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(epilog=EXIT_CODES)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The config file; else MELTICA_CONFIG_PATH, else the one that comes with Meltica.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def doctor(path: Path | None, as_json: bool) -> int:
    """Look whether a gateway can run here, and say what to do where it cannot. Changes nothing."""
    from meltica.doctor import examine

    failed = warned = 0
    rows: list[dict[str, str]] = []
    for finding in examine(path):
        failed += finding.verdict == "fail"
        warned += finding.verdict == "warn"
        rows.append(finding.as_dict())
        if not as_json:
            verdict = click.style(f"{finding.verdict:<5}", fg=COLORS[finding.verdict])
            click.echo(f"{verdict}{finding.check:<14}{finding.seen}")
            if finding.cure:
                click.echo(f"{'':<19}-> {finding.cure}")
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": rows}, indent=2))
    elif failed:
        click.echo(f"{failed} of {len(rows)} checks failed: the gateway will not run as it should")
    else:
        click.echo("a gateway can run here" + (f"; {warned} warnings" if warned else ""))
    return UNFIT if failed else 0
