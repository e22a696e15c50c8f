"""Halts of one mode leave the other one alone; those of operators concern both."""

from collections.abc import Iterable
from decimal import Decimal
from uuid import uuid4

import pytest

from meltica.model.enums import Mode
from meltica.persistence.stores.trading.rows import HaltRow, HaltScope, RiskStateRow
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.halt_watch import HaltWatch, halt_scope
from meltica.trading.loss_watch import LossWatch
from meltica.trading.order import Owner
from meltica.trading.positions import Positions
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import GLOBAL, Scope
from meltica.trading.risk.stored import load_state, state_rows
from meltica.trading.state_machine import OrderMachine
from tests.support.risk import BTC, SECOND, UNLIMITED, FakeMarket
from tests.unit.trading.orders import TIMINGS, order

LIMITS = {"maxDailyLoss": 100, "maxDrawdownPercent": 50, "capital": 100}
SCOPES = [GLOBAL, Scope(HaltScope.PROVIDER, "p"), Scope(HaltScope.INSTANCE, "a")]


class Both:
    """A desk with the instance `a` in both modes. Each scope limits its losses."""

    def __init__(self, *modes: Mode, currency: str = "USDT") -> None:
        self.now = SECOND
        books = {mode: Balances(mode) for mode in Mode}
        values = UNLIMITED.model_dump(by_alias=True) | {"maxDailyLoss": 100}
        self.risks = {mode: Risk(mode, books[mode], GlobalRiskLimits.model_validate(values)) for mode in Mode}
        self.market = FakeMarket()
        self.market.set(BTC, 100, 100)
        self.desk = Desk(self.risks, Positions(), books, self.market, lambda: self.now)
        self.watch = HaltWatch(self.desk)
        self.owners = {mode: Owner("a", uuid4(), mode) for mode in Mode}
        self.currency = currency
        for mode in modes or Mode:
            self.register(mode)

    def register(self, mode: Mode) -> None:
        """Registers the instance in a mode."""
        registry = self.risks[mode].registry
        registry.set_limits(Scope.provider("p"), RiskLimits.model_validate({"maxDailyLoss": 100}))
        limits = InstanceRiskLimits.model_validate({**LIMITS, "notionalCurrency": self.currency})
        registry.set_instance(self.owners[mode], {"p": (BTC,)}, limits)

    def rest(self, mode: Mode) -> OrderMachine:
        """Adds an order that is open."""
        id = uuid4()
        record = order(provider="p")
        record.id, record.client_order_id, record.owner = id, id.hex, self.owners[mode]
        return self.desk.open(record, TIMINGS)

    def halted(self) -> list[Mode]:
        """Returns the modes in which orders of the instance are halted."""
        risks = self.risks.items()
        return [mode for mode, risk in risks if risk.halted(self.owners[mode], ["p"]) is not None]

    def written(self) -> list[HaltRow]:
        """Returns the halts that wait to be written."""
        return [row for row in self.desk.take_batch().rows if isinstance(row, HaltRow)]


def lose(both: Both, scope: Scope, mode: Mode) -> HaltRow:
    """Passes the limit of a daily loss in one scope; returns the row of the halt."""
    for profit in (0, -100):
        both.risks[mode].mark(scope, Decimal(profit), None, both.now)
    [row] = both.written()
    return row


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("mode", Mode)
def test_a_loss_in_one_mode_halts_that_mode_only_also_after_a_restart(scope: Scope, mode: Mode) -> None:
    both = Both()
    resting = {each: both.rest(each) for each in Mode}
    row = lose(both, scope, mode)
    assert (row.scope, row.subject, row.mode, row.rule) == (scope.kind, scope.name, mode, "max_daily_loss")
    both.watch.take([row])
    assert both.halted() == [mode]
    assert [each for each, machine in resting.items() if machine.record.cancel_wanted] == [mode]
    restarted = Both()
    restarted.watch.take([row])
    assert restarted.halted() == [mode]
    restarted.watch.take([])
    assert restarted.halted() == []


