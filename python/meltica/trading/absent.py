"""What trading has and the configuration does not: orders and positions left by an edit of the file.

1. They keep their uid and their provider, so that they continue when the entry is in the file again.
2. Those of live accounts are faults until then. A position below the least order of its symbol is not a
   fault, nor is anything in an account that ended with the process of an earlier gateway.
3. An instance does not start while it has them at a provider that is not configured: for the strategy its
   position would be zero, and it would trade once more.
"""

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from meltica.model.enums import Mode, OrderState
from meltica.model.instruments import Instrument
from meltica.model.orders import OrderSnapshot
from meltica.model.symbols import ANY
from meltica.trading.exact import ZERO
from meltica.trading.order import OrderRecord, Owner, PositionKey
from meltica.trading.positions import Position

if TYPE_CHECKING:
    from meltica.trading.desk import Desk

PROVIDER_REMOVED = "provider_removed"


class Configured:
    """The providers and instances of the configuration; by default every one is configured."""

    def __init__(
        self,
        providers: Container[str] | None = None,
        uid_of: Callable[[str], UUID | None] | None = None,
        volatile: Collection[str] = (),
    ) -> None:
        """Creates it from the names of providers.

        - `uid_of`: returns the uid of a configured instance, and None for any other.
        - `volatile`: providers whose accounts end with a gateway, configured or not.

        """
        self._volatile = volatile
        self._providers = providers
        self._uid_of = uid_of

    def has_provider(self, name: str) -> bool:
        """Returns whether a provider is configured."""
        return self._providers is None or name in self._providers

    def lasts(self, provider: str, mode: Mode) -> bool:
        """Returns whether an account outlives the gateway."""
        return mode is Mode.LIVE and provider not in self._volatile

    def has_instance(self, owner: Owner) -> bool:
        """Returns whether an instance is configured: an earlier one of the same id had another uid."""
        return self._uid_of is None or self._uid_of(owner.instance) == owner.uid


def is_misplaced(
    desk: "Desk", provider: str, mode: Mode, client_order_id: str, execution_id: str | None = None
) -> bool:
    """Returns whether an account has an order that is ours at another provider.

    That one was renamed, or two have exchanged their accounts. With an execution id, whether a fill of an
    order of a renamed provider is not booked yet. The caller holds the lock of trading.
    """
    machine = desk.orders.of_client_id(client_order_id)
    if machine is None or machine.record.owner.mode is not mode or machine.record.provider == provider:
        return False
    if client_order_id in desk.accounts.link(provider, mode).strays:
        return True
    if desk.configured.has_provider(machine.record.provider):
        return False
    return execution_id is None or not machine.has_fill(execution_id)


def left_elsewhere(desk: "Desk", owner: Owner) -> str | None:
    """3: returns what an instance has at a provider that is not configured. The caller holds the lock."""
    for order in _live_orders(desk):
        if order.owner == owner and not desk.configured.has_provider(order.provider):
            return f"the end of order {order.client_order_id} at {order.provider}, which is not configured"
    for position in _live_positions(desk):
        if position.key.owner == owner and not desk.configured.has_provider(position.key.provider):
            return f"its position of {_text(position)}, which is not configured"
    return None


def unmanaged(desk: "Desk", owner: Owner, scope: Mapping[str, Collection[str]]) -> list[str]:
    """Returns the live positions of an instance that its run does not trade.

    Their symbol has left its scope, or it runs on paper now. The caller holds the lock of trading.
    """
    found: list[str] = []
    for position in _live_positions(desk):
        key, symbols = position.key, scope.get(position.key.provider, ())
        trades = key.owner == owner and (key.symbol in symbols or ANY in symbols)
        if key.owner.uid == owner.uid and not trades:
            found.append(_text(position))
    return found


def absent_owners(desk: "Desk") -> dict[Owner, list[str]]:
    """2: returns what instances have that are not configured. The caller holds the lock of trading."""
    found: dict[Owner, list[str]] = {}
    for position in _live_positions(desk):
        found.setdefault(position.key.owner, []).append(_text(position))
    for order in _live_orders(desk):
        text = f"order {order.client_order_id} at {order.provider}"
        found.setdefault(order.owner, []).append(text)
    return {owner: texts for owner, texts in found.items() if not desk.configured.has_instance(owner)}


def positions_elsewhere(desk: "Desk") -> Iterator[tuple[Position, str]]:
    """2: yields positions at providers that are not configured. The caller holds the lock of trading."""
    for position in _live_positions(desk):
        if not desk.configured.has_provider(position.key.provider):
            yield position, _text(position)


def unreachable_orders(desk: "Desk") -> Iterator[tuple[OrderRecord, str]]:
    """Yields live orders that can be neither followed nor cancelled, and why. The caller holds the lock."""
    for order in _live_orders(desk):
        if desk.accounts.link(order.provider, Mode.LIVE).account is None:
            absent = not desk.configured.has_provider(order.provider)
            why = "is not configured; put it back" if absent else "is not running; start it"
            yield order, f"provider `{order.provider}` {why}, or the order stays as it is at the venue"


def end_orders(desk: "Desk") -> None:
    """Ends the orders at providers that were removed, of accounts that ended with the gateway.

    The caller holds the lock of trading.
    """
    for machine in desk.open_machines():
        order = machine.record
        configured = desk.configured
        if configured.has_provider(order.provider) or configured.lasts(order.provider, order.owner.mode):
            continue
        ended = OrderSnapshot(
            client_order_id=order.client_order_id,
            venue_order_id=order.venue_order_id,
            symbol=order.symbol,
            side=order.side,
            state=OrderState.CANCELLED,
            order_type=order.order_type,
            quantity=order.quantity,
            filled_quantity=order.filled_quantity,
            price=order.limit_price,
            reason=PROVIDER_REMOVED,
        )
        desk.carry_out(machine, machine.reported(ended, desk.clock()))


def _live_orders(desk: "Desk") -> Iterator[OrderRecord]:
    for machine in desk.open_machines():
        if desk.configured.lasts(machine.record.provider, machine.record.owner.mode):
            yield machine.record


def _live_positions(desk: "Desk") -> Iterator[Position]:
    for position in desk.positions:
        lasts = desk.configured.lasts(position.key.provider, position.key.owner.mode)
        if lasts and position.quantity and not _is_dust(desk, position):
            yield position


def _is_dust(desk: "Desk", position: Position) -> bool:
    """Returns whether no order could reduce a position. Another provider's rules replace absent ones."""
    rules = _rules(desk, position.key)
    if rules is None or rules.quantity_increment is None:
        return False
    return position.is_flat(rules.quantity_increment, rules.min_quantity or ZERO)


def _rules(desk: "Desk", key: PositionKey) -> Instrument | None:
    listings = desk.risks[Mode.LIVE].registry.listings
    own = listings.get((key.provider, key.symbol))
    if own is not None and own.instrument is not None:
        return own.instrument
    others = (each.instrument for (_, symbol), each in listings.items() if symbol == key.symbol)
    return next((each for each in others if each is not None), None)


def _text(position: Position) -> str:
    return f"{position.quantity.normalize():f} {position.key.symbol} at {position.key.provider}"
