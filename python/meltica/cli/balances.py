"""`meltica balances`: what accounts have, and whose it is."""

import json
from typing import Any

import click

from meltica.cli.gateway import REFUSED, connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins, print_table
from meltica.cli.trading import (
    ACCOUNT_MODE,
    MODE,
    REASON,
    echo_change,
    echo_table,
    filter_option,
    read_rows,
    row_options,
)

COLUMNS = (
    ("as of", "snapshotAt"),
    ("provider", "provider"),
    ("mode", "mode"),
    ("currency", "asset"),
    ("total", "total"),
    ("available", "available"),
)
LINES = ("mode", "currency", "venue", "instances", "notOurs", "difference", "fault")
LEDGER = (
    ("id", "id"),
    ("booked", "bookedAt"),
    ("mode", "mode"),
    ("kind", "kind"),
    ("currency", "currency"),
    ("amount", "amount"),
    ("by", "bookedBy"),
    ("note", "note"),
)


@click.group()
def balances() -> None:
    """Show and reconcile the balances of accounts. Times are UTC.

    The four lines of a currency are what the venue has, what belongs to instances, what belongs to none, and
    the difference.
    """


@balances.command("list", epilog=gateway_codes("the balances were printed"))
@click.argument("providers", nargs=-1, metavar="[PROVIDER...]")
@filter_option("currency", "Only this currency.")
@MODE
@gateway_options
def list_balances(
    providers: tuple[str, ...], currency: str | None, mode: str | None, as_json: bool, **where: Any
) -> None:
    """List the latest balances of each PROVIDER, or of all."""
    with connect(**where) as client:
        names = providers or tuple(each.name for each in client.providers().providers)
        found = [
            balance
            for name in names
            for balance in client.trading.balances(name, latest=True, asset=currency, mode=mode).balances
        ]
    result = {"balances": found, "count": len(found)}
    echo_table(result, "balances", COLUMNS, "no balance", as_json=as_json)


@balances.command(epilog=gateway_codes("the balances were printed"))
@click.argument("provider")
@filter_option("currency", "Only this currency.")
@MODE
@row_options
@gateway_options
def history(
    provider: str,
    currency: str | None,
    mode: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """List the balances that PROVIDER reported, the latest first."""
    with connect(**where) as client:
        read = client.trading.balances
        found = read_rows(
            read, "balances", provider, limit=limit, everything=everything, asset=currency, mode=mode
        )
    echo_table(found, "balances", COLUMNS, "no balance", as_json=as_json)


@balances.command(
    epilog=gateway_codes("nothing is unexplained", _3="a difference is a fault, or orders are lost")
)
@click.argument("provider")
@MODE
@gateway_options
def lines(provider: str, mode: str | None, as_json: bool, **where: Any) -> int:
    """Show the four lines and the lost orders of PROVIDER."""
    with connect(**where) as client:
        found = builtins(client.trading.lines(provider, mode=mode))
    if as_json:
        click.echo(json.dumps(found))
    else:
        rows = [[each.get(name) for name in LINES] for each in found["lines"]]
        headings = [name if name != "notOurs" else "not ours" for name in LINES]
        print_table(headings, rows, "no balance" if found["trading"] else "nothing trades")
        for order in found["lostOrders"]:
            click.echo(f"lost order {order['clientOrderId']} ({order['mode']})")
    faults = found["lostOrders"] or any(each["fault"] for each in found["lines"])
    return REFUSED if faults else 0


@balances.command(epilog=gateway_codes("the entries were printed"))
@click.argument("provider")
@filter_option("currency", "Only this currency.")
@filter_option("kind", "Such as `deposit` or `booking`.")
@MODE
@row_options
@gateway_options
def ledger(
    provider: str,
    currency: str | None,
    kind: str | None,
    mode: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """List what belongs to no instance in the account of PROVIDER."""
    with connect(**where) as client:
        found = read_rows(
            client.trading.ledger,
            "entries",
            provider,
            limit=limit,
            everything=everything,
            currency=currency,
            kind=kind,
            mode=mode,
        )
    echo_table(found, "entries", LEDGER, "no entry", as_json=as_json)


@balances.command(
    epilog=gateway_codes("the difference was booked"), context_settings={"ignore_unknown_options": True}
)
@click.argument("provider")
@click.argument("currency")
@click.argument("amount")
@ACCOUNT_MODE
@REASON
@gateway_options
def book(
    provider: str, currency: str, amount: str, mode: str, reason: str, as_json: bool, **where: Any
) -> None:
    """Book AMOUNT, the difference of CURRENCY at PROVIDER, as not ours."""
    with connect(**where) as client:
        found = client.trading.book(provider, mode, currency, amount, reason)
    echo_change(found, f"{found.amount} {currency} at {provider} are booked", as_json=as_json)


@balances.command(epilog=gateway_codes("the order was adopted"))
@click.argument("provider")
@click.argument("order")
@click.argument("instance")
@ACCOUNT_MODE
@REASON
@gateway_options
def adopt(
    provider: str, order: str, instance: str, mode: str, reason: str, as_json: bool, **where: Any
) -> None:
    """Give the lost ORDER of PROVIDER, a client order id, to INSTANCE."""
    with connect(**where) as client:
        found = client.trading.adopt(provider, mode, order, instance, reason)
    echo_change(found, f"{order} belongs to {instance}", as_json=as_json)


@balances.command(epilog=gateway_codes("the order was disowned"))
@click.argument("provider")
@click.argument("order")
@ACCOUNT_MODE
@REASON
@gateway_options
def disown(provider: str, order: str, mode: str, reason: str, as_json: bool, **where: Any) -> None:
    """Cancel the lost ORDER of PROVIDER, a client order id.

    Its fills belong to no instance.
    """
    with connect(**where) as client:
        found = client.trading.disown(provider, mode, order, reason)
    echo_change(found, f"{order} belongs to no instance", as_json=as_json)
