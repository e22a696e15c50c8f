"""`meltica outbox`: events, their consumers, and dead letters."""

from typing import Any

import click

from meltica.cli.gateway import REFUSED, connect, gateway_codes, gateway_options
from meltica.cli.tables import echo_details
from meltica.cli.trading import REASON, echo_change, echo_table, filter_option, read_rows, row_options

EVENTS = (
    ("id", "id"),
    ("created", "createdAt"),
    ("type", "eventType"),
    ("about", "aggregateID"),
    ("attempts", "attempts"),
    ("available", "availableAt"),
    ("delivered", "delivered"),
    ("error", "lastError"),
)
CONSUMERS = (
    ("consumer", "name"),
    ("waiting", "waiting"),
    ("dead", "dead"),
    ("oldest", "oldestAt"),
    ("error", "lastError"),
)


@click.group()
def outbox() -> None:
    """Show the events that consumers wait for. Times are UTC.

    An event that could not be delivered after 20 attempts is a dead letter.
    """


@outbox.command("list", epilog=gateway_codes("the events were printed"))
@filter_option("consumer", "Only events that wait for this consumer.")
@click.option("--dead", is_flag=True, help="Only dead letters.")
@click.option("--delivered", is_flag=True, help="Events that all consumers have received.")
@row_options
@gateway_options
def list_events(
    consumer: str | None,
    dead: bool,
    delivered: bool,
    limit: int,
    everything: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """List events that a consumer waits for, the oldest first."""
    with connect(**where) as client:
        found = read_rows(
            client.trading.events,
            "events",
            limit=limit,
            everything=everything,
            consumer=consumer,
            dead=True if dead else None,
            delivered=delivered,
        )
    echo_table(found, "events", EVENTS, "no event", as_json=as_json)


@outbox.command(epilog=gateway_codes("no consumer has dead letters", _3="a consumer has dead letters"))
@gateway_options
def consumers(as_json: bool, **where: Any) -> int:
    """List the consumers with what waits for them."""
    with connect(**where) as client:
        found = client.trading.consumers()
    echo_table(found, "consumers", CONSUMERS, "no consumer", as_json=as_json)
    return REFUSED if any(each.dead for each in found.consumers) else 0


@outbox.command(epilog=gateway_codes("the consumer was printed"))
@click.argument("consumer")
@gateway_options
def show(consumer: str, as_json: bool, **where: Any) -> None:
    """Show one CONSUMER."""
    with connect(**where) as client:
        found = client.trading.consumer(consumer)
    echo_details(found, as_json=as_json)


@outbox.command(epilog=gateway_codes("the dead letters are due again"))
@click.argument("consumer")
@click.argument("events", nargs=-1, type=click.IntRange(1), metavar="[EVENT...]")
@REASON
@gateway_options
def retry(consumer: str, events: tuple[int, ...], reason: str, as_json: bool, **where: Any) -> None:
    """Retry dead letters of CONSUMER: the EVENTs, or all."""
    with connect(**where) as client:
        found = client.trading.retry(consumer, reason, events)
    echo_change(found, f"{len(found.events)} events of {consumer} are due again", as_json=as_json)


@outbox.command(epilog=gateway_codes("the dead letters were dropped"))
@click.argument("consumer")
@click.argument("events", nargs=-1, type=click.IntRange(1), metavar="[EVENT...]")
@REASON
@gateway_options
def drop(consumer: str, events: tuple[int, ...], reason: str, as_json: bool, **where: Any) -> None:
    """Drop dead letters of CONSUMER: the EVENTs, or all. They are lost for it."""
    with connect(**where) as client:
        found = client.trading.drop(consumer, reason, events)
    echo_change(found, f"{len(found.events)} events of {consumer} are dropped", as_json=as_json)


@outbox.command(epilog=gateway_codes("the event was deleted"))
@click.argument("event", type=click.IntRange(1))
@gateway_options
def delete(event: int, as_json: bool, **where: Any) -> None:
    """Delete EVENT, which no consumer receives any more. It is audited."""
    with connect(**where) as client:
        found = client.trading.delete_event(event)
    echo_change(found, f"{event} is deleted", as_json=as_json)
