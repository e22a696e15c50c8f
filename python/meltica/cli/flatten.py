"""`meltica risk flatten`: halts a scope and sells its positions."""

from typing import Any

import click

from meltica.cli.gateway import REFUSED, connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins
from meltica.cli.trading import REASON, echo_json


@click.command(
    epilog=gateway_codes(
        "the orders have ended and the positions are sold",
        _3="orders or sales have not ended, a position was not sold, or the gateway refused the request",
    )
)
@click.argument("scope")
@REASON
@gateway_options
def flatten(scope: str, reason: str, as_json: bool, **where: Any) -> int:
    """Halt SCOPE, and sell the positions of its instances.

    Its open orders are cancelled first, and it stays halted: see `resume`.

    SCOPE is `global`, `provider:NAME` or `instance:ID`.
    """
    with connect(**where) as client:
        found = client.trading.flatten(scope, reason)
    if as_json:
        echo_json(found)
    else:
        for each in builtins(found)["unclosed"]:
            position = f"{each['instance']} {each['mode']} {each['provider']} {each['symbol']}"
            click.echo(f"not sold: {position}: {each['rule']}: {each['message']}")
        state = "and flat" if found.complete else "and not flat yet: see `meltica positions list`"
        click.echo(f"{found.scope} is halted, {state}")
    return 0 if found.complete else REFUSED