@pytest.mark.parametrize("scope", SCOPES)
def test_the_halt_of_an_operator_concerns_both_modes(scope: Scope) -> None:
    both = Both()
    with both.desk.lock:
        halt_scope(both.desk, scope, "x", "alice")
    rows = both.written()
    assert {row.mode for row in rows} == {None}
    assert both.halted() == list(Mode)
    both.watch.take(rows)
    # The end of a halt of one mode leaves the halt of both in force.
    loss = HaltRow(scope=scope.kind, subject=scope.name, rule="max_daily_loss", reason="x", mode=Mode.PAPER)
    both.watch.take([*rows, loss])
    both.watch.take(rows)
    assert both.halted() == list(Mode)
    both.watch.take([loss])
    assert both.halted() == [Mode.PAPER]


def test_a_halt_that_is_read_keeps_its_rule_and_is_not_written_again() -> None:
    both = Both()
    scope = Scope.instance(both.owners[Mode.LIVE])
    row = HaltRow(
        scope=HaltScope.INSTANCE, subject="a", rule="max_drawdown_percent", reason="x", mode=Mode.LIVE
    )
    both.watch.take([row])
    risk = both.risks[Mode.LIVE]
    halt = risk.status(scope, both.now).halt
    assert halt is not None
    assert (halt.rule, halt.by, halt.mode) == ("max_drawdown_percent", "meltica", Mode.LIVE)
    assert both.written() == []
    for profit in (0, -60):
        risk.mark(scope, Decimal(profit), None, both.now)
    both.watch.take([])
    assert risk.status(scope, both.now).loss.peak == -60, "a resume measures the drawdown from now on"
    assert both.halted() == []


def stored(both: Both, before: Iterable[RiskStateRow] = ()) -> list[RiskStateRow]:
    """Values all scopes and ends; returns the states that the database then has."""
    watch = LossWatch(both.desk)
    watch.mark()
    watch.close()
    rows = [row for row in both.desk.take_batch().rows if isinstance(row, RiskStateRow)]
    return list({(row.scope, row.subject, row.mode): row for row in [*before, *rows]}.values())


def test_a_loss_in_a_currency_of_its_own_outlives_restarts_and_runs_in_the_other_mode() -> None:
    first = Both(currency="EUR")
    scope = Scope.instance(first.owners[Mode.PAPER])
    for profit in (0, -90):
        first.risks[Mode.PAPER].mark(scope, Decimal(profit), None, first.now)
    rows = [row for risk in first.risks.values() for row in state_rows(risk, first.now)]
    # A run in the other mode knows no limits of this one.
    live = Both(Mode.LIVE, currency="EUR")
    for risk in live.risks.values():
        load_state(risk, rows, ())
    rows = stored(live, rows)
    # The limits are set after the state is restored, as for an instance that opens later.
    paper = Both(Mode.LIVE, currency="EUR")
    for risk in paper.risks.values():
        load_state(risk, rows, ())
    paper.register(Mode.PAPER)
    assert paper.risks[Mode.PAPER].status(scope, paper.now).loss.daily_loss == 90
    paper.risks[Mode.PAPER].mark(scope, Decimal(-100), None, paper.now)
    assert paper.halted() == [Mode.PAPER]


def test_a_loss_starts_again_in_another_currency() -> None:
    both = Both()
    scope = Scope.instance(both.owners[Mode.LIVE])
    risk = both.risks[Mode.LIVE]
    for profit in (0, -90):
        risk.mark(scope, Decimal(profit), None, both.now)
    both.currency = "EUR"
    both.register(Mode.LIVE)
    risk.mark(scope, Decimal(-100), None, both.now)
    loss = risk.status(scope, both.now).loss
    assert (loss.currency, loss.daily_loss, loss.peak) == ("EUR", 0, -100)
