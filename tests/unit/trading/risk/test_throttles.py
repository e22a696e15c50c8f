"""Throttles: they refuse, take no token of a refused order, and never keep an instance from reducing."""

from decimal import Decimal

import pytest

from meltica.trading.risk.limits import InstanceRiskLimits, RiskLimits
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import Scope
from tests.support.risk import BUY, ETH, SECOND, SELL, UNLIMITED, RiskWorld, refused, world


@pytest.mark.parametrize("scope", ["global", "provider", "instance"])
def test_throttles_refuse_and_a_refused_order_takes_no_token(scope: str) -> None:
    throttle = {"orderThrottle": 1, "orderBurst": 2}
    w = RiskWorld(
        UNLIMITED.model_copy(update={"order_throttle": Decimal(1), "order_burst": 2})
        if scope == "global"
        else UNLIMITED,
        provider=RiskLimits.model_validate(throttle if scope == "provider" else {}),
        instance=InstanceRiskLimits.model_validate(throttle if scope == "instance" else {}),
    )
    refused(w, w.request(BUY, "0.00001"), Rule.QUANTITY_INCREMENT)
    w.approve(w.request())
    w.approve(w.request())
    refused(w, w.request(), Rule.THROTTLE)
    if scope == "provider":
        w.approve(w.request(symbol=ETH))
    if scope == "instance":
        w.approve(w.request(owner=w.add("b")))
    w.now += SECOND
    w.approve(w.request())
    refused(w, w.request(), Rule.THROTTLE)
    # New limits do not refill the buckets.
    w.risk.registry.set_limits(Scope.provider("other"), RiskLimits())
    refused(w, w.request(), Rule.THROTTLE)


@pytest.mark.parametrize("scope", ["global", "provider"])
def test_orders_of_others_never_keep_an_instance_from_reducing(scope: str) -> None:
    throttle: dict[str, object] = {"orderThrottle": 1, "orderBurst": 2}
    w = RiskWorld(
        UNLIMITED.model_copy(update={"order_throttle": Decimal(1), "order_burst": 2})
        if scope == "global"
        else UNLIMITED,
        provider=RiskLimits.model_validate(throttle if scope == "provider" else {}),
    )
    b = w.add("b")
    w.hold(10, owner=b)
    w.hold(10)
    for _ in range(2):
        w.approve(w.request())
    refused(w, w.request(owner=b), Rule.THROTTLE)
    # The throttle of reduce-only orders is that of the instance alone.
    first = w.order(w.approve(w.request(SELL, owner=b, reduce_only=True)))
    w.risk.approve_amendment(first, w.market, w.now, price=Decimal(101))
    error = refused(w, w.request(SELL, owner=b, reduce_only=True), Rule.THROTTLE)
    assert "reduce_only" in error.message
    w.approve(w.request(SELL, reduce_only=True))
    # They count in the throttles of others, but do not block them for longer than a full burst.
    w.now += SECOND
    w.approve(w.request(SELL, owner=b, reduce_only=True))
    refused(w, w.request(), Rule.THROTTLE)
    w.now += 2 * SECOND
    w.approve(w.request())


def test_the_own_throttle_of_an_instance_holds_for_its_reduce_only_orders() -> None:
    w = world({"orderThrottle": 1, "orderBurst": 1})
    w.hold(10)
    w.approve(w.request())
    refused(w, w.request(), Rule.THROTTLE)
    w.approve(w.request(SELL, reduce_only=True))
    refused(w, w.request(SELL, reduce_only=True), Rule.THROTTLE)
    w.now += SECOND
    w.approve(w.request(SELL, reduce_only=True))
