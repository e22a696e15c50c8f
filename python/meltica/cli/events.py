"""`meltica events`: prints what happens in a running gateway, as it happens."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from meltica.cli.gateway import UNREACHABLE, connect, gateway_codes, gateway_options

if TYPE_CHECKING:
    from meltica.client.client import StreamedEvent

RETRIES: Final = 30
"""How often in a row the gateway may be unreachable after the stream was open, a second apart."""


@click.command(epilog=gateway_codes("the events were printed"))
@click.option(
    "--kind",
    multiple=True,
    help="Only this kind: order, fill, balance, risk, provider, instance; or with --symbol the market data "
    "trade, ticker, book, kline.",
)
@click.option("--instance", multiple=True, metavar="ID", help="Only events of this instance.")
@click.option("--provider", multiple=True, metavar="NAME", help="Only events of this provider.")
@click.option("--symbol", multiple=True, metavar="SYMBOL", help="Only events of this symbol.")
@click.option("--depth", type=click.IntRange(1, 25), help="Levels on each side of a book; by default 10.")
@click.option("--mode", type=click.Choice(("live", "paper")), help="Only events of this mode.")
@click.option(
    "--after", type=click.IntRange(0), metavar="ID", help="First print what happened after this event."
)
@click.option("--count", type=click.IntRange(1), help="End after so many events; by default never.")
@gateway_options
def events(
    after: int | None,
    count: int | None,
    url: str | None,
    home: Path | None,
    token_folder: Path | None,
    as_json: bool,
    **query: Any,
) -> None:
    """Print events of a running gateway.

    After an interruption, print first those that were missed. `--kind`, `--instance`, `--provider` and
    `--symbol` may be repeated.
    """
    from meltica.cli.failures import CommandFailed

    last, printed, failures = after, 0, 0
    while True:
        try:
            with connect(url, home, token_folder) as client:
                for event in client.events(query, last):
                    failures, last = 0, last if event.id is None else event.id
                    if event.kind == "ready":
                        continue
                    click.echo(_line(event, as_json=as_json))
                    printed += event.kind not in ("closed", "reset")
                    if printed == count:
                        return
        except CommandFailed as error:
            failures += 1
            if last is None or error.exit_code != UNREACHABLE or failures > RETRIES:
                raise
        time.sleep(1.0)


def _line(event: "StreamedEvent", *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"event": event.kind, "id": event.id, "data": event.data})
    data = dict(event.data)
    at, kind = data.pop("at", None), data.pop("type", event.kind)
    shown = datetime.fromtimestamp(at / 1000, UTC) if at is not None else datetime.now(UTC)
    return f"{shown:%H:%M:%S}  {kind:<16}  {json.dumps(data, ensure_ascii=False)}"
