"""`/outbox`: the events of the outbox, its consumers, and their dead letters."""

from datetime import UTC, datetime
from typing import Annotated

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET

from meltica.api.envelope import optional
from meltica.api.outbox import (
    DeadLetterRequest,
    DeadLetters,
    OutboxConsumer,
    OutboxConsumers,
    OutboxDelivery,
    OutboxEvent,
    OutboxEvents,
    OutboxRemoved,
)
from meltica.control.access import ADMIN, OPERATOR, VIEWER
from meltica.control.bodies import QUERY, bad_parameter, checked, invalid
from meltica.control.changes import ChangeRunner
from meltica.control.operations import act_of
from meltica.control.paging import MAX_LIMIT, Cursor, Limit, key_of, next_cursor
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND
from meltica.control.services import ControlServices
from meltica.control.streams.events import payload_json
from meltica.persistence.stores.outbox_admin import Consumer, StoredEvent
from meltica.persistence.stores.trading.queries import IdKey, Page

MAX_ID = 2**63 - 1
AggregateId = Annotated[str | None, QueryParameter(name="aggregateID")]
AggregateType = Annotated[str | None, QueryParameter(name="aggregateType")]


class OutboxController(Controller):
    """Events and their consumers."""

    path = "/outbox"
    tags = ["outbox"]
    guards = [VIEWER]

    @get(summary="List events", operation_id="listOutbox")
    async def list_events(
        self,
        services: NamedDependency[ControlServices],
        limit: Limit = 100,
        cursor: Cursor = None,
        delivered: FromQuery[bool] = False,
        dead: FromQuery[bool | None] = None,
        consumer: FromQuery[str | None] = None,
        aggregate_type: AggregateType = None,
        aggregate_id: AggregateId = None,
    ) -> OutboxEvents:
        """Returns the events that a consumer did not receive yet, or those that all have received."""
        size = min(limit, MAX_LIMIT)
        after = key_of(cursor, IdKey)
        rows = await services.outbox.events(
            delivered=delivered,
            dead=dead,
            consumer=consumer,
            aggregate_type=aggregate_type,
            aggregate_id=aggregate_id,
            after=after[0] if after else 0,
            limit=size + 1,
        )
        found = Page(rows[:size], len(rows) > size)
        return OutboxEvents(
            events=[_event(row) for row in found.rows],
            count=len(found.rows),
            cursor=next_cursor(found, lambda row: (row.id,)),
        )

    @delete(
        "/{id:str}",  # not `int`, with which another id would be an unknown path
        status_code=200,
        summary="Delete an event",
        operation_id="deleteOutboxEvent",
        opt={QUERY: CHANGE_QUERY},
        guards=[ADMIN],
        responses=NOT_FOUND,
    )
    async def delete_event(
        self,
        id: FromPath[int],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> OutboxRemoved:
        """Deletes an event, which no consumer receives any more. Raises NotFound."""
        if not 0 < id <= MAX_ID:
            raise bad_parameter("id", f"expected the id of an event, saw {id}")
        with precondition.rehearsal():
            await changes.result(services.outbox.delete(id, actor), f"deletion of event {id}")
        return OutboxRemoved(id=id)

    @get("/consumers", summary="List the consumers", operation_id="listConsumers")
    async def list_consumers(self, services: NamedDependency[ControlServices]) -> OutboxConsumers:
        """Returns all consumers with what they did not receive yet."""
        consumers = [_consumer(row) for row in await services.outbox.consumers()]
        return OutboxConsumers(consumers=consumers, count=len(consumers))

    @get(
        "/consumers/{name:str}",
        summary="Get a consumer",
        operation_id="getConsumer",
        responses=NOT_FOUND,
    )
    async def get_consumer(
        self, name: FromPath[str], services: NamedDependency[ControlServices]
    ) -> OutboxConsumer:
        """Returns a consumer with what it did not receive yet. Raises NotFound."""
        return _consumer(await services.outbox.consumer(name))

    @post(
        "/consumers/{name:str}/retry",
        status_code=200,
        summary="Retry dead letters",
        operation_id="retryDeadLetters",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=NOT_FOUND | CONFLICT,
    )
    async def retry(
        self,
        name: FromPath[str],
        data: JSONBody[DeadLetterRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> DeadLetters:
        """Makes dead letters due again. Raises NotFound, and Conflict for an event that is not one."""
        events, act = checked(lambda: _events(data), lambda: act_of(actor, data.reason))
        with precondition.rehearsal():
            retry = services.outbox.retry(name, events, act.by, act.why)
            retried = await changes.result(retry, f"retry of dead letters of {name}")
        return DeadLetters(consumer=name, events=retried)

    @post(
        "/consumers/{name:str}/drop",
        status_code=200,
        summary="Drop dead letters",
        description="The consumer never receives them; others still do.",
        operation_id="dropDeadLetters",
        opt={QUERY: CHANGE_QUERY},
        guards=[ADMIN],
        responses=NOT_FOUND | CONFLICT,
    )
    async def drop(
        self,
        name: FromPath[str],
        data: JSONBody[DeadLetterRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> DeadLetters:
        """Drops dead letters. Raises NotFound, and Conflict for an event that is not one."""
        events, act = checked(lambda: _events(data), lambda: act_of(actor, data.reason))
        with precondition.rehearsal():
            drop = services.outbox.drop(name, events, act.by, act.why)
            dropped = await changes.result(drop, f"drop of dead letters of {name}")
        return DeadLetters(consumer=name, events=dropped)


def _events(data: DeadLetterRequest) -> list[int] | None:
    """Returns the ids of a request; None for all dead letters. Raises HttpError."""
    events = None if data.events is UNSET else data.events
    if events is not None and not all(0 < id <= MAX_ID for id in events):
        raise invalid([(("events",), "`events`: expected ids of events")])
    return events


def _event(row: StoredEvent) -> OutboxEvent:
    waiting = row.deliveries
    errors = [each.last_error for each in waiting if each.last_error is not None]
    return OutboxEvent(
        id=row.id,
        aggregate_type=row.aggregate_type,
        aggregate_id=row.aggregate_id,
        event_type=row.event_type,
        payload=payload_json(row.aggregate_type, row.event_type, row.payload),
        headers=row.headers,
        available_at=_time(min((each.available_at for each in waiting), default=row.created_at)),
        published_at=UNSET if row.delivered_at is None else _time(row.delivered_at),
        attempts=max((each.attempts for each in waiting), default=0),
        last_error=optional(errors[0] if errors else None),
        delivered=not waiting,
        created_at=_time(row.created_at),
        deliveries=[
            OutboxDelivery(
                consumer=each.consumer,
                attempts=each.attempts,
                available_at=_time(each.available_at),
                last_error=optional(each.last_error),
                dead=each.dead,
            )
            for each in waiting
        ],
    )


def _consumer(row: Consumer) -> OutboxConsumer:
    return OutboxConsumer(
        name=row.name,
        created_at=int(row.created_at.timestamp() * 1000),
        waiting=row.waiting,
        dead=row.dead,
        oldest_at=UNSET if row.oldest_at is None else int(row.oldest_at.timestamp() * 1000),
        last_error=optional(row.last_error),
    )


def _time(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
