"""The orders, positions and PnL of one instance, as trading has them in memory."""

from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from meltica.api.envelope import optional
from meltica.api.instances import InstancePnl, InstanceTrading
from meltica.control.routes.positions import position_of
from meltica.control.services import ControlServices
from meltica.model.amounts import amount_text
from meltica.model.enums import Mode, OrderState

if TYPE_CHECKING:
    from uuid import UUID

    from meltica.model.trader import PnlView


def trading_of(
    services: ControlServices, id: str, uid: "UUID", mode: Mode, *, trades: bool
) -> InstanceTrading | UnsetType:
    """Returns the trading of an instance; UNSET if it has none and does not trade."""
    desk = services.trading.desk()
    if desk is None:
        return UNSET
    from meltica.trading.order import Owner
    from meltica.trading.risk.scopes import Scope
    from meltica.trading.stored import position_row
    from meltica.trading.valuation import value

    owner = Owner(id, uid, mode)
    with desk.lock.reading:
        states = [each.record.state for each in desk.open_machines() if each.record.owner == owner]
        positions = list(desk.positions.of_owner(owner))
        if not (trades or states or positions):
            return UNSET
        registry = desk.risks[mode].registry
        known = Scope.instance(owner) in registry.scopes
        currency = registry.currency(Scope.instance(owner)) if known else ""
        pnl = value(positions, desk.market, currency, desk.clock())
        rows = [position_row(each, 0) for each in positions if each.quantity]
    return InstanceTrading(
        mode=mode,
        open_orders=len(states),
        unknown_orders=states.count(OrderState.UNKNOWN),
        positions=[position_of(each) for each in sorted(rows, key=lambda row: (row.provider, row.symbol))],
        pnl=_pnl(pnl),
    )


def mode_of_absent(services: ControlServices, uid: "UUID") -> Mode:
    """Returns the mode in which an instance that is no longer configured has orders or positions."""
    desk = services.trading.desk()
    if desk is None:
        return Mode.PAPER
    with desk.lock.reading:
        owners = {each.record.owner for each in desk.open_machines()}
        owners |= {each.key.owner for each in desk.positions if each.quantity}
    return Mode.LIVE if any((each.uid, each.mode) == (uid, Mode.LIVE) for each in owners) else Mode.PAPER


def _pnl(pnl: "PnlView") -> InstancePnl:
    return InstancePnl(
        currency=optional(pnl.currency),
        realised=amount_text(pnl.realised),
        unrealised=amount_text(pnl.unrealised),
        fees=amount_text(pnl.fees),
        net=amount_text(pnl.net),
        unvalued=list(pnl.unvalued),
    )
