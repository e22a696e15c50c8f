"""`meltica positions`: the positions of instances."""

import json
from typing import Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins, print_table
from meltica.cli.trading import ACCOUNT_MODE, MODE, REASON, echo_change, filter_option

COLUMNS = (
    ("instance", "instance"),
    ("mode", "mode"),
    ("provider", "provider"),
    ("symbol", "symbol"),
    ("quantity", "quantity"),
    ("average price", "averagePrice"),
    ("realised", "realisedPnl"),
)


@click.group()
def positions() -> None:
    """List positions, and give those of an instance to no instance."""


@positions.command("list", epilog=gateway_codes("the positions were printed"))
@click.argument("instances", nargs=-1, metavar="[INSTANCE...]")
@filter_option("provider", "Only at this provider.")
@MODE
@gateway_options
def list_positions(
    instances: tuple[str, ...], provider: str | None, mode: str | None, as_json: bool, **where: Any
) -> None:
    """List the positions of each INSTANCE, or of all."""
    with connect(**where) as client:
        ids = instances or tuple(each.id for each in client.instances().instances)
        found = [
            position
            for id in ids
            for position in client.trading.positions(id, provider=provider, mode=mode).positions
        ]
    shown = builtins(found)
    if as_json:
        click.echo(json.dumps({"positions": shown, "count": len(shown)}))
        return
    rows = [[each.get(key) for _, key in COLUMNS] for each in shown]
    print_table([heading for heading, _ in COLUMNS], rows, "no position")


@positions.command(epilog=gateway_codes("the positions were released"))
@click.argument("instance")
@ACCOUNT_MODE
@click.option("--uid", metavar="UID", help="Which creation of the instance, if several have positions.")
@REASON
@gateway_options
def release(instance: str, mode: str, uid: str | None, reason: str, as_json: bool, **where: Any) -> None:
    """Give the positions of INSTANCE to no instance. It must not run, nor have open orders."""
    with connect(**where) as client:
        found = client.trading.release(instance, mode, reason, uid)
    echo_change(found, f"the positions of {instance} are released", as_json=as_json)
