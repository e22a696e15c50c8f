"""Events as streams send them: Server-Sent Events with a kind, JSON, and a number if they can be resumed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from meltica.api import contract
from meltica.api.envelope import without_nulls
from meltica.control.streams.frames import frame
from meltica.control.streams.market_events import DEFAULT_DEPTH, MARKET, MarketRoute
from meltica.model.amounts import amount_text
from meltica.model.enums import Mode
from meltica.persistence.stores.event_log import LoggedEvent
from meltica.persistence.stores.outbox import ENTRY
from meltica.persistence.stores.trading.rows import BalanceRow, FillRow, LedgerEntryRow, OrderRow
from meltica.trading.exact import divide

PRIVATE: Final = ("order", "fill", "balance", "risk")
"""Kinds that are never lost: they have a number, and a stream resumes them."""
STATES: Final = ("provider", "instance")
"""Kinds of which only the latest of each name is sent."""
KINDS: Final = (*PRIVATE, *STATES)
"""Kinds of a stream that names none."""
ALL_KINDS: Final = (*KINDS, *MARKET)

Reported = OrderRow | FillRow | BalanceRow | LedgerEntryRow
_ROWS: Final[dict[str, type[Reported]]] = {
    "order": OrderRow,
    "fill": FillRow,
    "balance": BalanceRow,
    ENTRY: LedgerEntryRow,
}


class StreamEvent(NamedTuple):
    """An event, encoded once for all streams."""

    kind: str
    frame: bytes
    id: int | None = None
    instance: str | None = None
    provider: str | None = None
    symbol: str | None = None
    mode: Mode | None = None

    @property
    def key(self) -> tuple[str, str | None, str | None, str | None]:
        """What identifies the thing whose latest state this is."""
        return self.kind, self.instance, self.provider, self.symbol


@dataclass(frozen=True)
class EventFilter:
    """Which events a stream has. A filter that is empty, or whose field an event lacks, does not apply."""

    kinds: frozenset[str] = frozenset(KINDS)
    instances: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    symbols: frozenset[str] = frozenset()
    mode: Mode | None = None
    routes: frozenset[MarketRoute] = frozenset()
    """The market data of the stream, which no other filter applies to."""
    depth: int = DEFAULT_DEPTH
    """Levels on each side of its books."""

    @property
    def is_private(self) -> bool:
        """Whether a stream has events with a number, which are read from the database."""
        return not self.kinds.isdisjoint(PRIVATE)

    def accepts(self, event: StreamEvent) -> bool:
        """Returns whether a stream has an event."""
        return (
            event.kind in self.kinds
            and (not self.instances or event.instance is None or event.instance in self.instances)
            and (not self.providers or event.provider is None or event.provider in self.providers)
            and (not self.symbols or event.symbol is None or event.symbol in self.symbols)
            and (self.mode is None or event.mode is None or event.mode is self.mode)
        )


def private_event(logged: LoggedEvent) -> StreamEvent:
    """Returns an event of the outbox in the spelling of the REST API."""
    kind, at = logged.aggregate_type, int(logged.created_at.timestamp() * 1000)
    head: dict[str, Any] = {"type": logged.event_type, "at": at}
    match row_of(kind, logged.event_type, logged.payload):
        case OrderRow() as order:
            data = frame(kind, {**head, "order": order_json(order)}, logged.id)
            return StreamEvent(
                kind, data, logged.id, order.instance, order.provider, order.symbol, order.mode
            )
        case FillRow() as fill:
            more = {"mode": logged.mode, "symbol": logged.symbol, "side": logged.side}
            data = frame(kind, {**head, "execution": fill_json(fill, more)}, logged.id)
            return StreamEvent(
                kind, data, logged.id, fill.instance, fill.provider, logged.symbol, logged.mode
            )
        case LedgerEntryRow() as entry:
            data = frame(kind, {**head, "entry": entry_json(entry)}, logged.id)
            return StreamEvent(kind, data, logged.id, provider=entry.provider, mode=entry.mode)
        case BalanceRow() as balance:
            data = frame(kind, {**head, "balance": balance_json(balance)}, logged.id)
            return StreamEvent(kind, data, logged.id, provider=balance.provider, mode=balance.mode)
        case _:
            scope, _, name = logged.aggregate_id.partition(":")
            instance, provider = (name if scope == each else None for each in ("instance", "provider"))
            data = frame(kind, {**head, **logged.payload}, logged.id)
            mode = logged.payload.get("mode")
            of_mode = None if mode is None else Mode(mode)
            return StreamEvent(kind, data, logged.id, instance, provider, mode=of_mode)


def row_of(kind: str, event_type: str, payload: dict[str, Any]) -> Reported | None:
    """Returns the row that an event of the outbox reports; None for an event of another kind."""
    cls = _ROWS.get(event_type if event_type == ENTRY else kind)
    return None if cls is None else msgspec.convert(payload, cls, strict=False)


def payload_json(kind: str, event_type: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Returns what an event of the outbox reports, in the spelling of the REST API."""
    match row_of(kind, event_type, payload):
        case OrderRow() as order:
            return order_json(order)
        case FillRow() as fill:
            return fill_json(fill)
        case LedgerEntryRow() as entry:
            return entry_json(entry)
        case BalanceRow() as balance:
            return balance_json(balance)
        case _:
            return without_nulls(payload)


def order_json(order: OrderRow) -> dict[str, Any]:
    """Returns an order as the list of orders shows it, without what the database adds."""
    average = divide(order.filled_cost, order.filled_quantity) if order.filled_quantity else None
    return contract.order_to_contract({**_values(contract.ORDER, order), "average_price": average})


def fill_json(fill: FillRow, of_order: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns a fill as the list of fills shows it, with what its order has, if it is given."""
    return contract.fill_to_contract({**_values(contract.FILL, fill), **(of_order or {})})


def balance_json(balance: BalanceRow) -> dict[str, Any]:
    """Returns a balance as the list of balances shows it, without what the database adds."""
    return contract.balance_to_contract(_values(contract.BALANCE, balance))


def entry_json(entry: LedgerEntryRow) -> dict[str, Any]:
    """Returns an entry as the ledger of its account shows it, without what the database adds."""
    shown = {
        "provider": entry.provider,
        "mode": entry.mode,
        "kind": entry.kind,
        "venueId": entry.venue_id,
        "currency": entry.currency,
        "amount": amount_text(entry.amount),
        "bookedAt": entry.booked_at // 10**6,
        "bookedBy": entry.booked_by,
        "note": entry.note,
    }
    return {key: value for key, value in shown.items() if value is not None}


def _values(pairs: contract.Pairs, row: object) -> dict[str, Any]:
    return {name: getattr(row, name) for name, _ in pairs if hasattr(row, name)}
