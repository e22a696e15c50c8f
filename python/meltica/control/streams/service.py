"""`EventStreams`: the streams of a gateway, and what they start from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meltica.control.routes.orders import order_of
from meltica.control.routes.positions import position_of
from meltica.control.routes.risk import stored_halts
from meltica.control.services import ControlServices
from meltica.control.sessions import Sessions
from meltica.control.streams.events import EventFilter, StreamEvent, balance_json
from meltica.control.streams.frames import frame
from meltica.control.streams.hub import EventHub
from meltica.control.streams.market import MarketTap
from meltica.control.streams.subscriber import Subscriber
from meltica.control.streams.tickets import Authenticate, StreamTickets
from meltica.model.enums import Mode


@dataclass(frozen=True)
class EventStreams:
    """What the routes of streams work with."""

    hub: EventHub
    market: MarketTap
    sessions: Sessions
    tickets: StreamTickets
    services: ControlServices

    @classmethod
    def of(cls, services: ControlServices, authenticate: Authenticate) -> "EventStreams":
        """Returns the streams of a gateway whose requests are authenticated so."""
        authenticator = services.tokens.authenticator
        sessions = Sessions() if authenticator is None else authenticator.sessions
        hub = EventHub(services.events, lambda: _states(services), services.stopping)
        tickets = StreamTickets(authenticate)
        if authenticator is not None:
            tickets = StreamTickets(authenticate, authenticator.ended)
        return cls(hub, services.market, sessions, tickets, services)

    async def snapshot(self, subscriber: Subscriber) -> dict[str, Any]:
        """Returns the state that the kinds of a stream change. Raises DatabaseError."""
        chosen, found = subscriber.filter, dict[str, Any]()
        stored = self.services.snapshot
        if "order" in chosen.kinds:
            orders = await stored.open_orders()
            found["orders"] = [
                order_of(each)
                for each in orders
                if _has(chosen, each.instance, each.provider, each.symbol, each.mode)
            ]
        if "fill" in chosen.kinds:
            positions = await stored.positions()
            found["positions"] = [
                position_of(each)
                for each in positions
                if _has(chosen, each.instance, each.provider, each.symbol, each.mode)
            ]
        if "balance" in chosen.kinds:
            balances = await stored.balances()
            found["balances"] = [
                balance_json(each)
                for each in balances
                if _has(chosen, provider=each.provider, mode=each.mode)
            ]
        if "risk" in chosen.kinds:
            found["halts"] = await stored_halts(self.services.trading)
        return found


def _has(
    chosen: EventFilter,
    instance: str | None = None,
    provider: str | None = None,
    symbol: str | None = None,
    mode: Mode | None = None,
) -> bool:
    kind = next(iter(chosen.kinds))
    return chosen.accepts(StreamEvent(kind, b"", None, instance, provider, symbol, mode))


def _states(services: ControlServices) -> Iterator[StreamEvent]:
    """Yields the state of each provider and instance as it is now."""
    for each in services.providers.all():
        shown = _state(each.actual, each.desired, each.last_error)
        yield StreamEvent("provider", frame("provider", {"name": each.name, **shown}), provider=each.name)
    for each in services.instances.all():
        shown = _state(each.actual, each.desired, each.last_error)
        yield StreamEvent("instance", frame("instance", {"id": each.id, **shown}), instance=each.id)


def _state(actual: str, desired: str, error: str | None) -> dict[str, str]:
    shown = {"status": str(actual), "desired": str(desired)}
    return shown if error is None else {**shown, "error": error}
