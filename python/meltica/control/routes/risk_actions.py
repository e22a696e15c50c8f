"""`POST /risk/halt`, `/resume` and `/flatten`."""

from typing import TYPE_CHECKING

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from meltica.api.operations import FlattenResult, ScopeChange, ScopeRequest, Unclosed
from meltica.control.access import OPERATOR
from meltica.control.bodies import QUERY, checked
from meltica.control.changes import ChangeRunner
from meltica.control.operations import act_of, existing_scope, operator_of, run, scope_of
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, response
from meltica.control.services import ControlServices
from meltica.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from meltica.trading.operator import Act
    from meltica.trading.risk.scopes import Scope

LATE = response(202, ScopeChange, "The change acts and is not recorded yet")
CLOSING = response(202, FlattenResult, "It goes on: see the orders and positions")


class RiskActionsController(Controller):
    """Halts of scopes."""

    path = "/risk"
    tags = ["risk"]
    guards = [OPERATOR]

    @post(
        "/halt",
        status_code=200,
        summary="Halt a scope",
        operation_id="haltScope",
        opt={QUERY: CHANGE_QUERY},
        responses=LATE | NOT_FOUND,
    )
    async def halt(
        self,
        data: JSONBody[ScopeRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[ScopeChange]:
        """Halts a scope and cancels its open orders. Raises NotFound and DatabaseUnavailable."""
        scope, act = checked(lambda: existing_scope(data.scope, services), lambda: act_of(actor, data.reason))
        operator = services.trading.operator()
        try:
            with precondition.rehearsal():
                if operator is None:
                    work = services.trading.halts.halt(scope.kind, scope.name, act.why, act.by)
                else:
                    work = operator.halt(scope, act)
                changed = await run(changes, work, f"halt of {scope}", acts=operator is not None)
        except DatabaseUnavailable:
            if operator is None:
                raise
            changed = None
        return _response(str(scope), changed, halted=True)

    @post(
        "/resume",
        status_code=200,
        summary="Resume a scope",
        operation_id="resumeScope",
        opt={QUERY: CHANGE_QUERY},
        responses=NOT_FOUND,
    )
    async def resume(
        self,
        data: JSONBody[ScopeRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[ScopeChange]:
        """Ends the halts of a scope and the cooldown of its breaker.

        Raises DatabaseUnavailable, and NotFound for a scope that neither is halted nor exists.
        """
        scope, act = checked(lambda: scope_of(data.scope), lambda: act_of(actor, data.reason))
        with precondition.rehearsal():
            changed = await run(changes, _resume(services, scope, act), f"resume of {scope}", acts=False)
        return _response(str(scope), changed, halted=False)

    @post(
        "/flatten",
        status_code=200,
        summary="Halt a scope and sell the positions of its instances",
        operation_id="flattenScope",
        opt={QUERY: CHANGE_QUERY},
        responses=CLOSING | NOT_FOUND | CONFLICT,
    )
    async def flatten(
        self,
        data: JSONBody[ScopeRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[FlattenResult]:
        """Halts a scope, cancels its orders and sells its positions. Raises Conflict while nothing trades."""
        scope, act = checked(lambda: existing_scope(data.scope, services), lambda: act_of(actor, data.reason))
        operator = operator_of(services)
        with precondition.rehearsal():
            work = operator.flatten(scope, act)
            done = await run(changes, work, f"flatten of {scope}")
        if done is None:
            body = FlattenResult(scope=str(scope), complete=False, open=[], closing=[], unclosed=[])
            return Response(body, status_code=202, headers={"Location": "/risk/status"})
        unclosed = [
            Unclosed(
                instance=each.key.owner.instance,
                provider=each.key.provider,
                symbol=each.key.symbol,
                mode=each.key.owner.mode,
                rule=each.rule,
                message=each.message,
            )
            for each in done.unclosed
        ]
        body = FlattenResult(
            scope=str(scope),
            complete=not done.open and not unclosed,
            open=[str(each.id) for each in done.open],
            closing=[str(each.id) for each in done.closing],
            unclosed=unclosed,
        )
        return Response(body, status_code=200)


async def _resume(services: ControlServices, scope: "Scope", act: "Act") -> bool:
    """Resumes a scope. Raises NotFound unless it exists or is halted: it may have been deleted since."""
    halts = services.trading.halts
    if (scope.kind, scope.name) not in {(each.scope, each.subject) for each in await halts.active()}:
        existing_scope(str(scope), services)
    operator = services.trading.operator()
    if operator is None:
        return await halts.clear(scope.kind, scope.name, act.why, act.by)
    return await operator.resume(scope, act)


def _response(scope: str, changed: bool | None, *, halted: bool) -> Response[ScopeChange]:
    if changed is None:
        return Response(ScopeChange(scope=scope, halted=halted, recorded=False), status_code=202)
    return Response(ScopeChange(scope=scope, halted=halted, changed=changed), status_code=200)
