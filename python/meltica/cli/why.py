"""`meltica why`: why an instance gets no event, or why its orders do not go out."""

import json
from typing import Any

import click

from meltica.cli.gateway import REFUSED, connect, gateway_codes, gateway_options
from meltica.telemetry.text import visible

CODES = gateway_codes(
    "nothing was found", _3="causes were found and printed, or the gateway refused the request"
)


@click.command(epilog=CODES)
@click.argument("id")
@gateway_options
def why(id: str, as_json: bool, **where: Any) -> int:
    """Explain why the instance ID does nothing.

    Prints each cause for which it gets no event or its orders do not go out, with its remedy.
    """
    import msgspec

    with connect(**where) as client:
        found = client.why(id)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found)))
    else:
        if not found.causes:
            click.echo(f"{id} is {found.status}; nothing was found that prevents its events or its orders")
        for cause in found.causes:
            times = "" if cause.count is msgspec.UNSET else f", {cause.count:,} in 24 h"
            click.echo(visible(f"{cause.kind} ({cause.subject}{times}): {cause.detail}"))
            click.echo(f"  remedy: {cause.remedy}")
    return REFUSED if found.causes else 0
