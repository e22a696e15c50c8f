"""The requests of a client about trading: orders, positions, balances, refusals and the outbox.

Filters are the query parameters of docs/rest.md; one that is None does not apply.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

from msgspec import UNSET, UnsetType

from meltica.api.accounts import Booked, LedgerEntries, Lines, LostOrderChange
from meltica.api.balances import Balances
from meltica.api.executions import Executions
from meltica.api.operations import CancelResult, FlattenResult, OrderChange, OrderDetail, ScopeChange
from meltica.api.orders import Orders
from meltica.api.outbox import DeadLetters, OutboxConsumer, OutboxConsumers, OutboxEvents, OutboxRemoved
from meltica.api.positions import Positions
from meltica.api.refusals import RefusalCounts, Refusals
from meltica.api.traces import OrderTrace

T = TypeVar("T")


class Send(Protocol):
    """Sends a request, and returns its response as a schema."""

    def __call__(self, method: str, path: str, body: object, kind: type[T]) -> T:
        """Raises ApiError and Unreachable."""
        ...


class Paged(Protocol):
    """A page of a list."""

    @property
    def cursor(self) -> str | UnsetType:
        """Where the next page begins; absent on the last one."""
        ...


P = TypeVar("P", bound=Paged)


def pages(read: Callable[..., P], *path: str, **filters: object) -> Generator[P]:
    """Yields all pages of a list: `pages(client.trading.orders, instance="btc", limit=500)`."""
    page = read(*path, **filters)
    yield page
    while page.cursor is not UNSET:
        page = read(*path, **filters, cursor=page.cursor)
        yield page


class TradingRequests:
    """The part of a client that concerns trading. All methods raise ApiError and Unreachable."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def orders(self, **filters: object) -> Orders:
        """Returns orders of all instances, the latest request first."""
        return self._get("/orders", filters, Orders)

    def executions(self, instance: str, **filters: object) -> Executions:
        """Returns the fills of an instance, the latest first."""
        return self._get(f"/strategy/instances/{_part(instance)}/executions", filters, Executions)

    def order(self, id: str) -> OrderDetail:
        """Returns an order with its times and fills."""
        return self._get(f"/orders/{_part(id)}", {}, OrderDetail)

    def trace(self, id: str) -> OrderTrace:
        """Returns the waterfall of an order, also of one that was refused."""
        return self._get(f"/orders/{_part(id)}/trace", {}, OrderTrace)

    def cancel(self, id: str, reason: str) -> OrderChange:
        """Requests the cancel of an order."""
        return self._post(f"/orders/{_part(id)}/cancel", {"reason": reason}, OrderChange)

    def cancel_all(self, scope: str, reason: str, symbol: str | None = None) -> CancelResult:
        """Requests the cancels of the open orders of a scope."""
        return self._post(
            "/orders/cancel", {"scope": scope, "reason": reason, "symbol": symbol}, CancelResult
        )

    def halt(self, scope: str, reason: str) -> ScopeChange:
        """Halts a scope, and requests the cancels of its open orders."""
        return self._post("/risk/halt", {"scope": scope, "reason": reason}, ScopeChange)

    def flatten(self, scope: str, reason: str) -> FlattenResult:
        """Halts a scope, cancels its orders and sells the positions of its instances."""
        return self._post("/risk/flatten", {"scope": scope, "reason": reason}, FlattenResult)

    def query(self, id: str, reason: str) -> OrderChange:
        """Queries an order at its venue."""
        return self._post(f"/orders/{_part(id)}/query", {"reason": reason}, OrderChange)

    def resolve(self, id: str, state: str, reason: str) -> OrderChange:
        """Ends an order whose state is unknown."""
        return self._post(f"/orders/{_part(id)}/resolve", {"state": state, "reason": reason}, OrderChange)

    def positions(self, instance: str, **filters: object) -> Positions:
        """Returns the positions of an instance."""
        return self._get(f"/strategy/instances/{_part(instance)}/positions", filters, Positions)

    def release(self, instance: str, mode: str, reason: str, uid: str | None = None) -> Positions:
        """Gives the positions of an instance to no instance; returns what is left."""
        path = f"/strategy/instances/{_part(instance)}/positions/release"
        return self._post(path, {"mode": mode, "reason": reason, "uid": uid}, Positions)

    def balances(self, provider: str, **filters: object) -> Balances:
        """Returns balances of an account: a history, or with `latest` the latest ones."""
        return self._get(f"/providers/{_part(provider)}/balances", filters, Balances)

    def lines(self, provider: str, **filters: object) -> Lines:
        """Returns the four lines of each currency of an account, and its lost orders."""
        return self._get(f"/providers/{_part(provider)}/lines", filters, Lines)

    def ledger(self, provider: str, **filters: object) -> LedgerEntries:
        """Returns what belongs to an account and to no instance."""
        return self._get(f"/providers/{_part(provider)}/ledger", filters, LedgerEntries)

    def book(self, provider: str, mode: str, currency: str, amount: str, reason: str) -> Booked:
        """Books the difference of a currency as not ours."""
        body = {"mode": mode, "currency": currency, "amount": amount, "reason": reason}
        return self._post(f"/providers/{_part(provider)}/lines/book", body, Booked)

    def adopt(self, provider: str, mode: str, order: str, instance: str, reason: str) -> LostOrderChange:
        """Gives a lost order to an instance; `order` is its client order id."""
        body = {"mode": mode, "clientOrderId": order, "instance": instance, "reason": reason}
        return self._post(f"/providers/{_part(provider)}/lost-orders/adopt", body, LostOrderChange)

    def disown(self, provider: str, mode: str, order: str, reason: str) -> LostOrderChange:
        """Cancels a lost order, whose fills belong to no instance."""
        body = {"mode": mode, "clientOrderId": order, "reason": reason}
        return self._post(f"/providers/{_part(provider)}/lost-orders/disown", body, LostOrderChange)

    def refusals(self, **filters: object) -> Refusals:
        """Returns refused orders, the latest first."""
        return self._get("/refusals", filters, Refusals)

    def refusal_counts(self, **filters: object) -> RefusalCounts:
        """Returns how many orders were refused, by instance, mode and rule."""
        return self._get("/refusals/counts", filters, RefusalCounts)

    def events(self, **filters: object) -> OutboxEvents:
        """Returns events of the outbox, the oldest first."""
        return self._get("/outbox", filters, OutboxEvents)

    def delete_event(self, id: int) -> OutboxRemoved:
        """Deletes an event, which no consumer receives any more."""
        return self._send("DELETE", f"/outbox/{id}", None, OutboxRemoved)

    def consumers(self) -> OutboxConsumers:
        """Returns the consumers of events."""
        return self._get("/outbox/consumers", {}, OutboxConsumers)

    def consumer(self, name: str) -> OutboxConsumer:
        """Returns a consumer of events."""
        return self._get(f"/outbox/consumers/{_part(name)}", {}, OutboxConsumer)

    def retry(self, consumer: str, reason: str, events: Sequence[int] = ()) -> DeadLetters:
        """Makes dead letters of a consumer due again: these events, or all."""
        body = {"reason": reason, "events": list(events) or None}
        return self._post(f"/outbox/consumers/{_part(consumer)}/retry", body, DeadLetters)

    def drop(self, consumer: str, reason: str, events: Sequence[int] = ()) -> DeadLetters:
        """Lets a consumer never receive dead letters of it: these events, or all."""
        body = {"reason": reason, "events": list(events) or None}
        return self._post(f"/outbox/consumers/{_part(consumer)}/drop", body, DeadLetters)

    def _get(self, path: str, filters: Mapping[str, object], kind: type[T]) -> T:
        given = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in filters.items()
            if value is not None and value != ()
        }
        return self._send("GET", f"{path}?{urlencode(given, doseq=True)}" if given else path, None, kind)

    def _post(self, path: str, body: Mapping[str, Any], kind: type[T]) -> T:
        return self._send(
            "POST", path, {key: value for key, value in body.items() if value is not None}, kind
        )


def _part(text: str) -> str:
    """Returns a name as one part of a path."""
    return quote(text, safe="")
