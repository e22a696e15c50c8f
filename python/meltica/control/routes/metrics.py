"""`/metrics`: the page that Prometheus scrapes."""

from litestar import Controller, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency

from meltica.control.access import VIEWER
from meltica.control.services import ControlServices
from meltica.runtime.threads import call


class MetricsController(Controller):
    """The metrics of the gateway."""

    path = "/metrics"
    tags = ["health"]
    guards = [VIEWER]

    @get(
        summary="Metrics for Prometheus",
        description="OpenMetrics if the request accepts it, otherwise the text format of Prometheus.",
        operation_id="metrics",
        media_type="text/plain",
    )
    async def metrics(
        self, request: Request[object, object, State], services: NamedDependency[ControlServices]
    ) -> Response[str]:
        """Returns all metrics, in the best format that the request accepts."""
        # Read on the loop's thread, which the parts belong to; rendered on another, as it takes milliseconds.
        scrape, accepted = services.metrics.scrape(), request.headers.get("accept", "")
        text, media_type = await call(lambda: scrape.render(accepted), "meltica-metrics")
        # As a header, which is sent unchanged: Litestar would add a second charset to a media type.
        return Response(text, headers={"content-type": media_type})
