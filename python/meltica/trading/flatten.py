"""Closing the positions of a scope, as instances do it: reduce-only market orders, checked by risk."""

from collections.abc import Iterable
from typing import NamedTuple

from meltica.errors import MelticaError, OrderRefused
from meltica.trading.client_ids import ClientOrderIds
from meltica.trading.desk import Desk
from meltica.trading.halt_watch import is_in
from meltica.trading.order import OrderRecord, PositionKey
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.scopes import InstanceState, Scope
from meltica.trading.service import Trading
from meltica.trading.state_machine import OrderMachine
from meltica.trading.trader import InstanceTrader


class Unclosed(NamedTuple):
    """A position that could not be sold."""

    key: PositionKey
    rule: str
    message: str


class Flattened(NamedTuple):
    """What a flatten led to."""

    open: list[OrderRecord]
    """Orders that had not ended in time; the cancels go on."""
    closing: list[OrderRecord]
    """The orders that sell the positions."""
    unclosed: list[Unclosed]


def positions_in(desk: Desk, scope: Scope) -> list[PositionKey]:
    """Returns the positions of a scope. The caller holds the lock of trading."""
    return [
        each.key
        for each in desk.positions
        if each.quantity > 0 and is_in(scope, each.key.owner, each.key.provider)
    ]


def close_positions(
    trading: Trading, ids: ClientOrderIds, keys: Iterable[PositionKey]
) -> tuple[list[OrderMachine], list[Unclosed]]:
    """Sells what is sellable of positions; returns the orders, and what was refused."""
    machines: list[OrderMachine] = []
    unclosed: list[Unclosed] = []
    for key in keys:
        try:
            machine = _close(trading, ids, key)
        except OrderRefused as refused:
            unclosed.append(Unclosed(key, refused.reason, refused.message))
        except MelticaError as error:
            unclosed.append(Unclosed(key, "failed", str(error)))
        else:
            if machine is not None:
                machines.append(machine)
    return machines, unclosed


def _close(trading: Trading, ids: ClientOrderIds, key: PositionKey) -> OrderMachine | None:
    desk, (owner, provider, symbol) = trading.desk, key
    risk = desk.risks[owner.mode]

    def push(machine: OrderMachine) -> None:
        # The order leaves although its instance may be stopped.
        desk.gate.operators.add(machine.record.id)
        trading.push(machine)

    with desk.lock:
        _permit(desk, key)
    scope = {provider: (symbol,)}
    trader = InstanceTrader(
        owner, scope, desk, risk, desk.positions, desk.market, ids, trading.timings, push, lambda _: None
    )
    order = trader.sell_position(symbol, provider)
    return None if order is None else desk.find(order.id)


def _permit(desk: Desk, key: PositionKey) -> None:
    """Adds the symbol to the scope of an instance that does not run, which risk has without one."""
    registry = desk.risks[key.owner.mode].registry
    if registry.may_trade(key.owner, key.provider, key.symbol):
        return
    state = registry.state(Scope.instance(key.owner))
    assert isinstance(state, InstanceState)
    limits = state.limits if isinstance(state.limits, InstanceRiskLimits) else InstanceRiskLimits()
    symbols = {**state.symbols, key.provider: (*state.symbols.get(key.provider, ()), key.symbol)}
    registry.set_instance(key.owner, symbols, limits)
