"""Settings of risk: refused values, defaults, and the tightest of several scopes."""

from decimal import Decimal

import pytest

from meltica.errors import ConfigError
from meltica.trading.risk.limits import (
    GlobalRiskLimits,
    InstanceRiskLimits,
    RiskLimits,
    missing_for_live,
    resolve,
)
from meltica.validation.models import keys, load

NUMBERS = (
    "maxPositionSize",
    "maxNotionalValue",
    "orderThrottle",
    "maxOrderSize",
    "maxDailyLoss",
    "maxDrawdownPercent",
    "staleMarketSeconds",
    "priceBandPercent",
    "maxConcurrentOrders",
    "maxOpenOrders",
    "orderBurst",
    "maxRiskBreaches",
    "maxFeedLag",
)
ZERO_DISABLES = {"priceBandPercent", "maxConcurrentOrders", "maxRiskBreaches"}


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize(
    "value", ["", "abc", "1/3", "NaN", "inf", "1e400", "-1", "1,000", "\u0661", True, [], {}]
)
def test_a_limit_that_is_not_a_number_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        load(RiskLimits, {key: value}, "risk")


@pytest.mark.parametrize("key", sorted(set(NUMBERS) - ZERO_DISABLES))
def test_zero_does_not_mean_unlimited(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(RiskLimits, {key: 0}, "risk")


@pytest.mark.parametrize(
    "values",
    [
        {"maxPositonSize": 1},
        {"notionalCurrency": ""},
        {"notionalCurrency": "usdt"},
        {"allowedOrderTypes": ["Stop"]},
        {"circuitBreaker": {"threshold": 0}},
        {"circuitBreaker": {"cooldown": 0}},
        {"circuitBreaker": {"cooldown": "soon"}},
    ],
)
def test_other_invalid_values_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        load(RiskLimits, values, "risk")


def test_absent_limits_are_none_and_the_global_ones_have_defaults() -> None:
    assert not RiskLimits().model_dump(exclude_none=True)
    limits = GlobalRiskLimits()
    assert (limits.max_position_size, limits.max_notional_value) == (Decimal(250), Decimal(50_000))
    assert limits.notional_currency == "USDT"
    assert (limits.order_throttle, limits.order_burst, limits.max_concurrent_orders) == (Decimal(5), 3, 6)
    assert limits.price_band_percent == Decimal("1.0")
    assert limits.max_daily_loss is None


def test_the_three_scopes_have_the_same_keys() -> None:
    common = set(keys(RiskLimits))
    assert set(keys(GlobalRiskLimits)) == common
    assert set(keys(InstanceRiskLimits)) == common | {"capital"}


def test_a_drawdown_of_an_instance_needs_its_capital() -> None:
    with pytest.raises(ConfigError, match="`capital`: expected an amount"):
        load(InstanceRiskLimits, {"maxDrawdownPercent": 5}, "risk")
    assert load(InstanceRiskLimits, {"maxDrawdownPercent": 5, "capital": 1000}, "risk").capital == 1000


def test_the_tightest_of_the_scopes_wins() -> None:
    scopes = [
        load(GlobalRiskLimits, {"maxOrderSize": 5, "priceBandPercent": 2, "maxFeedLag": "2s"}, "risk"),
        load(RiskLimits, {"maxOrderSize": 7, "priceBandPercent": 0, "staleMarketSeconds": "1.5"}, "risk"),
        load(
            InstanceRiskLimits,
            {
                "priceBandPercent": 3,
                "allowedOrderTypes": "limit",
                "maxFeedLag": "500ms",
                "staleMarketSeconds": 9,
                "circuitBreaker": {"threshold": 2, "cooldown": "1s"},
                "killSwitchEnabled": False,
                "maxRiskBreaches": 0,
            },
            "risk",
        ),
    ]
    limits = resolve(scopes)
    assert limits.max_order_size == 5
    assert (limits.lower_factor, limits.upper_factor) == (Decimal("0.98"), Decimal("1.02"))
    assert limits.allowed_types == {"Limit"}
    assert (limits.stale_ns, limits.max_lag_ns) == (1_500_000_000, 500_000_000)
    assert (limits.breaker_threshold, limits.breaker_cooldown_ns) == (2, 90_000_000_000)
    assert (limits.kill_switch, limits.max_breaches) == (True, 3)


def test_types_that_no_scope_has_in_common_leave_none() -> None:
    scopes = [RiskLimits.model_validate({"allowedOrderTypes": [kind]}) for kind in ("MARKET", "limit")]
    assert resolve(scopes).allowed_types == frozenset()
    assert resolve([RiskLimits.model_validate({"allowedOrderTypes": []})]).allowed_types == {
        "Limit",
        "Market",
    }


def test_a_provider_for_real_money_states_its_limits() -> None:
    assert missing_for_live(RiskLimits()) == [
        "maxPositionSize",
        "maxNotionalValue",
        "priceBandPercent",
        "maxDailyLoss",
        "staleMarketSeconds",
    ]
    complete = dict.fromkeys(missing_for_live(RiskLimits()), 1)
    assert missing_for_live(RiskLimits.model_validate(complete)) == []
    # A band of 0 does not limit.
    assert missing_for_live(RiskLimits.model_validate(complete | {"priceBandPercent": 0})) == [
        "priceBandPercent"
    ]
