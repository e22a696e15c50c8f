"""The event of a risk notice, as `on_risk_control` receives it."""

from datetime import UTC, datetime
from typing import cast

from meltica._core import Event, RiskControl
from meltica.model.trader import RiskNotice


def risk_control(instance: str, notice: RiskNotice) -> RiskControl:
    """Returns the event of a notice to an instance. It has no sequence number: nothing else receives it."""
    seconds, rest = divmod(notice.time, 10**9)
    time = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    event = Event.from_dict(
        {
            "type": "RiskControl",
            "provider": notice.provider,
            "symbol": notice.symbol,
            "ingestTs": time,
            "payload": {
                "strategyId": instance,
                "status": notice.status,
                "reason": notice.reason,
                "breachType": notice.rule,
                "metrics": notice.metrics,
                "killSwitchEngaged": notice.halted,
                "circuitBreakerOpen": notice.breaker_open,
            },
        }
    )
    return cast(RiskControl, event)
