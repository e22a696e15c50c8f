"""`/health`: live, serving and ready."""

from litestar import Controller, get
from litestar.di import NamedDependency

from meltica.api.health import Live, Ready, Serving
from meltica.control.access import PUBLIC, VIEWER
from meltica.control.readiness import NotReady, ReadinessCheck
from meltica.control.services import ControlServices
from meltica.http.errors import HttpError


class HealthController(Controller):
    """Liveness of the process, ability to serve requests, readiness of all components."""

    path = "/health"
    tags = ["health"]

    @get("/live", summary="Liveness of the process", operation_id="live", guards=[PUBLIC])
    async def live(self) -> Live:
        """Returns at once: the process responds."""
        return Live()

    @get(
        "/serving",
        summary="Ability to serve requests",
        description="Does not depend on the database, the gateway lock, providers or instances.",
        operation_id="serving",
        guards=[PUBLIC],
    )
    async def serving(self, services: NamedDependency[ControlServices]) -> Serving:
        """Returns at once unless the gateway is stopping."""
        if services.stopping():
            raise HttpError(503, "stopping", "the gateway is stopping")
        return Serving()

    @get("/ready", summary="Readiness of the gateway", operation_id="ready", guards=[VIEWER])
    async def ready(self, readiness: NamedDependency[ReadinessCheck]) -> Ready:
        """Returns when everything that should run runs. Raises NotReady."""
        faults = await readiness.faults()
        if faults:
            raise NotReady(faults)
        return Ready()
