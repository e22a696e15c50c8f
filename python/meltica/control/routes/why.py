"""`/strategy/instances/{id}/why`: why an instance gets no event, or why its orders do not go out."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from meltica.api.why import Why
from meltica.control.access import VIEWER
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND
from meltica.control.services import ControlServices
from meltica.control.why import Diagnosis


class WhyController(Controller):
    """The causes for one instance."""

    path = "/strategy/instances/{id:str}/why"
    tags = ["instances"]
    guards = [VIEWER]

    @get(
        summary="Get why an instance gets no event, or why its orders do not go out",
        operation_id="explainInstance",
        responses=NOT_FOUND | CONFLICT,
    )
    async def explain(self, id: FromPath[str], services: NamedDependency[ControlServices]) -> Why:
        """Returns each cause with its remedy, also while the database is unavailable. Raises NotFound."""
        return await Diagnosis(services, services.instances.get(id)).why()
