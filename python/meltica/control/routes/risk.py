"""`/risk/limits` and `/risk/status`: what orders are checked against, and what is halted or wrong."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from litestar import Controller, Response, get, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, optional
from meltica.api.risk import (
    ActiveHalt,
    LimitUsage,
    RiskLimits,
    RiskLimitsOfScopes,
    RiskStatus,
    ScopeStatus,
    TradingFault,
)
from meltica.control.access import OPERATOR, VIEWER
from meltica.control.bodies import QUERY
from meltica.control.changes import ChangeRunner
from meltica.control.limit_changes import changed_limits, configured, limits_of
from meltica.control.preconditions import CHANGE_QUERY, Precondition, etag
from meltica.control.routes.openapi import CONFLICT, PRECONDITION
from meltica.control.services import ControlServices
from meltica.control.trading import TradingReads
from meltica.model.amounts import amount_text
from meltica.trading.exact import subtract
from meltica.trading.risk.configured import GLOBAL, INSTANCE, PROVIDER, as_json

if TYPE_CHECKING:
    from meltica.trading import faults
    from meltica.trading.desk import Desk
    from meltica.trading.risk import halts, limits, usage

MS = 10**6


class RiskController(Controller):
    """Limits and state of risk."""

    path = "/risk"
    tags = ["risk"]
    guards = [VIEWER]

    @get("/limits", summary="Get the limits of all scopes", operation_id="getRiskLimits")
    async def limits(self, services: NamedDependency[ControlServices]) -> Response[RiskLimitsOfScopes]:
        """Returns the limits that are in force."""
        return _response(services)

    @put(
        "/limits",
        status_code=200,
        summary="Change limits",
        description="An absent limit is kept, null removes one. They apply at once and after a restart.",
        operation_id="updateRiskLimits",
        guards=[OPERATOR],
        responses=CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def update_limits(
        self,
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[RiskLimitsOfScopes]:
        """Changes limits. Raises HttpError, Conflict and DatabaseUnavailable."""

        def declare() -> "dict[str, limits.RiskLimits]":
            wanted = changed_limits(services, data)
            before = configured(services)
            after = before | {scope: as_json(each) for scope, each in wanted.items()}
            precondition.check("update", before, after)
            return wanted

        await changes.run(services.trading.limits.change(declare), "change of limits", lambda: False)
        return _response(services, status="updated")

    @get(
        "/status",
        summary="Get what is halted or wrong",
        operation_id="getRiskStatus",
    )
    async def status(self, services: NamedDependency[ControlServices]) -> RiskStatus:
        """Returns the state of risk, also while the database is unavailable if anything trades.

        Raises DatabaseUnavailable.
        """
        desk = services.trading.desk()
        if desk is None:
            halts = await stored_halts(services.trading)
            return RiskStatus(trading=False, halts=halts, scopes=[], faults=[])
        halts, scopes = _state(desk)
        faults = [_fault(each) for each in services.trading.faults()]
        return RiskStatus(trading=True, halts=halts, scopes=scopes, faults=faults)


def _response(
    services: ControlServices, status: Literal["updated"] | UnsetType = UNSET
) -> Response[RiskLimitsOfScopes]:
    """Returns the limits of all scopes, with their version."""
    book = services.trading.limits
    body = RiskLimitsOfScopes(
        limits=limits_of(book.of(GLOBAL)),
        providers=_of_scopes(book.all(), PROVIDER),
        instances=_of_scopes(book.all(), INSTANCE),
        status=status,
    )
    return Response(body, headers={"etag": etag(configured(services))})


def _of_scopes(scopes: "Mapping[str, limits.RiskLimits]", prefix: str) -> dict[str, RiskLimits]:
    found = {
        scope.removeprefix(prefix): limits_of(each)
        for scope, each in sorted(scopes.items())
        if scope.startswith(prefix)
    }
    return {name: each for name, each in found.items() if each != RiskLimits()}


async def stored_halts(trading: TradingReads) -> list[ActiveHalt]:
    """Returns the halts in the database. Raises DatabaseUnavailable."""
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
    from meltica.trading.risk.usage import usage

    halts: dict[object, ActiveHalt] = {}
    scopes: list[ScopeStatus] = []
    with desk.lock.reading:
        now = desk.clock()
        for mode, risk in desk.risks.items():
            for scope in list(risk.registry.scopes):
                status = risk.status(scope, now)
                scopes.append(_scope(mode, status, usage(risk.registry, scope, desk.market, now)))
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


def _scope(mode: Any, status: "halts.ScopeStatus", used: "list[usage.Usage]") -> ScopeStatus:
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
        limits=[_usage(each) for each in used],
    )


def _usage(usage: "usage.Usage") -> LimitUsage:
    return LimitUsage(
        rule=usage.rule,
        symbol=optional(usage.symbol),
        currency=optional(usage.currency),
        limit=amount_text(usage.limit),
        used=_text(usage.used),
        distance=_text(None if usage.used is None else subtract(usage.limit, usage.used)),
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
