"""`LossWatch`: values positions and accounts at market prices, for the limits of losses, once a second.

A scope with a position that has no fresh price, or whose fees or quote have no rate, has no value: orders
that add risk in it are refused until it has one. The state of risk is written when it changes, but a profit
at most every `WRITE_PROFIT`.
"""

from collections.abc import Iterator
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation

from meltica.model.enums import Mode
from meltica.model.symbols import currencies
from meltica.persistence.stores.trading.rows import RiskStateRow, Row
from meltica.trading.desk import SECOND, Desk
from meltica.trading.exact import ZERO, add, multiply
from meltica.trading.halt_watch import cancel_in
from meltica.trading.order import PositionKey
from meltica.trading.positions import Position
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.market import rate
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import GLOBAL, InstanceState, Scope
from meltica.trading.risk.stored import state_rows
from meltica.trading.stored import position_row

WRITE_PROFIT = 10 * SECOND
"""Nanoseconds between two writes of a profit that changed, and of peaks of positions."""

_PLACES = Decimal("1e-18")
_DOWN = Context(prec=400, rounding=ROUND_FLOOR, traps=[InvalidOperation])


class LossWatch:
    """The values of all scopes. The methods take the lock of trading."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._written: dict[tuple[Mode, Scope], RiskStateRow] = {}
        self._peaks: dict[PositionKey, Position] = {}
        """Positions whose peak rose since it was written."""
        self._peaks_at = 0

    def mark(self) -> None:
        """Values everything now, halts scopes at their limits of loss and cancels their open orders."""
        desk = self._desk
        with desk.lock:
            now = desk.clock()
            routes = self._routes()
            for risk in desk.risks.values():
                self._mark(risk, now)
            desk.pending.write(self._rows(now, everything=False))
            wants_routes = self._routes() > routes
        desk.wake()
        if wants_routes:
            desk.on_routes()

    def close(self) -> None:
        """Writes the state of risk as it is."""
        with self._desk.lock:
            self._desk.pending.write(self._rows(self._desk.clock(), everything=True))

    def _routes(self) -> int:
        return sum(len(risk.registry.fee_pairs) for risk in self._desk.risks.values())

    def _mark(self, risk: Risk, now: int) -> None:
        profits = self._profits(risk, now)
        for scope, state in list(risk.registry.scopes.items()):
            if isinstance(state, InstanceState) and not isinstance(state.limits, InstanceRiskLimits):
                continue  # it has a state of an earlier run in this mode, and no limits or currency
            was_halted = state.halt is not None
            has_drawdown = state.limits.max_drawdown_percent is not None
            equity = self._equity(risk, scope, now) if has_drawdown else None
            profit = profits.get(scope, ZERO)
            risk.mark(scope, None if profit is None else _DOWN.quantize(profit, _PLACES), equity, now)
            if state.halt is not None and not was_halted:
                cancel_in(self._desk, scope, risk.registry.mode)

    def _profits(self, risk: Risk, now: int) -> dict[Scope, Decimal | None]:
        """Returns the profit of each scope with positions, in its currency; None for one without a value."""
        profits: dict[Scope, Decimal | None] = {}
        for position in self._desk.positions:
            owner, provider, symbol = position.key
            if owner.mode is not risk.registry.mode:
                continue
            quote = currencies(symbol)[1]
            stale = risk.registry.lane(owner, provider, symbol).limits.stale_ns
            net = self._net(risk, position, now, stale)
            for scope in (GLOBAL, Scope.provider(provider), Scope.instance(owner)):
                into = risk.registry.currency(scope)
                factor = rate(self._desk.market, provider, quote, into, now, stale)
                before = profits.get(scope, ZERO)
                if net is None or factor is None or before is None:
                    profits[scope] = None
                else:
                    profits[scope] = add(before, multiply(net, factor))
        return profits

    def _net(self, risk: Risk, position: Position, now: int, stale: int | None) -> Decimal | None:
        """Returns the net PnL of a position in its quote currency; None if it cannot be valued."""
        _, provider, symbol = position.key
        market, (base, quote) = self._desk.market, currencies(symbol)
        price = rate(market, provider, base, quote, now, stale) if position.quantity else ZERO
        if price is None:
            return None
        others = [each for each, fee in position.fees.items() if fee and each not in (base, quote)]
        risk.registry.fee_pairs.update((provider, each, quote) for each in others)
        found = {each: rate(market, provider, each, quote, now, stale) for each in others}
        rates = {each: value for each, value in found.items() if value is not None}
        pnl = position.pnl(price, rates)
        if pnl.unvalued:
            return None
        peak = position.peak
        position.mark(_DOWN.quantize(pnl.net, _PLACES))
        if position.peak != peak:
            self._peaks[position.key] = position
        return pnl.net

    def _equity(self, risk: Risk, scope: Scope, now: int) -> Decimal:
        """Returns the value of the accounts of a scope; currencies without a rate count as nothing."""
        into, stale = risk.registry.currency(scope), None
        equity = ZERO
        for provider, currency, amount in self._desk.accounts.balances[risk.registry.mode].totals():
            if scope not in (GLOBAL, Scope.provider(provider)):
                continue
            factor = rate(self._desk.market, provider, currency, into, now, stale)
            if factor is not None:
                equity = add(equity, multiply(amount, factor))
        return _DOWN.quantize(equity, _PLACES)

    def _rows(self, now: int, *, everything: bool) -> Iterator[Row]:
        for risk in self._desk.risks.values():
            for row in state_rows(risk, now):
                key = risk.registry.mode, Scope(row.scope, row.subject)
                if everything or _is_due(row, self._written.get(key)):
                    self._written[key] = row
                    yield row
        if everything or now >= self._peaks_at + WRITE_PROFIT:
            self._peaks_at = now
            yield from [position_row(each, now) for each in self._peaks.values()]
            self._peaks.clear()


def _is_due(row: RiskStateRow, written: RiskStateRow | None) -> bool:
    """Returns whether a row has to be written, after the one that was written last."""
    if written is None:
        return row.day is not None
    if _lasting(row) != _lasting(written):
        return True
    return row.profit != written.profit and row.updated_at >= written.updated_at + WRITE_PROFIT


def _lasting(row: RiskStateRow) -> tuple[object, ...]:
    return row.day, row.opening, row.peak, row.breaches, row.breaker_until, row.throttle_full_at
