"""`meltica trace`: one order from the venue's frame to its fills."""

import json
import time
from typing import TYPE_CHECKING, Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins, print_table
from meltica.telemetry.text import visible

if TYPE_CHECKING:
    from meltica.api.traces import OrderTrace

WIDTH = 32
"""Characters of the waterfall."""
MARKS = {"work": "#", "wait": ".", "venue": "~"}
TEXTS = {
    "received": "from the venue, by two clocks",
    "dispatched": "decoding, book, routing",
    "read": "in the queue of the instance",
    "callback": "behind other events of its batch",
    "intent": "in the callback of the strategy",
    "approved": "checks of risk",
    "refused": "checks until the refusal",
    "committed": "for the commit of its row",
    "sent": "for a connection, and the rate limit",
    "acknowledged": "until the venue answered",
    "filled": "until a fill",
    "ended": "until its end",
}
"""What the time before each step was spent with."""
_OPEN = ("filled", "ended")
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "us"))


@click.command(epilog=gateway_codes("the trace was printed"))
@click.argument("order")
@gateway_options
def trace(order: str, as_json: bool, **where: Any) -> None:
    """Show where the time of an order went.

    Prints its steps, from the venue's frame to its fills. ORDER is the id of an order, or of one that was
    refused: see `orders list` and `risk refusals`. In the waterfall, `#` is work, `.` a wait, and `~` the
    venue. Times are UTC.
    """
    with connect(**where) as client:
        found = client.trading.trace(order)
    if as_json:
        click.echo(json.dumps(builtins(found)))
    else:
        _print(found)


def _print(found: "OrderTrace") -> None:
    shown: dict[str, Any] = builtins(found)
    place = f"{shown.get('symbol', '-')} at {shown.get('provider', '-')}"
    state = shown.get("state", "refused")
    reason = f" ({shown['reason']})" if "reason" in shown else ""
    click.echo(visible(f"order {found.id} of {found.instance} ({found.mode}), {place}: {state}{reason}"))
    for each in shown["refusals"]:
        seen = f"; saw {each['seen']}" if "seen" in each else ""
        limit = f", limit {each['limit']}" if "limit" in each else ""
        click.echo(visible(f"refused by {each['rule']}: {each['message']}{seen}{limit}"))
    if "event" in shown:
        event = shown["event"]
        text = f"event {event['sequence']}: {event['kind']} of {event['symbol']} at {event['provider']}"
        click.echo(visible(text))
    click.echo()
    headings = ("step", "at", "after", "spent", "waterfall", "")
    print_table(headings, _rows(shown["steps"]), "no step")
    totals = ", ".join(f"{each} {duration(shown[f'{each}Ns'])}" for each in MARKS)
    click.echo(f"\nuntil the venue had it: {totals}")


def _rows(steps: list[dict[str, Any]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    # The way of the event to the gateway is by two clocks, so the waterfall begins with its receipt.
    spans = [0 if each["step"] == "received" else max(0, each.get("afterNs", 0)) for each in steps]
    whole = sum(span for span, each in zip(spans, steps, strict=True) if each["step"] not in _OPEN)
    begin = 0
    for span, each in zip(spans, steps, strict=True):
        bar = "" if span == 0 else _bar(begin, begin + span, whole, MARKS[each["span"]])
        begin += span
        after = duration(each["afterNs"]) if "afterNs" in each else ""
        text = TEXTS.get(each["step"], "") if after else ""
        if each["step"] == "filled":
            text = f"{each['quantity']} at {each['price']}"
            text += ", found by reconciling" if each.get("recovered") else ""
        rows.append(
            (
                each["step"],
                clock_time(each["at"]),
                after or "-",
                each.get("span", "-"),
                bar.ljust(WIDTH),
                text or "-",
            )
        )
    return rows


def _bar(begin: int, end: int, whole: int, mark: str) -> str:
    """Returns the part of the waterfall; `>` for what is beyond it."""
    if begin >= whole:
        return " " * (WIDTH - 1) + ">"
    first = begin * WIDTH // whole
    last = max(first + 1, min(WIDTH, round(end * WIDTH / whole)))
    return " " * min(first, WIDTH - 1) + mark * (min(last, WIDTH) - min(first, WIDTH - 1))


def clock_time(ms: int) -> str:
    """Returns the time of a day, with milliseconds."""
    return time.strftime("%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}"


def duration(ns: int) -> str:
    """Returns a duration for people: `-1.2 ms`."""
    for size, unit in _UNITS:
        if abs(ns) >= size:
            return f"{ns / size:,.1f} {unit}"
    return f"{ns} ns"
