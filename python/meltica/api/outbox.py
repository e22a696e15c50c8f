"""`/outbox`: events and their consumers. Times of events are RFC 3339, as existing clients expect."""

from msgspec import UNSET, Struct, UnsetType, field

from meltica.api.envelope import JsonObject, Schema

Text = str | UnsetType


class OutboxDelivery(Schema, frozen=True, kw_only=True):
    """A consumer that did not receive an event yet."""

    consumer: str
    attempts: int
    available_at: str
    """When it is due: after its lease, or after a pause that follows a failure."""
    last_error: Text = UNSET
    dead: bool
    """Whether the consumer has given up on it."""


class OutboxEvent(Struct, rename="camel", frozen=True, kw_only=True):
    """An event."""

    id: int
    aggregate_type: str
    aggregate_id: str = field(name="aggregateID")
    """The order of orders and fills; the provider, instance or scope of others."""
    event_type: str
    payload: JsonObject
    """What the stream of events shows: an order, an execution, a balance, or an entry of a ledger."""
    headers: dict[str, str]
    available_at: str
    """When a consumer receives it next; when it was written if none waits for it."""
    published_at: Text = UNSET
    """When the latest consumer received it."""
    attempts: int
    """The most of a consumer that did not receive it yet."""
    last_error: Text = UNSET
    delivered: bool
    """Whether no consumer waits for it; its dead letters count as waiting."""
    created_at: str
    deliveries: list[OutboxDelivery]


class OutboxEvents(Schema, frozen=True, kw_only=True):
    """Events, the oldest first."""

    events: list[OutboxEvent]
    count: int
    """How many events this response has."""
    cursor: Text = UNSET
    """Where the next page begins; absent on the last one."""


class OutboxRemoved(Schema, frozen=True, kw_only=True):
    """An event that was deleted."""

    id: int
    status: str = "deleted"


class OutboxConsumer(Schema, frozen=True, kw_only=True):
    """A consumer of events. Times are milliseconds."""

    name: str
    created_at: int
    """It receives the events since then."""
    waiting: int
    dead: int
    """Events that it has given up on."""
    oldest_at: int | UnsetType = UNSET
    """When the oldest event that it did not receive was written; absent without one."""
    last_error: Text = UNSET


class OutboxConsumers(Schema, frozen=True, kw_only=True):
    """All consumers, by name."""

    consumers: list[OutboxConsumer]
    count: int


class DeadLetterRequest(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A retry of dead letters, or that they are dropped."""

    reason: str
    events: list[int] | UnsetType = UNSET
    """Ids of events; all dead letters of the consumer if absent."""


class DeadLetters(Schema, frozen=True, kw_only=True):
    """The dead letters that are due again, or were dropped."""

    consumer: str
    events: list[int]
