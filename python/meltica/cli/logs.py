"""`meltica logs`: the last log lines of an instance of a running gateway."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.reconnection import GONE, Reconnection
from meltica.telemetry.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meltica.api.instances import InstanceLogLine
    from meltica.client import Client

LEVELS = ("debug", "info", "warning", "error", "critical")
POLL_SECONDS = 1.0


@click.command(epilog=gateway_codes("the lines were printed", _9=GONE))
@click.argument("id")
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="The lowest level.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many of the last lines."
)
@click.option("--follow", "-f", is_flag=True, help="Print further lines until interrupted.")
@gateway_options
def logs(
    id: str,
    level: str,
    limit: int,
    follow: bool,
    url: str | None,
    home: Path | None,
    token_folder: Path | None,
    as_json: bool,
) -> int:
    """Print the last log lines of the instance ID.

    With `--json`, print one object per line.
    """
    from meltica.cli.failures import CommandFailed

    last: InstanceLogLine | None = None
    link = Reconnection()
    while True:
        try:
            with connect(url, home, token_folder) as client:
                while True:
                    found = _found(client, id, level, last)
                    link.connected()
                    for line in found if last is not None else found[-limit:]:
                        click.echo(_text(line, as_json=as_json))
                        last = line
                    if not follow:
                        return 0
                    time.sleep(POLL_SECONDS)
        except CommandFailed as error:
            link.failed(error)


def _found(
    client: "Client", id: str, level: str, last: "InstanceLogLine | None"
) -> "Sequence[InstanceLogLine]":
    """Returns the lines after the last one. A gateway that was restarted counts them from 1 again."""
    if last is not None:
        found = client.instance_logs(id, after=last.number - 1, level=level).lines
        if found and (found[0].number, found[0].time) == (last.number, last.time):
            return found[1:]
    return client.instance_logs(id, level=level).lines


def _text(line: "InstanceLogLine", *, as_json: bool) -> str:
    import msgspec

    if as_json:
        return json.dumps(msgspec.to_builtins(line))
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(line.time / 1000))
    trace = [] if line.traceback is msgspec.UNSET else line.traceback
    lines = [f"{at}.{line.time % 1000:03} {line.level:<8} {line.message}", *trace]
    return "\n    ".join(map(visible, lines))
