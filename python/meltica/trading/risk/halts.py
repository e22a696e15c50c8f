"""Halts of scopes: by an operator, by breaches, by losses, and by fills that pass a limit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from meltica.model.amounts import amount_text
from meltica.persistence.stores.trading.rows import Verdict
from meltica.trading.order import Owner
from meltica.trading.risk.events import EventLog, HaltChange
from meltica.trading.risk.limits import InstanceRiskLimits, Resolved
from meltica.trading.risk.loss import Loss
from meltica.trading.risk.registry import Registry
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import Halt, InstanceState, Lane, Scope, ScopeState

BY_RISK = "meltica"
"""Who halted a scope, if no operator did."""

Rates = Callable[[str, str], Decimal | None]
"""(currency, into) -> the rate at the provider of a fill; None without a fresh one."""


@dataclass(frozen=True, slots=True)
class ScopeStatus:
    """The state of one scope."""

    scope: Scope
    halt: Halt | None
    open_orders: int
    breaches: int
    """Breaches that count now; 0 for scopes other than instances."""
    breaker_open_until: int | None
    loss: Loss


class Halts:
    """Halts and resumes scopes. The methods expect the exact decimal context."""

    def __init__(self, registry: Registry, events: EventLog) -> None:
        self._registry = registry
        self._events = events

    def halt(self, scope: Scope, halt: Halt, *, is_stored: bool = False) -> bool:
        """Halts a scope; returns False if it is halted already. One that is stored becomes no event."""
        state = self._registry.state(scope)
        if state.halt is not None:
            return False
        state.halt = halt
        if not is_stored:
            self._events.add(HaltChange(halt.since, scope, halt, halt.by))
        return True

    def resume(self, scope: Scope, by: str, now: int) -> bool:
        """Ends a halt or the cooldown of a breaker; returns False if the scope has neither.

        The breaches of an instance are forgotten. After a halt by drawdown, the drawdown is measured from the
        latest profit on. A daily loss stays: while it is at its limit, the next valuation halts again.
        """
        state = self._registry.state(scope)
        paused = isinstance(state, InstanceState) and state.breaches.is_open(now)
        if state.halt is None and not paused:
            return False
        if state.halt is not None and state.halt.rule == Rule.DRAWDOWN.value:
            state.loss.restart_peak()
        state.halt = None
        if isinstance(state, InstanceState):
            state.breaches.reset()
        self._events.add(HaltChange(now, scope, None, by))
        return True

    def status(self, scope: Scope, now: int) -> ScopeStatus:
        """Returns the state of a scope."""
        state = self._registry.state(scope)
        breaches, until = 0, None
        if isinstance(state, InstanceState):
            breaches = state.breaches.current(now)
            until = state.breaches.closed_at if state.breaches.is_open(now) else None
        return ScopeStatus(scope, state.halt, state.open_orders, breaches, until, replace(state.loss))

    def mark(self, scope: Scope, profit: Decimal | None, equity: Decimal | None, now: int) -> None:
        """Takes the valuation of a scope in its `notionalCurrency`, and halts the scope at its limits.

        `profit` is realised + unrealised - fees since the scope exists; None while a position cannot be
        valued. `equity` is what a drawdown is measured against; for an instance it is its capital instead.
        """
        state = self._registry.state(scope)
        limits, loss = state.limits, state.loss
        self._keep_loss(state, now)
        loss.set_currency(self._registry.currency(scope))
        loss.mark(profit, limits.capital if isinstance(limits, InstanceRiskLimits) else equity, now)
        if profit is None:
            return
        most = limits.max_daily_loss
        if most is not None and loss.daily_loss >= most:
            text = f"the loss of the day is {amount_text(loss.daily_loss)}, of {most} allowed"
            self._halt(state, Rule.DAILY_LOSS.value, text, now)
        percent = limits.max_drawdown_percent
        if percent is not None and loss.reaches_drawdown(percent):
            text = (
                f"the profit fell from {_text(loss.peak)} to {_text(profit)}, by at least {percent} % of"
                f" {_text(loss.base)}"
            )
            self._halt(state, Rule.DRAWDOWN.value, text, now)

    def _keep_loss(self, state: ScopeState, now: int) -> None:
        """Halts a scope whose `notionalCurrency` changed while it has a loss: amounts are not converted."""
        limits, loss = state.limits, state.loss
        currency = self._registry.currency(state.scope)
        if loss.currency in ("", currency):
            return
        rule, lost = None, ""
        if limits.max_daily_loss is not None and loss.has_loss_of_day(now):
            rule, lost = Rule.DAILY_LOSS, f"the loss of the day is {amount_text(loss.daily_loss)}"
        elif limits.max_drawdown_percent is not None and loss.has_fallen:
            rule, lost = Rule.DRAWDOWN, "the profit is below its peak"
        if rule is not None:
            text = (
                f"notionalCurrency changed from {loss.currency} to {currency}: {lost} in {loss.currency},"
                " which is not converted; set it back, or resume and measure from 0"
            )
            self._halt(state, rule.value, text, now)

    def count(self, owner: Owner, limits: Resolved, rule: str, message: str, now: int) -> Verdict:
        """Counts a breach of an instance, which may open its breaker or halt it."""
        state = self._registry.state(Scope.instance(owner))
        assert isinstance(state, InstanceState)
        verdict = state.breaches.count(now, limits)
        if verdict is Verdict.HALT:
            breaches = len(state.breaches.times)
            text = f"{breaches} breaches within 10 minutes; the last one is {rule}: {message}"
            self._halt(state, "max_risk_breaches", text, now)
        return verdict

    def check_overrun(self, lane: Lane, price: Decimal, rates: Rates, now: int) -> str | None:
        """Halts each scope whose position passes a limit after a buy, and returns the first rule.

        Without a rate, the notional is not judged here: new orders are refused without it.
        """
        quote = lane.listing.quote.currency
        first: str | None = None
        for state, exposure, max_position, max_notional, currency, _, _ in lane.scopes:
            rule, text = None, ""
            if max_position is not None and exposure.held > max_position:
                rule = Rule.POSITION
                text = f"a fill led to a position of {_text(exposure.held)}, of {max_position} allowed"
            elif max_notional is not None:
                factor = rates(quote, currency)
                value = None if factor is None else exposure.held * price * factor
                if value is not None and value > max_notional:
                    rule = Rule.NOTIONAL
                    text = f"a fill led to {_text(value)} {currency}, of {max_notional} allowed"
            if rule is not None:
                self._halt(state, rule.value, text, now)
                first = first or rule.value
        return first

    def _halt(self, state: ScopeState, rule: str, reason: str, now: int) -> None:
        """Halts a scope in this mode only: limits and losses are per mode."""
        self.halt(state.scope, Halt(rule, reason, BY_RISK, now, self._registry.mode))


def _text(amount: Decimal | None) -> str:
    return "unknown" if amount is None else amount_text(amount)
