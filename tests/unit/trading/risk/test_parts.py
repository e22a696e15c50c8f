"""Throttles, breaches, losses, feed lag and rates, each alone."""

from collections import deque
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.persistence.stores.trading.rows import Verdict
from meltica.trading.risk.breaker import Breaches
from meltica.trading.risk.limits import RiskLimits, resolve
from meltica.trading.risk.loss import Loss
from meltica.trading.risk.market import Quote, conversion_pairs, rate
from meltica.trading.risk.throttle import Bucket
from tests.support.risk import SECOND, START, FakeMarket

DAY = 86_400 * SECOND


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(0, 3 * SECOND), min_size=1, max_size=60))
def test_a_bucket_counts_like_one_with_tokens(rate: int, burst: int, pauses: list[int]) -> None:
    throttle = Bucket(Decimal(rate), burst)
    missing, last, now = 0, START, START
    for pause in pauses:
        now += pause
        missing = max(0, missing - (now - last))
        last = now
        has_token = missing + throttle.interval <= burst * throttle.interval
        assert throttle.has_token(now) == has_token
        if has_token:
            throttle.take(now)
            missing += throttle.interval


def test_a_clock_that_is_set_back_does_not_block_a_throttle() -> None:
    throttle = Bucket(Decimal(1), 2)
    for _ in range(2):
        throttle.take(START)
    back = START - 7200 * SECOND
    assert not throttle.has_token(back)
    assert throttle.has_token(back + SECOND)


BREAKER = resolve([RiskLimits.model_validate({"circuitBreaker": {"threshold": 2, "cooldown": "30s"}})])
SWITCH = resolve([RiskLimits.model_validate({"killSwitchEnabled": True, "maxRiskBreaches": 3})])


def test_breaches_count_for_ten_minutes() -> None:
    breaches = Breaches()
    assert breaches.count(START, SWITCH) is Verdict.COUNTED
    assert breaches.count(START + 599 * SECOND, SWITCH) is Verdict.COUNTED
    assert breaches.count(START + 600 * SECOND, SWITCH) is Verdict.COUNTED
    assert breaches.count(START + 601 * SECOND, SWITCH) is Verdict.HALT


def test_the_breaker_works_without_the_kill_switch_and_restarts_the_count() -> None:
    breaches = Breaches()
    assert breaches.count(START, BREAKER) is Verdict.COUNTED
    assert breaches.count(START, BREAKER) is Verdict.COOLDOWN
    assert breaches.is_open(START + 30 * SECOND - 1)
    after = START + 30 * SECOND
    assert not breaches.is_open(after)
    assert breaches.count(after, BREAKER) is Verdict.COUNTED


def test_a_clock_that_is_set_back_neither_forgets_breaches_nor_prolongs_the_cooldown() -> None:
    breaches = Breaches()
    breaches.count(START, BREAKER)
    back = START - 7200 * SECOND
    assert breaches.count(back, BREAKER) is Verdict.COOLDOWN
    assert breaches.is_open(back)
    assert not breaches.is_open(back + 30 * SECOND)

    breaches = Breaches(deque([START]), closed_at=START + 30 * SECOND, cooldown=30 * SECOND)
    assert breaches.is_open(back)
    assert not breaches.is_open(back + 30 * SECOND)


def mark(loss: Loss, profit: int, now: int) -> None:
    loss.mark(Decimal(profit), Decimal(1000), now)


def test_the_day_only_moves_forward() -> None:
    loss = Loss()
    midnight = 20_000 * DAY
    mark(loss, 0, midnight - 3600 * SECOND)
    mark(loss, -90, midnight - SECOND)
    assert loss.daily_loss == 90
    mark(loss, -95, midnight + 300 * SECOND)
    # The loss between the last valuation of the old day and the first of the new one belongs to the new day.
    assert (loss.day, loss.daily_loss) == (20_000, 5)
    mark(loss, -99, midnight + 300 * SECOND - 7200 * SECOND)
    assert (loss.day, loss.daily_loss) == (20_000, 9)
    mark(loss, -100, midnight + 600 * SECOND)
    assert (loss.day, loss.daily_loss) == (20_000, 10)


def test_a_profit_that_cannot_be_valued_keeps_the_last_one_and_is_no_valuation() -> None:
    loss = Loss()
    assert not loss.is_valued(START)
    mark(loss, -5, START)
    assert loss.is_valued(START + 10 * SECOND)
    assert not loss.is_valued(START + 11 * SECOND)
    loss.mark(None, None, START + SECOND)
    assert not loss.is_valued(START + SECOND)
    assert loss.profit == -5


def test_the_drawdown_is_measured_from_the_peak() -> None:
    loss = Loss()
    for profit in (0, 100, 50, 60):
        mark(loss, profit, START)
    assert not loss.reaches_drawdown(Decimal("4.1"))
    mark(loss, 50, START)
    assert loss.reaches_drawdown(Decimal(5))
    loss.restart_peak()
    assert not loss.reaches_drawdown(Decimal("0.1"))


def test_a_currency_is_converted_by_a_direct_pair_in_either_direction() -> None:
    market = FakeMarket()
    market.set("EUR-USDT", 1, 2)
    market.set("USDT-TRY", 40, 40)

    def convert(currency: str, into: str, provider: str = "p", stale: int | None = None) -> Decimal | None:
        return rate(market, provider, currency, into, START + SECOND, stale)

    assert convert("EUR", "EUR") == 1
    assert convert("EUR", "USDT") == Decimal("1.5")
    assert convert("TRY", "USDT") == Decimal("0.025")
    assert convert("EUR", "TRY") is None
    assert convert("EUR", "USDT", provider="q") is None
    assert convert("EUR", "USDT", stale=SECOND) == Decimal("1.5")
    assert convert("EUR", "USDT", stale=SECOND - 1) is None
    assert conversion_pairs("EUR", "USDT") == ("EUR-USDT", "USDT-EUR")
    assert conversion_pairs("EUR", "EUR") == ()


def test_the_inverse_of_a_price_is_rounded_up() -> None:
    market = FakeMarket()
    market.set("USDT-EUR", 3, 3)
    third = rate(market, "p", "EUR", "USDT", START, None)
    assert third is not None
    assert third > Decimal(1) / Decimal(3)


@pytest.mark.parametrize(
    ("quote", "reference"),
    [
        (Quote(), None),
        (Quote(last=Decimal(3)), Decimal(3)),
        (Quote(bid=Decimal(1), last=Decimal(3)), Decimal(3)),
        (Quote(last=Decimal(3), crossed=True), None),
        (Quote(bid=Decimal(1), ask=Decimal(2), last=Decimal(3)), Decimal("1.5")),
    ],
)
def test_the_reference_is_the_middle_or_the_last_price(quote: Quote, reference: Decimal | None) -> None:
    assert quote.reference == reference
