"""Operations of clients on trading: who acts and why, and how long a response waits."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from msgspec import UNSET, UnsetType

from meltica.control.bodies import invalid
from meltica.control.changes import ChangeRunner
from meltica.control.services import ControlServices
from meltica.errors import Conflict, NotFound, suggestion
from meltica.model.enums import Mode
from meltica.model.symbols import canonical
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.telemetry.trace_context import current

if TYPE_CHECKING:
    from meltica.trading.operator import Act, Operator
    from meltica.trading.order import Owner
    from meltica.trading.risk.scopes import Scope

MAX_REASON = 4096
T = TypeVar("T")


def act_of(actor: str, reason: str) -> "Act":
    """Returns who acts and why. Raises HttpError for a reason that cannot be recorded."""
    from meltica.trading.operator import Act

    if not reason.strip() or "\0" in reason or len(reason.encode()) > MAX_REASON:
        text = f"`reason`: expected a text of at most {MAX_REASON} bytes, which is recorded"
        raise invalid([(("reason",), text)])
    return Act(actor, reason)


def scope_of(text: str) -> "Scope":
    """Returns a scope. Raises HttpError for another text."""
    from meltica.trading.risk.scopes import Scope

    kind, _, name = text.partition(":")
    if kind not in list(HaltScope) or bool(name) == (kind == HaltScope.GLOBAL):
        expected = "expected `global`, `provider:NAME` or `instance:ID`"
        raise invalid([(("scope",), f"`scope`: {expected}, saw `{text}`")])
    return Scope(HaltScope(kind), name)


def existing_scope(text: str, services: ControlServices) -> "Scope":
    """Returns a scope that is stored, or that has orders or positions. Raises HttpError and NotFound."""
    scope, desk = scope_of(text), services.trading.desk()
    if desk is not None:
        with desk.lock.reading:
            if any(scope in risk.registry.scopes for risk in desk.risks.values()):
                return scope
    if scope.kind is HaltScope.PROVIDER:
        services.providers.get(scope.name)
    elif scope.kind is HaltScope.INSTANCE:
        instances = services.instances
        if scope.name not in {row.id for row in instances.absent()}:
            instances.get(scope.name)
    return scope


def existing_symbol(text: str, services: ControlServices) -> str:
    """Returns a symbol that a provider lists, or that an open order has. Raises HttpError and NotFound.

    A cancel of the orders in a misspelt symbol must not look like a success.
    """
    try:
        symbol = canonical(text.strip())
    except ValueError as error:
        raise invalid([(("symbol",), f"`symbol`: {error}")]) from None
    known = {str(each["symbol"]) for provider in services.providers.all() for each in provider.instruments}
    if (desk := services.trading.desk()) is not None:
        with desk.lock.reading:
            known |= {each.record.symbol for each in desk.open_machines()}
    if known and symbol not in known:
        raise NotFound(f"no provider lists the symbol `{symbol}`{suggestion(symbol, known)}")
    return symbol


def operator_of(services: ControlServices) -> "Operator":
    """Returns the operator of trading. Raises Conflict while nothing trades."""
    operator = services.trading.operator()
    if operator is None:
        raise Conflict("nothing changed: trading is not running, as no instance trades and no order is open")
    return operator


def owner_of(services: ControlServices, instance: str, mode: Mode, uid: UUID | UnsetType) -> "Owner":
    """Returns the creation of an instance that has a position. Raises NotFound, and Conflict for several."""
    desk = operator_of(services) and services.trading.desk()
    assert desk is not None, "an operator acts on it"
    with desk.lock.reading:
        owners = {
            each.key.owner
            for each in desk.positions
            if each.quantity and (each.key.owner.instance, each.key.owner.mode) == (instance, mode)
        }
    found = [each for each in owners if uid is UNSET or each.uid == uid]
    if not found:
        raise NotFound(f"{instance} has no position, mode {mode.value}")
    if len(found) > 1:
        uids = ", ".join(sorted(str(each.uid) for each in found))
        raise Conflict(f"{instance} was created several times: add `uid`, one of {uids}")
    return found[0]


def owner_of_lost(services: ControlServices, instance: str, mode: Mode) -> "Owner":
    """Returns the owner of an order that is adopted. Raises NotFound, and Conflict for another mode."""
    from meltica.trading.order import Owner

    trades = Mode.PAPER if services.instances.get(instance).spec.dry_run else Mode.LIVE
    if trades is not mode:
        raise Conflict(f"order not adopted: {instance} trades {trades.value}, and the order is {mode.value}")
    return Owner(instance, services.instances.stored(instance).uid, mode)


async def run(
    changes: ChangeRunner, work: Coroutine[Any, Any, T], name: str, *, acts: bool = True
) -> T | None:
    """Runs an operation; returns its result, or None if it goes on in the background.

    One that acts only when the database has it is in doubt then: raises ChangeInDoubt without `acts`.
    """
    results: list[T] = []
    trace = current.get()

    async def keep() -> None:
        # In the context of the change, which ends with it: events of what it changed have the trace.
        current.set(trace)
        results.append(await work)

    await changes.run(keep(), name, lambda: acts)
    return results[0] if results else None
