"""What a valuation of all scopes needs, and what it leaves alone."""

from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

from meltica.model.enums import Mode, OrderState
from meltica.persistence.stores.trading.rows import HaltRow, RiskStateRow
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.loss_watch import LossWatch
from meltica.trading.order import Owner, PositionKey
from meltica.trading.positions import Position, Positions
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import GLOBAL, Scope
from tests.support.risk import BTC, SECOND, UNLIMITED, FakeMarket
from tests.unit.trading.orders import TIMINGS, order

LIMITS = GlobalRiskLimits.model_validate(UNLIMITED.model_dump(by_alias=True) | {"maxDailyLoss": 100})


class Watched:
    """A desk with both modes, and an instance `a` in each that bought 1 BTC for 100."""

    def __init__(self, **fees: str) -> None:
        self.now = SECOND
        self.routes = 0
        books = {mode: Balances(mode) for mode in Mode}
        self.risks = {mode: Risk(mode, books[mode], LIMITS) for mode in Mode}
        self.positions = Positions()
        self.market = FakeMarket()
        self.market.set(BTC, 100, 100)
        self.desk = Desk(self.risks, self.positions, books, self.market, lambda: self.now)
        self.desk.on_routes = self.count_routes
        self.watch = LossWatch(self.desk)
        for mode, risk in self.risks.items():
            owner = Owner("a", uuid4(), mode)
            risk.registry.set_instance(owner, {"p": (BTC,)}, InstanceRiskLimits())
            key = PositionKey(owner, "p", BTC)
            paid = {currency: Decimal(fee) for currency, fee in fees.items()}
            self.positions.restore(Position(key=key, quantity=Decimal(1), cost=Decimal(100), fees=paid))

    def count_routes(self) -> None:
        self.routes += 1

    def rows(self) -> list[object]:
        """Returns the rows that wait to be written."""
        return list(self.desk.take_batch().rows)

    def profit(self, mode: Mode = Mode.LIVE, scope: Scope = GLOBAL) -> Decimal | None:
        loss = self.risks[mode].status(scope, self.now).loss
        return loss.profit if loss.valued_at else None


def test_a_fee_in_a_third_currency_is_valued_once_its_price_is_followed() -> None:
    w = Watched(BNB="2")
    w.watch.mark()
    assert w.profit() is None
    assert ("p", "BNB-USDT") in w.risks[Mode.LIVE].registry.conversion_routes()
    w.watch.mark()
    assert w.routes == 1
    w.market.set("BNB-USDT", 3, 3)
    w.watch.mark()
    assert [w.profit(scope=each) for each in (GLOBAL, Scope.provider("p"))] == [-6, -6]


def test_losses_on_paper_halt_paper_orders_only() -> None:
    w = Watched()
    w.watch.mark()
    [live, paper] = [each.key for each in w.positions]
    w.positions.transfer(paper, Decimal(100), Decimal(200))
    w.now += SECOND
    w.watch.mark()
    assert w.profit(Mode.PAPER) == -10_000
    assert w.risks[Mode.PAPER].halted(paper.owner) is not None
    assert w.risks[Mode.LIVE].halted(live.owner) is None
    halts = [row for row in w.rows() if isinstance(row, HaltRow)]
    assert halts
    assert {row.mode for row in halts} == {Mode.PAPER}


def test_the_state_of_risk_is_written_when_it_changes_and_profits_now_and_then() -> None:
    w = Watched()
    written: list[int] = []
    for second in range(25):
        w.market.set(BTC, 100 - second, 100 - second)
        w.watch.mark()
        written.append(len({row.mode for row in w.rows() if isinstance(row, RiskStateRow)}))
        w.now += SECOND
    assert [second for second, count in enumerate(written) if count] == [0, 10, 20]
    w.watch.close()
    assert [row.profit for row in w.rows() if isinstance(row, RiskStateRow) and row.mode is Mode.LIVE] == [
        -24
    ] * 3


def test_a_halt_cancels_the_open_orders_of_its_scope_and_mode() -> None:
    w = Watched()
    [live, paper] = [each.key for each in w.positions]
    machines = [
        w.desk.open(replace(order(), id=uuid4(), client_order_id=name, owner=key.owner), TIMINGS)
        for name, key in (("live", live), ("paper", paper))
    ]
    w.watch.mark()
    w.positions.transfer(live, Decimal(100), Decimal(200))
    w.watch.mark()
    assert [each.record.state for each in machines] == [OrderState.CANCELLED, OrderState.PENDING]
