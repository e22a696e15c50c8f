"""Metrics of the gateway itself: build, uptime and the database lock."""

from collections.abc import Iterator
from platform import python_version
from typing import TYPE_CHECKING

from meltica._core import Metrics, __version__
from meltica.telemetry.families import gauge
from meltica.telemetry.registry import Reading, Source

if TYPE_CHECKING:
    from meltica.gateway.gateway import Gateway


def gateway_metrics(gateway: "Gateway") -> Source:
    """Returns the collector of a gateway."""

    def source() -> Reading:
        info = {
            "version": __version__,
            "python_version": python_version(),
            "environment": gateway.settings.environment,
            "service_name": gateway.settings.telemetry.service_name,
        }
        uptime, lock_held = gateway.uptime, gateway.lock.held
        return lambda: _metrics(info, uptime, lock_held)

    return source


def _metrics(info: dict[str, str], uptime: float, lock_held: bool) -> Iterator[Metrics]:
    yield gauge(
        "meltica_build_info", "Versions and environment; always 1.", info, [(tuple(info.values()), 1)]
    )
    yield gauge("meltica_uptime_seconds", "Time since the gateway began to start.", (), [((), uptime)])
    yield gauge(
        "meltica_gateway_lock_held",
        "1 while this gateway holds the gateway lock; at 0 orders are not sent.",
        (),
        [((), lock_held)],
    )
