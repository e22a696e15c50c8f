"""Webhooks: each is a consumer of the outbox, which receives its types of events in their order.

1. At least once: an event is acknowledged after the receiver accepted it. Its id is the same in each attempt.
2. One message at a time and per webhook, so a dead, slow or endless receiver delays only its own events.
3. The backlog is bounded: of `KEEP` events the oldest is dropped, counted and logged.
4. A webhook that is not configured any more is removed from the consumers with what waits for it.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from meltica.errors import DatabaseError, one_line
from meltica.notifications.messages import body_of, headers_of, message_id
from meltica.notifications.sender import NotDelivered, http_client, post
from meltica.notifications.spec import WebhookSettings
from meltica.persistence.stores.outbox import Delivery, Outbox
from meltica.runtime.backoff import Backoff
from meltica.runtime.threads import call
from meltica.telemetry.families import counter
from meltica.telemetry.registry import Reading

if TYPE_CHECKING:
    import httpx

PREFIX: Final = "webhook:"
"""Begins the names of the consumers that are webhooks."""
KEEP: Final = 1000
"""3: events that a webhook may wait for, dead letters included."""
POLL: Final = 1.0
"""Seconds between two claims of a webhook that waits for nothing."""
RETRY: Final = 10.0
"""Seconds to wait after a fault of the program."""
OUTCOMES: Final = ("sent", "failed", "dead", "dropped")

log = logging.getLogger("meltica.notifications")


class Webhook:
    """One receiver."""

    def __init__(
        self, name: str, settings: WebhookSettings, outbox: Outbox, client: "httpx.AsyncClient"
    ) -> None:
        self.consumer = PREFIX + name
        self.settings = settings
        self.counts: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        """Attempts that were `sent` or `failed`, and events that are `dead` or were `dropped`."""
        self.name = name
        self._outbox = outbox
        self._client = client
        self._backoff = Backoff(1.0, 60.0)
        self._failure: str | None = None

    async def step(self) -> float:
        """Sends the next event, if there is one; returns how long to wait before the next step.

        Raises DatabaseError.
        """
        claimed = await self._outbox.claim(self.consumer, 1)
        if not claimed:
            return POLL
        try:
            await self._send(claimed[0])
        except NotDelivered as error:
            await self._failed(claimed[0], str(error))
            return self._backoff.next()
        await self._outbox.delivered(self.consumer, [claimed[0].id])
        self.counts["sent"] += 1
        if self._failure is not None:
            log.info("webhook %s accepts messages again", self.name)
            self._failure = None
        self._backoff.reset()
        return 0.0

    async def _send(self, delivery: Delivery) -> None:
        body = body_of(self.settings, delivery)
        headers = headers_of(self.settings, message_id(delivery), body, time.time())
        if (trace := delivery.headers.get("traceparent")) is not None:
            headers["traceparent"] = trace
        await post(self._client, self.settings.url, body, headers)

    async def _failed(self, delivery: Delivery, error: str) -> None:
        self.counts["failed"] += 1
        if self._failure is None:
            log.warning("webhook %s: %s not sent, retried: %s", self.name, delivery.event_type, error)
        self._failure = error
        if await self._outbox.failed(self.consumer, delivery.id, error):
            self.counts["dead"] += 1
            log.error("webhook %s: event %d is a dead letter: %s", self.name, delivery.id, error)
        if dropped := await self._outbox.trim(self.consumer, KEEP):
            self.counts["dropped"] += dropped
            log.error("webhook %s: the oldest %d events dropped; at most %d wait", self.name, dropped, KEEP)


class Webhooks:
    """The webhooks of a gateway, from `start` to `stop`."""

    def __init__(self, outbox: Outbox, settings: Mapping[str, WebhookSettings]) -> None:
        self._outbox = outbox
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._task: asyncio.Task[None] | None = None
        self.all: list[Webhook] = []

    def start(self) -> None:
        """Starts the task. The database may be away: webhooks are added when it responds."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-webhooks")

    async def stop(self) -> None:
        """Ends the task. A message that is being sent is sent again at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._client is not None:
            await self._client.aclose()

    async def prepare(self) -> None:
        """Adds the webhooks to the consumers, and removes former ones (4). Raises DatabaseError."""
        wanted = {PREFIX + name: each for name, each in self._settings.items()}
        for former in await self._outbox.backlog():
            if former.consumer.startswith(PREFIX) and former.consumer not in wanted:
                await self._outbox.remove_consumer(former.consumer)
                count = former.waiting + former.dead
                log.warning("%s is not configured any more: removed with %d events", former.consumer, count)
        for consumer, settings in wanted.items():
            await self._outbox.add_consumer(consumer, settings.events)

    async def _run(self) -> None:
        if self._settings:
            # Loading the certificates of authorities takes tens of milliseconds.
            self._client = client = await call(http_client, "meltica-webhooks-start")
            self.all = [Webhook(name, each, self._outbox, client) for name, each in self._settings.items()]
        await _repeat(self.prepare, "webhooks")
        await asyncio.gather(*(_repeat(each.step, each.consumer) for each in self.all))


async def _repeat(step: Callable[[], Awaitable[float | None]], what: str) -> None:
    """Runs a step until it returns None; a number is the pause before the next one."""
    failure: str | None = None
    while True:
        pause: float | None = POLL
        try:
            pause = await step()
            failure = None
        except DatabaseError as error:
            if failure is None:
                failure = one_line(error)
                log.warning("%s: waiting for the database: %s", what, failure)
        except Exception:
            log.exception("%s: retrying", what)
            pause = RETRY
        if pause is None:
            return
        await asyncio.sleep(pause)


def webhook_metrics(webhooks: Webhooks) -> Reading:
    """Returns the counters of webhooks; nothing if none is configured."""
    rows = [((each.name, key), count) for each in webhooks.all for key, count in each.counts.items()]
    text = "Attempts that were sent or failed, and events that became dead letters or were dropped."
    return lambda: [counter("meltica_webhook_messages", text, ("webhook", "outcome"), rows)] if rows else []
