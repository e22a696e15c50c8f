"""`meltica orders`: orders of all instances, and what operators do to them."""

from typing import Any

import click

from meltica.api.contract import FILL, ORDER
from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins, echo_details
from meltica.cli.trading import MODE, REASON, echo_change, echo_table, filter_option, read_rows, row_options

ENDS = ("CANCELLED", "REJECTED", "EXPIRED")
_KEYS = dict(ORDER)
COLUMNS = tuple(
    (heading, _KEYS[name])
    for heading, name in (
        ("placed", "intent_at"),
        ("id", "id"),
        ("instance", "instance"),
        ("mode", "mode"),
        ("provider", "provider"),
        ("symbol", "symbol"),
        ("side", "side"),
        ("type", "order_type"),
        ("quantity", "quantity"),
        ("price", "price"),
        ("filled", "filled_quantity"),
        ("state", "state"),
        ("reason", "reason"),
    )
)

FILL_COLUMNS = tuple(
    (heading, dict(FILL)[name])
    for heading, name in (
        ("traded", "traded_at"),
        ("order", "order_id"),
        ("mode", "mode"),
        ("provider", "provider"),
        ("symbol", "symbol"),
        ("side", "side"),
        ("quantity", "quantity"),
        ("price", "price"),
        ("fee", "fee"),
        ("currency", "fee_currency"),
    )
)


@click.group()
def orders() -> None:
    """List, cancel, query and resolve orders. Times are UTC."""


@orders.command("list", epilog=gateway_codes("the orders were printed"))
@filter_option("instance", "Only of this instance.")
@filter_option("provider", "Only at this provider.")
@filter_option("symbol", "Only of this symbol.")
@MODE
@click.option("--state", multiple=True, metavar="STATE", help="Such as UNKNOWN; can be repeated.")
@row_options
@gateway_options
def list_orders(
    instance: str | None,
    provider: str | None,
    symbol: str | None,
    mode: str | None,
    state: tuple[str, ...],
    limit: int,
    everything: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """List orders, the latest request first."""
    with connect(**where) as client:
        found = read_rows(
            client.trading.orders,
            "orders",
            limit=limit,
            everything=everything,
            instance=instance,
            provider=provider,
            symbol=symbol,
            mode=mode,
            state=state,
        )
    echo_table(found, "orders", COLUMNS, "no order", as_json=as_json)


@orders.command(epilog=gateway_codes("the fills were printed"))
@click.argument("instance")
@filter_option("provider", "Only at this provider.")
@filter_option("order", "Only of this order, by its id.")
@MODE
@row_options
@gateway_options
def fills(
    instance: str,
    provider: str | None,
    order: str | None,
    mode: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """List the fills of INSTANCE, the latest first."""
    with connect(**where) as client:
        found = read_rows(
            client.trading.executions,
            "executions",
            instance,
            limit=limit,
            everything=everything,
            provider=provider,
            mode=mode,
            orderId=order,
        )
    echo_table(found, "executions", FILL_COLUMNS, "no fill", as_json=as_json)


@orders.command(epilog=gateway_codes("the order was printed"))
@click.argument("id")
@gateway_options
def show(id: str, as_json: bool, **where: Any) -> None:
    """Show the order ID with its fills and the times of its steps."""
    with connect(**where) as client:
        found = client.trading.order(id)
    echo_details(found, as_json=as_json)


@orders.command(epilog=gateway_codes("the cancel was requested"))
@click.argument("id")
@REASON
@gateway_options
def cancel(id: str, reason: str, as_json: bool, **where: Any) -> None:
    """Cancel the order ID. The cancel is repeated until the venue reports the end."""
    with connect(**where) as client:
        found = client.trading.cancel(id, reason)
    echo_change(found, f"the cancel of {id} is requested; it is {found.state}", as_json=as_json)


@orders.command("cancel-all", epilog=gateway_codes("the cancels were requested"))
@click.argument("scope", default="global")
@filter_option("symbol", "Only of this symbol.")
@REASON
@gateway_options
def cancel_all(scope: str, symbol: str | None, reason: str, as_json: bool, **where: Any) -> None:
    """Cancel the open orders of SCOPE, or of one symbol in it.

    SCOPE is `global` (the default), `provider:NAME` or `instance:ID`.
    """
    with connect(**where) as client:
        found = client.trading.cancel_all(scope, reason, symbol)
    echo_change(found, f"{scope}: cancels requested: {len(found.orders)}", as_json=as_json)


@orders.command(epilog=gateway_codes("the venue was queried"))
@click.argument("id")
@REASON
@gateway_options
def query(id: str, reason: str, as_json: bool, **where: Any) -> None:
    """Query the order ID at its venue.

    The answer arrives like other reports: see `show`.
    """
    with connect(**where) as client:
        found = client.trading.query(id, reason)
    echo_change(found, f"{id} is queried; it is {found.state}", as_json=as_json)


@orders.command(epilog=gateway_codes("the order has ended"))
@click.argument("id")
@click.argument("state", type=click.Choice(ENDS, case_sensitive=False))
@REASON
@gateway_options
def resolve(id: str, state: str, reason: str, as_json: bool, **where: Any) -> None:
    """End the order ID, which is UNKNOWN, as the venue shows it.

    The state is `cancelled`, `rejected` or `expired`. A fill that arrives later still counts.
    """
    with connect(**where) as client:
        found = client.trading.resolve(id, state.upper(), reason)
    echo_change(found, f"{id} is {builtins(found.state)}", as_json=as_json)
