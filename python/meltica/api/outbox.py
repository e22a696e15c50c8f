"""`/outbox`: events and their consumers. Times of events are RFC 3339, as existing clients expect."""

from msgspec import UNSET, Struct, UnsetType, field

from meltica.api.envelope import JsonObject, Schema

Text = str | UnsetType


class OutboxDelivery(Schema, frozen=True, kw_only=True):
    """A consumer that did not receive an event yet."""

    consumer: str
    """The name of the consumer."""
    attempts: int
    """How often it was tried."""
    available_at: str
    """When it is due: after its lease, or after a pause that follows a failure."""
    last_error: Text = UNSET
    """Why the latest attempt failed; absent without one."""
    dead: bool
    """Whether the consumer has given up on it."""


class OutboxEvent(Struct, rename="camel", frozen=True, kw_only=True):
    """An event."""

    id: int
    aggregate_type: str
    """`order`, `fill`, `balance`, `risk` or `lifecycle`."""
    aggregate_id: str = field(name="aggregateID")
    """The order of orders and fills; the provider, instance or scope of others."""
    event_type: str
    """What happened, such as `order.filled`."""
    payload: JsonObject
    """What the stream of events shows: an order, an execution, a balance, or an entry of a ledger."""
    headers: dict[str, str]
    """What belongs to the event and not to its payload."""
    available_at: str
    """When a consumer receives it next; when it was written if none waits for it."""
    published_at: Text = UNSET
    """When the latest consumer received it."""
    attempts: int
    """The most of a consumer that did not receive it yet."""
    last_error: Text = UNSET
    """Why the latest attempt failed; absent without one."""
    delivered: bool
    """Whether no consumer waits for it; its dead letters count as waiting."""
    created_at: str
    """When it was written, as RFC 3339."""
    deliveries: list[OutboxDelivery]
    """The consumers that did not receive it yet."""


class OutboxEvents(Schema, frozen=True, kw_only=True):
    """Events, the oldest first."""

    events: list[OutboxEvent]
    """The events of this page."""
    count: int
    """How many events this response has."""
    cursor: Text = UNSET
    """Where the next page begins; absent on the last one."""


class OutboxRemoved(Schema, frozen=True, kw_only=True):
    """An event that was deleted."""

    id: int
    status: str = "deleted"
    """`deleted`."""


class OutboxConsumer(Schema, frozen=True, kw_only=True):
    """A consumer of events. Times are milliseconds."""

    name: str
    created_at: int
    """It receives the events since then."""
    waiting: int
    """Events that it did not receive yet, dead letters included."""
    dead: int
    """Events that it has given up on."""
    oldest_at: int | UnsetType = UNSET
    """When the oldest event that it did not receive was written; absent without one."""
    last_error: Text = UNSET
    """Why its latest attempt failed; absent without one."""


class OutboxConsumers(Schema, frozen=True, kw_only=True):
    """All consumers, by name."""

    consumers: list[OutboxConsumer]
    """All of them."""
    count: int
    """How many they are."""


class DeadLetterRequest(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A retry of dead letters, or that they are dropped."""

    reason: str
    """Why; recorded with the client."""
    events: list[int] | UnsetType = UNSET
    """Ids of events; all dead letters of the consumer if absent."""


class DeadLetters(Schema, frozen=True, kw_only=True):
    """The dead letters that are due again, or were dropped."""

    consumer: str
    """The name of the consumer."""
    events: list[int]
    """Their ids."""
