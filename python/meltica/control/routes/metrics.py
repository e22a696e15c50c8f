"""`/metrics`: the page that Prometheus scrapes."""

from litestar import Controller, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency

from meltica.control.services import ControlServices


class MetricsController(Controller):
    """The metrics of the gateway."""

    path = "/metrics"
    tags = ["health"]

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
        text, media_type = await services.render_metrics(request.headers.get("accept", ""))
        # As a header, which is sent unchanged: Litestar would add a second charset to a media type.
        return Response(text, headers={"content-type": media_type})
