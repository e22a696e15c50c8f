"""Instances that were created over REST: they are in the database only."""

import logging
from typing import TYPE_CHECKING

from meltica.errors import ConfigError, LambdaLoadError, NotFound
from meltica.lambdas.modules.pins import pinned

if TYPE_CHECKING:
    from meltica.lambdas.managed import ManagedInstance
    from meltica.lambdas.manager import InstanceManager
    from meltica.lambdas.modules.catalogue import ModuleCatalogue
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.stores.instances import InstanceStore
    from meltica.settings.declarations import Declarations

log = logging.getLogger("meltica.gateway")


class DynamicInstances:
    """Adds the instances to their manager: when the gateway starts, and after the rows were read again."""

    def __init__(
        self,
        manager: "InstanceManager",
        store: "InstanceStore",
        declarations: "Declarations",
        modules: "ModuleCatalogue",
    ) -> None:
        self._manager = manager
        self._store = store
        self._declarations = declarations
        self._modules = modules

    async def add(self) -> "list[ManagedInstance]":
        """Adds the instances that the manager does not have; returns them."""
        specs: list[LambdaSpec] = []
        for row in self._store.list():
            if row.origin == "dynamic" and row.id not in self._manager:
                try:
                    specs.append(await pinned(self._declarations.spec(row), row, self._modules))
                except (ConfigError, LambdaLoadError, NotFound) as error:
                    log.error("instance %s is not available: %s", row.id, error)
        # All or none: what is added is also started.
        return [self._manager.add(spec) for spec in specs if spec.id not in self._manager]

    def discard_unrecorded(self) -> list[str]:
        """Drops nothing: instances are created in the database first."""
        return []

    async def adopt(self) -> None:
        """Adds the instances that another gateway has created, or whose creation was not confirmed."""
        self._manager.start_trading(await self.add())
