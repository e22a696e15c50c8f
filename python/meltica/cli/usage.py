"""`meltica risk usage`: how much of each limit is used."""

import json
from typing import Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins, print_table
from meltica.cli.trading import MODE, filter_option

COLUMNS = ("rule", "symbol", "used", "limit", "distance", "currency")


@click.command(epilog=gateway_codes("the figures were printed"))
@filter_option("scope", "Only this scope, such as `instance:ID`.")
@MODE
@gateway_options
def usage(scope: str | None, mode: str | None, as_json: bool, **where: Any) -> None:
    """Show what is used and what is left of each limit."""
    with connect(**where) as client:
        found = builtins(client.risk_status().scopes)
    scopes = [each for each in found if scope in (None, each["scope"]) and mode in (None, each["mode"])]
    if as_json:
        click.echo(json.dumps({"scopes": scopes}))
        return
    rows = [
        (each["scope"], each["mode"], *(limit.get(name) for name in COLUMNS))
        for each in scopes
        for limit in each["limits"]
    ]
    print_table(("scope", "mode", *COLUMNS), rows, "no limit")
