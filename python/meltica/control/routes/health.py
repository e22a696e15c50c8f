"""`/health/live` and `/health/ready`."""

from litestar import Controller, get
from litestar.di import NamedDependency

from meltica.api.health import Live, Ready
from meltica.control.readiness import NotReady, ReadinessCheck


class HealthController(Controller):
    """Liveness and readiness."""

    path = "/health"
    tags = ["health"]

    @get("/live", summary="Liveness of the process", operation_id="live")
    async def live(self) -> Live:
        """Returns at once: the process responds."""
        return Live()

    @get("/ready", summary="Readiness of the gateway", operation_id="ready")
    async def ready(self, readiness: NamedDependency[ReadinessCheck]) -> Ready:
        """Returns when everything that should run runs. Raises NotReady."""
        faults = await readiness.faults()
        if faults:
            raise NotReady(faults)
        return Ready()
