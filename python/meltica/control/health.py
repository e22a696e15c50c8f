"""`/health/live`, `/health/ready` and `/version`."""

import asyncio
import platform
from typing import TYPE_CHECKING

from litestar import get
from litestar.handlers import HTTPRouteHandler

from meltica import _core
from meltica.api.health import Live, Ready
from meltica.api.version import Version
from meltica.http.errors import HttpError

if TYPE_CHECKING:
    from meltica.gateway.gateway import Gateway

READY_SECONDS = 3.0


class NotReady(HttpError):
    """The gateway is not ready; `faults` says why, by part."""

    def __init__(self, faults: dict[str, str]) -> None:
        text = "; ".join(f"{part} {text}" for part, text in faults.items())
        super().__init__(503, "not_ready", text, faults)


def routes(gateway: "Gateway") -> list[HTTPRouteHandler]:
    """Returns the handlers over one gateway."""
    look = _Look(gateway)

    @get("/health/live", summary="Whether the process answers", operation_id="live", tags=["health"])
    async def live() -> Live:
        return Live()

    @get("/health/ready", summary="Whether all that should run runs", operation_id="ready", tags=["health"])
    async def ready() -> Ready:
        faults = await look.faults()
        if faults:
            raise NotReady(faults)
        return Ready()

    @get("/version", summary="What runs here", operation_id="version", tags=["health"])
    async def version() -> Version:
        settings = gateway.settings
        return Version(
            version=_core.__version__,
            build=_core.BUILD_PROFILE,
            target=_core.BUILD_TARGET,
            python=platform.python_version(),
            environment=settings.environment,
            service_name=settings.telemetry.service_name,
            started_at=round(gateway.started_at * 1000),
        )

    return [live, ready, version]


class _Look:
    """Looks for faults once for everybody who asks at the same time: a database that hangs is asked once."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._task: asyncio.Task[dict[str, str]] | None = None

    async def faults(self) -> dict[str, str]:
        """Returns what is not as it should be, by part, in bounded time."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._gateway.faults())
        done, _ = await asyncio.wait({self._task}, timeout=READY_SECONDS)
        if not done:
            return {"gateway": f"has not said how it is within {READY_SECONDS:g} s"}
        return self._task.result()
