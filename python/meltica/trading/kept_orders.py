"""`KeptOrders`: the orders in memory: all that have not ended, and those that ended lately.

The caller holds the lock of trading.
"""

from collections import Counter, defaultdict, deque
from uuid import UUID

from meltica.model.enums import Mode
from meltica.trading.order import OrderRecord
from meltica.trading.state_machine import OrderMachine

KEPT_ENDED = 100_000
KEPT_FOR = 24 * 3600 * 10**9
"""How many ended orders are kept, and for how long."""


class KeptOrders:
    """The orders, by each of their ids."""

    def __init__(self) -> None:
        self._by_id: dict[UUID, OrderMachine] = {}
        self._by_client_id: dict[str, OrderMachine] = {}
        self._active: dict[OrderMachine, None] = {}
        """The orders that have not ended, or that still wait for something."""
        self._watched: dict[OrderMachine, None] = {}
        self._ended: deque[OrderMachine] = deque()
        self._symbols = defaultdict[tuple[str, Mode], Counter[str]](Counter)
        """Provider and mode -> symbols of the kept orders, with their number."""

    def __contains__(self, client_order_id: str) -> bool:
        return client_order_id in self._by_client_id

    def add(self, machine: OrderMachine) -> None:
        """Adds an order."""
        record = machine.record
        self._by_id[record.id] = machine
        self._by_client_id[record.client_order_id] = machine
        self._active[machine] = self._watched[machine] = None
        self._symbols[record.provider, record.owner.mode][record.symbol] += 1

    def find(self, id: UUID) -> OrderMachine | None:
        """Returns an order by our id."""
        return self._by_id.get(id)

    def of_client_id(self, client_order_id: str) -> OrderMachine | None:
        """Returns an order by the id that the venue has from us."""
        return self._by_client_id.get(client_order_id)

    def open(self) -> list[OrderMachine]:
        """Returns the orders that have not ended."""
        return [each for each in self._active if not each.record.state.is_final]

    def symbols(self, provider: str, mode: Mode) -> set[str]:
        """Returns the symbols of the kept orders of an account."""
        return set(self._symbols.get((provider, mode), ()))

    def watch(self, machine: OrderMachine) -> None:
        """Lets the next tick visit an order.

        It visits those that changed since the last one, those for which time alone may change something, and
        those in flight. An order that rests at the venue costs no tick.
        """
        self._watched[machine] = None

    def take_watched(self) -> list[OrderMachine]:
        """Returns the orders that this tick visits."""
        watched, self._watched = self._watched, {}
        return list(watched)

    def end(self, machine: OrderMachine) -> None:
        """Records that an order has ended and waits for nothing."""
        if machine in self._active:
            del self._active[machine]
            self._ended.append(machine)

    def forget_old(self, now: int) -> list[OrderRecord]:
        """Forgets orders that ended long ago, or too many ago; returns them. A late fill finds their rows."""
        forgotten: list[OrderRecord] = []
        while self._ended:
            record = self._ended[0].record
            if len(self._ended) <= KEPT_ENDED and now - (record.ended_at or 0) < KEPT_FOR:
                break
            self._ended.popleft()
            del self._by_id[record.id], self._by_client_id[record.client_order_id]
            symbols = self._symbols[record.provider, record.owner.mode]
            symbols[record.symbol] -= 1
            if not symbols[record.symbol]:
                del symbols[record.symbol]
            forgotten.append(record)
        return forgotten
