"""`/events`: a stream of what happens, as Server-Sent Events, and the tickets with which browsers open it."""

import time
from typing import Annotated

from litestar import Controller, Request, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from litestar.response import Stream

from meltica.api.events import EventTicket
from meltica.control.access import VIEWER, Principal
from meltica.control.bodies import bad_parameter
from meltica.control.filters import Filters
from meltica.control.streams.events import ALL_KINDS, KINDS, EventFilter
from meltica.control.streams.market_choice import market_routes
from meltica.control.streams.market_events import DEFAULT_DEPTH, MARKET, MAX_DEPTH
from meltica.control.streams.response import EventStream, EventStreamResponse
from meltica.control.streams.service import EventStreams
from meltica.control.streams.subscriber import Subscriber
from meltica.control.streams.tickets import LIFETIME
from meltica.errors import suggestion
from meltica.model.enums import Mode

MAX_ID = 2**63 - 1
SEVERAL = "Repeat it for several."
STREAM = """Each event has a kind, JSON, and an id if it can be resumed: send the last one as the header
`Last-Event-ID`, or as `lastEventId`. Browsers add a `ticket`, as their streams have no headers.
Market data has no id: of each symbol, the latest value is sent at most five times a second."""
KIND = f"{', '.join(ALL_KINDS)}. {', '.join(MARKET)} need a `symbol`. {SEVERAL}"
Depth = Annotated[
    int, QueryParameter(ge=1, le=MAX_DEPTH, description="Levels on each side of the events `book`.")
]
Names = Annotated[list[str] | None, QueryParameter(description=SEVERAL)]


class EventsController(Controller):
    """The streams of events."""

    path = "/events"
    tags = ["events"]
    guards = [VIEWER]

    @get(
        summary="Stream events",
        description=STREAM,
        operation_id="streamEvents",
        media_type="text/event-stream",
    )
    async def stream(
        self,
        request: Request[Principal, object, State],
        streams: NamedDependency[EventStreams],
        kind: Annotated[list[str] | None, QueryParameter(description=KIND)] = None,
        instance: Names = None,
        provider: Names = None,
        symbol: Names = None,
        mode: FromQuery[Mode | None] = None,
        depth: Depth = DEFAULT_DEPTH,
        last_id: Annotated[str | None, QueryParameter(name="lastEventId")] = None,
        ticket: Annotated[str | None, QueryParameter(description="Of `/events/tickets`.")] = None,  # noqa: ARG002
    ) -> Stream:
        """Streams events. Raises HttpError and DatabaseUnavailable."""
        kinds, instances, providers = _kinds(kind), frozenset(instance or ()), frozenset(provider or ())
        names = Filters(
            streams.services, instances=instances, providers=providers, symbols=frozenset(symbol or ())
        )
        routes = market_routes(streams.services.providers, kinds, providers, names.symbols)
        streams.market.admit(routes)
        chosen = EventFilter(kinds, instances, providers, names.symbols, mode, routes=routes, depth=depth)
        await names.refuse_unknown(stored=chosen.is_private)
        # What a browser sends after an interruption is later than what its page was opened with.
        last = _last(request.headers.get("last-event-id") or last_id)
        begin = await streams.hub.start(chosen, last)
        subscriber = Subscriber(chosen, begin.id or 0)
        stream = EventStream(
            streams.hub,
            streams.market,
            streams.sessions,
            request.user,
            begin,
            subscriber,
            streams.snapshot,
        )
        return EventStreamResponse(stream)

    @post(
        "/tickets",
        status_code=201,
        summary="Issue a ticket for one stream",
        description="It is valid once, within 30 s, for `/events?ticket=TICKET`.",
        operation_id="issueEventTicket",
    )
    async def issue_ticket(
        self, request: Request[Principal, object, State], streams: NamedDependency[EventStreams]
    ) -> EventTicket:
        """Issues a ticket that has the rights of the client. Raises HttpError."""
        ticket = streams.tickets.issue(request.user)
        return EventTicket(ticket=ticket, expires_at=int((time.time() + LIFETIME) * 1000))


def _kinds(given: list[str] | None) -> frozenset[str]:
    names = [name.strip() for text in given or () for name in text.split(",")]
    for name in names:
        if name not in ALL_KINDS:
            raise bad_parameter("kind", f"{name[:80]!r} is unknown{suggestion(name, ALL_KINDS)}")
    return frozenset(names or KINDS)


def _last(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_ID):
        raise bad_parameter("Last-Event-ID", f"expected a number, saw {text[:80]!r}")
    return int(text)


__all__ = ["EventsController"]
