"""What an instance is notified of when risk blocks its orders, and when it does so no more."""

from collections.abc import Mapping
from decimal import Decimal
from uuid import uuid4

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderType, Side, TimeInForce
from meltica.model.trader import RiskNotice
from meltica.trading.balances import Balances
from meltica.trading.desk import Desk
from meltica.trading.order import Owner
from meltica.trading.positions import Positions
from meltica.trading.risk.approved import OrderRequest
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import GLOBAL, Scope
from tests.support.risk import BTC, ETH, SECOND, UNLIMITED, FakeMarket, instrument


class Notified:
    """A desk with the instance `a` in both modes and `b` at another provider; collects their notices."""

    def __init__(self, **limits: object) -> None:
        self.now = 1000 * SECOND
        values = UNLIMITED.model_dump(by_alias=True) | limits
        books = {mode: Balances(mode) for mode in Mode}
        risks = {mode: Risk(mode, books[mode], GlobalRiskLimits.model_validate(values)) for mode in Mode}
        self.market = FakeMarket()
        self.market.set(BTC, 99, 101, time=self.now).lag = 0
        self.desk = Desk(risks, Positions(), books, self.market, lambda: self.now)
        self.risk = risks[Mode.LIVE]
        self.notices: dict[str, list[RiskNotice]] = {}
        self.a = self.add("a", Mode.LIVE, {"p": (BTC, ETH)})
        self.paper = self.add("a", Mode.PAPER, {"p": (BTC, ETH)})
        self.b = self.add("b", Mode.LIVE, {"q": ("*",)})
        for symbol in (BTC, ETH):
            self.risk.registry.set_instrument("p", instrument(symbol))
        self.risk.registry.set_reconciled("p", reconciled=True)

    def add(self, name: str, mode: Mode, scope: Mapping[str, tuple[str, ...]]) -> Owner:
        """Registers an instance whose notices are collected."""
        owner = Owner(name, uuid4(), mode)
        self.desk.risks[mode].registry.set_instance(owner, scope, InstanceRiskLimits())
        collected = self.notices[f"{name} {mode.value}"] = []
        self.desk.controls.watch(owner, scope, collected.append)
        return owner

    def tick(self, seconds: float = 0) -> dict[str, list[tuple[str, str]]]:
        """Ticks after some seconds; returns status and rule of the new notices by instance."""
        self.now += int(seconds * SECOND)
        self.desk.tick()
        found = {
            name: [(each.status, each.rule) for each in sent] for name, sent in self.notices.items() if sent
        }
        self.last = [each for sent in self.notices.values() for each in sent]
        for sent in self.notices.values():
            sent.clear()
        return found

    def buy(self, quantity: int, time_in_force: TimeInForce = TimeInForce.GTC) -> str:
        """Requests to buy; returns the rule that refuses it."""
        request = OrderRequest(
            order_id=uuid4(),
            owner=self.a,
            provider="p",
            symbol=BTC,
            side=Side.BUY,
            order_type=OrderType.LIMIT,
            quantity=Decimal(quantity),
            price=Decimal(1),
            time_in_force=time_in_force,
            post_only=False,
            reduce_only=False,
        )
        with pytest.raises(OrderRefused) as refused:
            self.risk.approve(request, self.market, self.now)
        return refused.value.reason


def test_a_halt_and_its_resume_reach_the_instances_of_the_scope() -> None:
    w = Notified()
    assert w.tick() == {}
    w.risk.halt(Scope.instance(w.a), "prices look wrong", "alice", w.now)
    assert w.tick() == {"a live": [("TRIGGERED", "operator")]}
    assert w.last == [
        RiskNotice("p", BTC, "TRIGGERED", "operator", "prices look wrong", True, False, {}, w.now)
    ]
    assert w.tick(5) == {}
    w.risk.resume(Scope.instance(w.a), "alice", w.now)
    assert w.tick() == {"a live": [("CLEARED", "operator")]}
    assert not w.last[0].halted
    w.risk.halt(Scope.provider("q"), "down", "alice", w.now)
    assert w.tick() == {"b live": [("TRIGGERED", "operator")]}
    assert (w.last[0].provider, w.last[0].symbol) == ("q", "*")
    w.risk.halt(GLOBAL, "all", "alice", w.now)
    assert w.tick() == {"a live": [("TRIGGERED", "operator")], "b live": [("TRIGGERED", "operator")]}
    w.risk.resume(Scope.provider("q"), "alice", w.now)
    assert w.tick() == {"b live": [("CLEARED", "operator")]}
    assert w.last[0].halted, "the global halt still is in force"


def test_a_halt_that_an_instance_finds_at_its_start_is_the_first_notice() -> None:
    w = Notified()
    w.risk.halt(GLOBAL, "all", "alice", w.now)
    w.tick()
    w.add("c", Mode.LIVE, {"p": (BTC,)})
    assert w.tick() == {"c live": [("TRIGGERED", "operator")]}


def test_losses_and_drawdowns_are_notices() -> None:
    w = Notified(maxDailyLoss=100, maxDrawdownPercent=10)
    for profit in (0, -101):
        w.risk.mark(Scope.provider("p"), None, None, w.now)
        w.risk.mark(GLOBAL, Decimal(profit), None, w.now)
    assert w.tick() == {
        "a live": [("TRIGGERED", "max_daily_loss")],
        "b live": [("TRIGGERED", "max_daily_loss")],
    }
    assert w.last[0].reason == "the loss of the day is 101, of 100 allowed"


def test_the_breaker_is_a_notice_when_it_opens_and_when_it_closes_by_itself() -> None:
    w = Notified(circuitBreaker={"enabled": True, "threshold": 2, "cooldown": "90s"})
    assert [w.buy(1), w.buy(1)] == ["min_notional", "min_notional"]
    assert w.tick() == {"a live": [("TRIGGERED", "breaker_open")]}
    assert (w.last[0].halted, w.last[0].breaker_open) == (False, True)
    assert w.buy(1) == "breaker_open"
    assert w.tick(89) == {}
    assert w.tick(1) == {"a live": [("CLEARED", "breaker_open")]}
    assert not w.last[0].breaker_open


def test_a_lagging_feed_is_a_notice_until_it_has_passed() -> None:
    w = Notified(maxFeedLag="500ms")
    w.market.quotes["p", BTC].lag = SECOND
    assert w.tick() == {"a live": [("TRIGGERED", "feed_lag")], "a paper": [("TRIGGERED", "feed_lag")]}
    notice = w.last[0]
    assert (notice.provider, notice.symbol, notice.metrics) == (
        "p",
        BTC,
        {"lag_ms": "1000", "limit_ms": "500"},
    )
    assert (w.buy(1), w.buy(1, TimeInForce.IOC)) == ("feed_lag", "min_notional")
    w.market.quotes["p", BTC].lag = SECOND // 2 + 1
    assert w.tick(1) == {}
    quote = w.market.quotes.pop(("p", BTC))
    assert w.tick(1) == {}, "without a price, nothing says that it has passed"
    w.market.quotes["p", BTC] = quote
    quote.lag = SECOND // 2
    assert w.tick(1) == {"a live": [("CLEARED", "feed_lag")], "a paper": [("CLEARED", "feed_lag")]}


def test_an_instance_that_ended_is_notified_no_more() -> None:
    w = Notified()
    w.desk.controls.forget(w.a)
    w.risk.halt(GLOBAL, "all", "alice", w.now)
    assert w.tick() == {"b live": [("TRIGGERED", "operator")]}
