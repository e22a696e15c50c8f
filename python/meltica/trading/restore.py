"""Restores what an earlier run persisted: positions, balances, orders and the places up to which it read."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from meltica.model.enums import Mode
from meltica.persistence.stores.trading.loaders import StoredOrder, TradingLoader
from meltica.persistence.stores.trading.rows import FillRow, LedgerEntryRow, WatermarkRow
from meltica.trading.accounts import MARGIN
from meltica.trading.desk import Desk
from meltica.trading.kept_orders import KEPT_FOR
from meltica.trading.order import OrderRecord
from meltica.trading.risk.stored import load_state
from meltica.trading.state_machine import OrderMachine
from meltica.trading.stored import order_record, position
from meltica.trading.transitions import TimingsOf

log = logging.getLogger("meltica.trading")


async def restore(desk: Desk, loader: TradingLoader, timings: TimingsOf) -> None:
    """Restores everything of trading. No order leaves until its account is reconciled."""
    stored_positions = [position(row) for row in await loader.positions()]
    ledger = await loader.ledger()
    watermarks = await loader.watermarks()
    entries = await _entries(loader, watermarks)
    inventories = await loader.inventories()
    open_orders = await loader.open_orders()
    ended = await loader.ended_orders(desk.clock() - KEPT_FOR)
    executions = _by_order(await loader.fills([row.id for row in (*open_orders, *ended)]))
    last_report = await loader.last_report()
    disowned = await loader.disowned()
    risk_states = await loader.risk_states()
    last_time = max([await loader.last_time(), *(row.intent_at for row in open_orders)])
    with desk.lock:
        desk.pending.last_report = last_report
        desk.accounts.disowned |= disowned
        for each in stored_positions:
            desk.positions.restore(each)
            mode = each.key.owner.mode
            desk.accounts.balances[mode].restore_position(each)
            desk.risks[mode].set_position(each.key.owner, each.key.provider, each.key.symbol, each.quantity)
        for entry in ledger:
            desk.accounts.balances[entry.mode].restore_not_ours(entry.provider, entry.currency, entry.amount)
            desk.accounts.link(entry.provider, entry.mode).opened = True
        for row in entries:
            balances = desk.accounts.balances[row.mode]
            balances.restore_booked(row.provider, row.kind, row.venue_id, row.currency)
        for row in inventories:
            balances = desk.accounts.balances[row.mode]
            balances.restore_inventory(row.provider, row.venue_id, row.currency, row.amount)
        for row in watermarks:
            desk.accounts.restore_mark(row)
        for risk in desk.risks.values():
            # The first commit reads the halts, before the first order leaves.
            load_state(risk, risk_states, ())
        for row in (*ended, *open_orders):
            machine = _machine(row, timings, executions)
            _keep_lifetime(machine.record, max(0, last_time - desk.clock()))
            desk.restore(machine)
    if open_orders:
        log.info("%d open orders restored; their accounts are asked for them", len(open_orders))
    desk.wake()


def _keep_lifetime(record: OrderRecord, set_back: int) -> None:
    """Keeps a clock that was set back while no gateway ran from letting an order live longer."""
    if record.expires_at is not None:
        record.expires_at -= set_back


async def _entries(loader: TradingLoader, watermarks: Iterable[WatermarkRow]) -> list[LedgerEntryRow]:
    """Returns the entries of fills that reconciling reads again, which must not be booked again."""
    since: dict[tuple[str, Mode], int] = {}
    for mark in watermarks:
        key = mark.provider, mark.mode
        since[key] = min(mark.venue_time, since.get(key, mark.venue_time))
    return [
        row
        for (provider, mode), time in since.items()
        for row in await loader.entries(provider, mode, max(0, time - MARGIN))
    ]


class StoredOrders:
    """Loads orders that are no longer kept in memory, when something of them arrives late."""

    def __init__(self, desk: Desk, loader: TradingLoader, timings: TimingsOf) -> None:
        self._desk = desk
        self._loader = loader
        self._timings = timings

    async def load(self, client_order_ids: Collection[str]) -> None:
        """Adds the orders that the database has. Raises DatabaseUnavailable."""
        rows = await self._loader.orders_by_client_id(client_order_ids)
        fills = await self._loader.fills([row.id for row in rows])
        executions = _by_order(fills)
        with self._desk.lock:
            for row in rows:
                if self._desk.find(row.id) is None:
                    self._desk.restore(_machine(row, self._timings, executions))


def _by_order(fills: Iterable[FillRow]) -> Mapping[UUID, list[str]]:
    executions: dict[UUID, list[str]] = defaultdict(list)
    for fill in fills:
        executions[fill.order_id].append(fill.execution_id)
    return executions


def _machine(row: StoredOrder, timings: TimingsOf, executions: Mapping[UUID, list[str]]) -> OrderMachine:
    return OrderMachine(order_record(row), timings(row.provider, row.mode), executions.get(row.id, ()))
