"""`meltica slowest`: the events that took longest to be handled."""

import json
from typing import Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins, print_table
from meltica.cli.trace import clock_time, duration

HEADINGS = (
    "dispatched",
    "instance",
    "event",
    "symbol",
    "provider",
    "total",
    "decoding",
    "queue",
    "host",
    "callback",
)


@click.command(epilog=gateway_codes("the deliveries were printed"))
@gateway_options
def slowest(as_json: bool, **where: Any) -> None:
    """List the slowest deliveries of the last minute.

    They are compared by the time from the dispatch of an event to the end of its callback: in the queue of
    the instance, in its host behind other events, and in the callback. `decoding` is before that. UTC.
    """
    with connect(**where) as client:
        shown = builtins(client.slowest())
    if as_json:
        click.echo(json.dumps(shown))
    else:
        print_table(HEADINGS, map(_row, shown["deliveries"]), "no delivery in the last minute")


def _row(delivery: dict[str, Any]) -> tuple[object, ...]:
    event, steps = delivery["event"], {each["step"]: each for each in delivery["steps"]}
    spent = [duration(steps[name]["afterNs"]) for name in ("dispatched", "read", "callback", "returned")]
    at = clock_time(steps["dispatched"]["at"])
    names = (delivery["instance"], event["kind"], event["symbol"], event["provider"])
    return (at, *names, duration(delivery["totalNs"]), *spent)
