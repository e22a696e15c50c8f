"""The state of risk as rows, and back: losses, breaches, throttles, halts, refusals.

Reservations have no rows of their own: `Risk.restore_order` makes them from the records of open orders.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal

from meltica.model.amounts import amount_text
from meltica.persistence.stores.trading.halts import ActiveHalt
from meltica.persistence.stores.trading.rows import HaltRow, RefusalRow, RiskStateRow, Row
from meltica.trading.risk.events import HaltChange, RiskEvent
from meltica.trading.risk.refusals import Refusal
from meltica.trading.risk.registry import Registry
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import Halt, InstanceState, Scope, ScopeState

_EPOCH = date(1970, 1, 1)


def risk_rows(events: Iterable[RiskEvent]) -> Iterator[Row]:
    """Yields the rows of what risk decided: refusals and halts."""
    for event in events:
        match event:
            case Refusal():
                yield refusal_row(event)
            case HaltChange(halt=halt, scope=scope) if halt is not None:
                yield halt_row(scope, halt)
            case _:
                pass


def refusal_row(refusal: Refusal) -> RefusalRow:
    """Returns the row of a refusal."""
    owner = refusal.owner
    return RefusalRow(
        refused_at=refusal.time,
        instance=owner.instance,
        uid=owner.uid,
        mode=owner.mode,
        revision=owner.revision,
        provider=refusal.provider,
        symbol=refusal.symbol,
        order_id=refusal.order_id,
        rule=refusal.rule,
        message=refusal.message,
        seen=_text(refusal.seen),
        limit=_text(refusal.limit),
        verdict=refusal.verdict,
        count=refusal.times,
        last_refused_at=refusal.last or refusal.time,
        intent_at=refusal.intent_at,
        trigger=refusal.trigger,
    )


def halt_of(row: HaltRow, since: int) -> Halt:
    """Returns the halt of a row."""
    return Halt(row.rule, row.reason, row.halted_by, since, row.mode)


def halt_row(scope: Scope, halt: Halt) -> HaltRow:
    """Returns the row of a halt."""
    return HaltRow(
        scope=scope.kind,
        subject=scope.name,
        rule=halt.rule,
        reason=halt.reason,
        halted_by=halt.by,
        mode=halt.mode,
    )


def state_rows(risk: Risk, now: int) -> list[RiskStateRow]:
    """Returns the rows of all scopes."""
    return [_state_row(risk.registry, state, now) for state in risk.registry.scopes.values()]


def load_state(risk: Risk, rows: Iterable[RiskStateRow], halts: Iterable[ActiveHalt]) -> None:
    """Rebuilds losses, breaches, throttles and halts from their rows, before the first order.

    Limits, instances and instruments are set first: throttles without a limit are dropped.
    """
    for row in rows:
        if row.mode is risk.registry.mode:
            _load_row(risk.registry, row)
    for halt in halts:
        if halt.mode in (None, risk.registry.mode):
            since = halt.halted_at - datetime.fromtimestamp(0, halt.halted_at.tzinfo)
            since = since // timedelta(microseconds=1) * 1000
            risk.restore_halt(Scope(halt.scope, halt.subject), halt_of(halt, since))


def _state_row(registry: Registry, state: ScopeState, now: int) -> RiskStateRow:
    loss = state.loss
    breaches = state.breaches if isinstance(state, InstanceState) else None
    return RiskStateRow(
        scope=state.scope.kind,
        subject=state.scope.name,
        mode=registry.mode,
        day=None if loss.day is None else _EPOCH + timedelta(days=loss.day),
        currency=loss.currency or registry.currency(state.scope),
        opening=loss.opening,
        profit=loss.profit,
        peak=loss.peak,
        base=loss.base,
        valued_at=loss.valued_at,
        breaches=[] if breaches is None else list(breaches.times),
        breaker_until=0 if breaches is None else breaches.closed_at,
        breaker_cooldown=0 if breaches is None else breaches.cooldown,
        throttle_full_at=max((bucket.full_at for bucket in registry.buckets(state)), default=None),
        updated_at=now,
    )


def _load_row(registry: Registry, row: RiskStateRow) -> None:
    state = registry.state(Scope(row.scope, row.subject))
    loss = state.loss
    # The limits, and with them the currency of the next valuation, may be set later.
    loss.currency = "" if row.day is None else row.currency
    loss.day = None if row.day is None else (row.day - _EPOCH).days
    loss.opening, loss.profit, loss.peak, loss.base = row.opening, row.profit, row.peak, row.base
    loss.valued_at = row.valued_at
    if isinstance(state, InstanceState):
        state.breaches.times.clear()
        state.breaches.times.extend(row.breaches)
        state.breaches.closed_at, state.breaches.cooldown = row.breaker_until, row.breaker_cooldown
    for bucket in registry.buckets(state):
        # Of the throttles of a provider's symbols, the row has the one with the fewest tokens.
        bucket.full_at = row.throttle_full_at or 0


def _text(value: object) -> str | None:
    if value is None:
        return None
    return amount_text(value) if isinstance(value, Decimal) else str(value)
