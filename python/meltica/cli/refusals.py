"""`meltica risk refusals`: the orders that were refused."""

from typing import Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.trading import MODE, echo_table, filter_option, read_rows, row_options

COLUMNS = (
    ("refused", "lastRefusedAt"),
    ("count", "count"),
    ("instance", "instance"),
    ("mode", "mode"),
    ("symbol", "symbol"),
    ("order", "orderId"),
    ("rule", "rule"),
    ("message", "message"),
)
COUNTS = (
    ("last", "lastRefusedAt"),
    ("count", "count"),
    ("instance", "instance"),
    ("mode", "mode"),
    ("rule", "rule"),
)


@click.command(epilog=gateway_codes("the refusals were printed"))
@filter_option("instance", "Only of this instance.")
@filter_option("rule", "Only by this rule.")
@MODE
@click.option("--counts", is_flag=True, help="How many, by instance, mode and rule.")
@row_options
@gateway_options
def refusals(
    instance: str | None,
    rule: str | None,
    mode: str | None,
    counts: bool,
    limit: int,
    everything: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """List refused orders, the latest first. Times are UTC."""
    with connect(**where) as client:
        if counts:
            totals = client.trading.refusal_counts(instance=instance, rule=rule, mode=mode)
            echo_table(totals, "counts", COUNTS, "no refusal", as_json=as_json)
            return
        found = read_rows(
            client.trading.refusals,
            "refusals",
            limit=limit,
            everything=everything,
            instance=instance,
            rule=rule,
            mode=mode,
        )
    echo_table(found, "refusals", COLUMNS, "no refusal", as_json=as_json)
