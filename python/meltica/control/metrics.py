"""`/metrics`: what Prometheus scrapes."""

from typing import TYPE_CHECKING

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from meltica.runtime.threads import call
from meltica.telemetry import metrics

if TYPE_CHECKING:
    from meltica.gateway.gateway import Gateway
    from meltica.http.request_gate import Requests


def routes(gateway: "Gateway", requests: "Requests") -> list[HTTPRouteHandler]:
    """Returns the handler over one gateway."""

    @get(
        "/metrics",
        summary="Metrics for Prometheus",
        description="As OpenMetrics for those who accept it, else in the text format.",
        operation_id="metrics",
        tags=["health"],
        media_type="text/plain",
    )
    async def metrics_page(request: Request[object, object, State]) -> Response[str]:
        seen = metrics.look(gateway, requests)
        accepted = request.headers.get("accept", "")
        text, media_type = await call(lambda: metrics.render(seen, accepted), "meltica-metrics")
        # As a header, which stays as it is: Litestar would add a second charset to a media type.
        return Response(text, headers={"content-type": media_type})

    return [metrics_page]
