"""`meltica events`: prints what happens in a running gateway, as it happens."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.reconnection import GONE, Reconnection

if TYPE_CHECKING:
    from meltica.client.client import StreamedEvent


@click.command(epilog=gateway_codes("the events were printed", _9=GONE))
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
@click.option("--limit", type=click.IntRange(1), help="End after so many events; by default never.")
@gateway_options
def events(
    after: int | None,
    limit: int | None,
    url: str | None,
    home: Path | None,
    token_folder: Path | None,
    as_json: bool,
    **query: Any,
) -> None:
    """Print events of a running gateway.

    After an interruption, such as a restart of the gateway, connect again and print first the events that
    were missed. Of market data, only the latest values are printed. `--kind`, `--instance`, `--provider` and
    `--symbol` may be repeated.
    """
    from meltica.cli.failures import CommandFailed

    last, printed, link = after, 0, Reconnection()
    while True:
        try:
            with connect(url, home, token_folder) as client:
                for event in client.events(query, last):
                    last = last if event.id is None else event.id
                    if event.kind == "ready":
                        link.connected()
                        continue
                    click.echo(_line(event, as_json=as_json))
                    printed += event.kind not in ("closed", "reset")
                    if printed == limit:
                        return
            link.lost("the stream has ended")
        except CommandFailed as error:
            link.failed(error)


def _line(event: "StreamedEvent", *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"event": event.kind, "id": event.id, "data": event.data})
    data = dict(event.data)
    at, kind = data.pop("at", None), data.pop("type", event.kind)
    shown = datetime.fromtimestamp(at / 1000, UTC) if at is not None else datetime.now(UTC)
    return f"{shown:%H:%M:%S}  {kind:<16}  {json.dumps(data, ensure_ascii=False)}"
