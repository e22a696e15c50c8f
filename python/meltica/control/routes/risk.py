"""`/risk/limits` and `/risk/status`: what orders are checked against, and what is halted or wrong."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from msgspec import UNSET, UnsetType

from meltica.api.envelope import optional, without_nulls
from meltica.api.risk import (
    ActiveHalt,
    RiskLimits,
    RiskLimitsOfScopes,
    RiskStatus,
    ScopeStatus,
    TradingFault,
)
from meltica.control.access import VIEWER
from meltica.control.routes.openapi import UNAVAILABLE
from meltica.control.services import ControlServices
from meltica.control.trading import TradingReads
from meltica.model.amounts import amount_text
from meltica.validation.models import masked

if TYPE_CHECKING:
    from meltica.trading import faults
    from meltica.trading.desk import Desk
    from meltica.trading.risk import halts, limits

MS = 10**6
_NUMBERS = frozenset({"orderThrottle", "priceBandPercent", "maxDrawdownPercent", "staleMarketSeconds"})
"""Limits that existing clients read as numbers; the others are amounts."""


class RiskController(Controller):
    """Limits and state of risk."""

    path = "/risk"
    tags = ["risk"]
    guards = [VIEWER]

    @get("/limits", summary="Get the limits of all scopes", operation_id="getRiskLimits")
    async def limits(self, services: NamedDependency[ControlServices]) -> RiskLimitsOfScopes:
        """Returns the configured limits."""
        trading = services.trading
        return RiskLimitsOfScopes(
            limits=_limits(trading.limits),
            providers=_all(trading.provider_limits),
            instances=_all(trading.instance_limits),
        )

    @get(
        "/status",
        summary="Get what is halted or wrong",
        operation_id="getRiskStatus",
        responses=UNAVAILABLE,
    )
    async def status(self, services: NamedDependency[ControlServices]) -> RiskStatus:
        """Returns the state of risk, also while the database is unavailable if anything trades.

        Raises DatabaseUnavailable.
        """
        desk = services.trading.desk()
        if desk is None:
            halts = await _stored_halts(services.trading)
            return RiskStatus(trading=False, halts=halts, scopes=[], faults=[])
        halts, scopes = _state(desk)
        faults = [_fault(each) for each in services.trading.faults()]
        return RiskStatus(trading=True, halts=halts, scopes=scopes, faults=faults)


def _all(scopes: "Mapping[str, limits.RiskLimits]") -> dict[str, RiskLimits]:
    found = {name: _limits(each) for name, each in scopes.items()}
    return {name: each for name, each in found.items() if each != RiskLimits()}


def _limits(section: "limits.RiskLimits") -> RiskLimits:
    dumped: dict[str, Any] = without_nulls(masked(section))
    values = {name: float(each) if name in _NUMBERS else each for name, each in dumped.items()}
    return msgspec.convert(values, RiskLimits)


async def _stored_halts(trading: TradingReads) -> list[ActiveHalt]:
    return [
        ActiveHalt(
            scope=f"{halt.scope}:{halt.subject}" if halt.subject else halt.scope.value,
            rule=halt.rule,
            reason=halt.reason,
            halted_by=halt.halted_by,
            halted_at=int(halt.halted_at.timestamp() * 1000),
            mode=UNSET if halt.mode is None else halt.mode,
        )
        for halt in await trading.halts.active()
    ]


def _state(desk: "Desk") -> tuple[list[ActiveHalt], list[ScopeStatus]]:
    halts: dict[object, ActiveHalt] = {}
    scopes: list[ScopeStatus] = []
    with desk.lock.reading:
        now = desk.clock()
        for mode, risk in desk.risks.items():
            for scope in list(risk.registry.scopes):
                status = risk.status(scope, now)
                scopes.append(_scope(mode, status))
                if status.halt is not None:
                    halts.setdefault((scope, status.halt.mode), _halt(str(scope), status.halt))
    return list(halts.values()), scopes


def _halt(scope: str, halt: "halts.Halt") -> ActiveHalt:
    return ActiveHalt(
        scope=scope,
        rule=halt.rule,
        reason=halt.reason,
        halted_by=halt.by,
        halted_at=halt.since // MS,
        mode=UNSET if halt.mode is None else halt.mode,
    )


def _scope(mode: Any, status: "halts.ScopeStatus") -> ScopeStatus:
    loss, until = status.loss, status.breaker_open_until
    return ScopeStatus(
        mode=mode,
        scope=str(status.scope),
        halted=status.halt is not None,
        open_orders=status.open_orders,
        breaches=status.breaches,
        breaker_open_until=UNSET if until is None else until // MS,
        profit=_text(loss.profit),
        daily_loss=UNSET if loss.profit is None else _text(loss.daily_loss),
        peak=_text(loss.peak),
    )


def _fault(fault: "faults.TradingFault") -> TradingFault:
    return TradingFault(
        kind=fault.kind.value,
        detail=fault.detail,
        provider=optional(fault.provider),
        mode=UNSET if fault.mode is None else fault.mode,
        subject=optional(fault.subject),
    )


def _text(amount: Decimal | None) -> str | UnsetType:
    return UNSET if amount is None else amount_text(amount)
