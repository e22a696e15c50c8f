"""`meltica doctor`."""

import json
from pathlib import Path

import click

from meltica.cli import CONFIG_HELP, HOME_HELP, JSON_HELP, at_home, exit_codes

UNFIT = 9
COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    epilog=exit_codes({0: "a gateway can run here", 9: "a check failed: a gateway cannot run here"})
)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=CONFIG_HELP,
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help=HOME_HELP,
)
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def doctor(path: Path | None, home: Path | None, as_json: bool) -> int:
    """Check whether a gateway can run here.

    Prints a remedy for each failure, and changes nothing.
    """
    from meltica.doctor import examine

    failed = warned = 0
    rows: list[dict[str, str]] = []
    for finding in examine(path, at_home(home)):
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
        click.echo(f"{failed} of {len(rows)} checks failed: a gateway cannot run here")
    else:
        click.echo("a gateway can run here" + (f"; {warned} warnings" if warned else ""))
    return UNFIT if failed else 0
