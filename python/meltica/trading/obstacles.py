"""What would refuse an order of an instance now, whatever the order is.

The rules of risk that depend on no order are applied to each symbol of the instance, so the texts are those
that an order would get. A symbol of a wildcard counts once the instance has traded it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import localcontext
from typing import NamedTuple

from meltica.errors import OrderRefused
from meltica.model.symbols import ANY
from meltica.trading.desk import Desk
from meltica.trading.exact import EXACT
from meltica.trading.faults import FaultKind, TradingFault
from meltica.trading.order import Owner
from meltica.trading.risk import rules
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import Lane

EVERYWHERE = {FaultKind.NO_ORDERS, FaultKind.NOT_WRITTEN}
"""Faults that concern the orders of all instances."""
OF_ACCOUNTS = {
    FaultKind.NOT_RECONCILED,
    FaultKind.ORDERS_LOST,
    FaultKind.MISPLACED_ORDER,
    FaultKind.DISAGREEMENT,
    FaultKind.DIFFERENCE,
}
"""Faults that concern the orders at one account."""
OF_INSTANCES = {FaultKind.LEDGER_FROZEN, FaultKind.ABSENT_PROVIDER}
"""Faults that name an instance."""

Scope = Mapping[str, Iterable[str]]


class Obstacle(NamedTuple):
    """Why an order would be refused."""

    rule: str
    """The rule of risk, or the kind of the fault."""
    detail: str
    subject: str
    """The scope, the account, the symbol or the order that it is about."""
    id: str = ""
    """The id of the order whose state is unknown."""


def obstacles(desk: Desk, owner: Owner, scope: Scope, faults: Iterable[TradingFault]) -> list[Obstacle]:
    """Returns the obstacles of an instance, each once. `faults` are those of trading now."""
    found = dict.fromkeys(_of_faults(owner, scope, faults))
    rules_found = {each.rule for each in found}
    with desk.lock, localcontext(EXACT):
        for lane in _lanes(desk, owner, scope):
            for obstacle in _of_lane(desk, lane):
                # A fault says more than the rule that follows from it.
                if obstacle.rule not in rules_found:
                    found[obstacle] = None
    return list(found)


def _of_faults(owner: Owner, scope: Scope, faults: Iterable[TradingFault]) -> Iterator[Obstacle]:
    for fault in faults:
        of_account = fault.kind in OF_ACCOUNTS and fault.provider in scope and fault.mode is owner.mode
        of_instance = fault.kind in OF_INSTANCES and fault.subject == owner.instance
        if fault.kind in EVERYWHERE or of_account or of_instance:
            parts = (fault.provider, None if fault.mode is None else fault.mode.value, fault.subject)
            yield Obstacle(fault.kind.value, fault.detail, " ".join(each for each in parts if each))


def _lanes(desk: Desk, owner: Owner, scope: Scope) -> list[Lane]:
    registry = desk.risks[owner.mode].registry
    pairs = [(name, symbol) for name, symbols in scope.items() for symbol in symbols if symbol != ANY]
    pairs += [(name, symbol) for each, name, symbol in registry.lanes if each == owner]
    return [
        registry.lane(owner, name, symbol)
        for name, symbol in dict.fromkeys(pairs)
        if registry.may_trade(owner, name, symbol)
    ]


def _of_lane(desk: Desk, lane: Lane) -> Iterator[Obstacle]:
    now, symbol = desk.clock(), f"{lane.listing.provider} {lane.listing.symbol}"
    for state in lane.states:
        if state.halt is not None:
            text = f"halted by {state.halt.by}: {state.halt.reason}"
            yield Obstacle(Rule.HALTED.value, text, str(state.scope))
    for id in sorted(lane.listing.unknown):
        machine = desk.find(id)
        if machine is not None:
            order = machine.record
            text = f"the state of order {order.client_order_id} of {order.owner.instance} is unknown"
            yield Obstacle(Rule.UNKNOWN_ORDER.value, f"{text}: {order.reason}", symbol, str(id))
    checks: tuple[tuple[str, Callable[[], object]], ...] = (
        (lane.owner.instance, lambda: rules.check_state(lane, now, reduce_only=False)),
        (lane.owner.instance, lambda: rules.check_reconciled(lane)),
        (symbol, lambda: rules.check_listed(lane)),
        (symbol, lambda: rules.check_market(lane, desk.market, now, rests=True)),
    )
    for subject, check in checks:
        try:
            check()
        except OrderRefused as refused:
            if refused.rule not in (Rule.HALTED, Rule.UNKNOWN_ORDER):  # above, with their causes
                yield Obstacle(refused.rule, refused.message, subject)
