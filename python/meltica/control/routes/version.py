"""`/version`."""

import platform

from litestar import Controller, get
from litestar.di import NamedDependency

from meltica import _core
from meltica.api.version import Version
from meltica.control.access import VIEWER
from meltica.control.services import ControlServices


class VersionController(Controller):
    """The running build."""

    path = "/version"
    tags = ["health"]
    guards = [VIEWER]

    @get(summary="The running build", operation_id="version")
    async def version(self, services: NamedDependency[ControlServices]) -> Version:
        """Returns the running build, its environment and its start time."""
        return Version(
            version=_core.__version__,
            build=_core.BUILD_PROFILE,
            target=_core.BUILD_TARGET,
            python=platform.python_version(),
            environment=services.environment,
            service_name=services.configuration.settings.telemetry.service_name,
            started_at=round(services.started_at * 1000),
        )
