"""`/deliveries/slowest`: which events took longest to reach their instances and to be handled."""

from litestar import Controller, get
from litestar.di import NamedDependency

from meltica.api.traces import SlowDeliveries
from meltica.control.access import VIEWER
from meltica.control.services import ControlServices
from meltica.control.traces import deliveries_of


class DeliveriesController(Controller):
    """Deliveries of events to instances."""

    path = "/deliveries"
    tags = ["health"]
    guards = [VIEWER]

    @get("/slowest", summary="List the slowest deliveries", operation_id="listSlowestDeliveries")
    async def slowest(self, services: NamedDependency[ControlServices]) -> SlowDeliveries:
        """Returns the slowest deliveries of the last minute, the slowest first."""
        return deliveries_of(services.slowest())
