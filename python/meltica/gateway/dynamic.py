"""Providers and instances that were created over REST: they are in the database only."""

import logging
from typing import TYPE_CHECKING

from meltica.adapters import registry
from meltica.errors import ConfigError, LambdaLoadError, NotFound
from meltica.lambdas.modules.pins import pinned
from meltica.runtime.lifecycle import Desired

if TYPE_CHECKING:
    from meltica.lambdas.managed import ManagedInstance
    from meltica.lambdas.manager import InstanceManager
    from meltica.lambdas.modules.catalogue import ModuleCatalogue
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.stores.instances import InstanceRow, InstanceStore
    from meltica.persistence.stores.providers import ProviderStore
    from meltica.providers.manager import ProviderManager
    from meltica.providers.provider import Provider
    from meltica.settings.declarations import Declarations
    from meltica.settings.provider_declarations import ProviderDeclarations

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
                    specs.append(await self._spec(row))
                except (ConfigError, LambdaLoadError, NotFound) as error:
                    log.error("instance %s is not available: %s", row.id, error)
        # All or none: what is added is also started.
        return [self._manager.add(spec) for spec in specs if spec.id not in self._manager]

    def discard_unrecorded(self) -> list[str]:
        """Drops nothing: instances are created in the database first."""
        return []

    async def adopt(self) -> None:
        """Declares the instances as their rows say, which were read again, and adds new ones."""
        for row in self._store.list():
            if row.origin == "dynamic" and row.id in self._manager:
                try:
                    await self._redeclare(self._manager.get(row.id), row)
                except (ConfigError, LambdaLoadError, NotFound) as error:
                    log.error("instance %s keeps its earlier declaration: %s", row.id, error)
        self._manager.start_trading(await self.add())

    async def _redeclare(self, instance: "ManagedInstance", row: "InstanceRow") -> None:
        """Replaces the declaration of an instance; one that runs continues with the earlier one."""
        # Without its lock, which a start holds for as long as it waits for its accounts.
        if instance.spec.is_same(await self._spec(row)):
            return
        async with instance.lock:
            # Read here: a change that held the lock has replaced the row.
            spec = await self._spec(self._store.get(row.id))
            if instance.spec.is_same(spec):
                return
            instance.spec = spec
            if instance.running:
                log.warning("instance %s runs with its earlier declaration until it is restarted", spec.id)

    async def _spec(self, row: "InstanceRow") -> "LambdaSpec":
        return await pinned(self._declarations.spec(row), row, self._modules)


class DynamicProviders:
    """Adds the providers that were created over REST to their manager, as `DynamicInstances` does."""

    def __init__(
        self, manager: "ProviderManager", store: "ProviderStore", declarations: "ProviderDeclarations"
    ) -> None:
        self._manager = manager
        self._store = store
        self._declarations = declarations

    def add(self) -> "list[Provider]":
        """Adds the providers that the manager does not have; returns them."""
        added: list[Provider] = []
        for row in self._store.list():
            if row.origin == "dynamic" and row.name not in self._manager:
                spec = self._declarations.spec(row)
                if spec.fault is not None:
                    log.error("provider %s cannot start: %s", row.name, spec.fault)
                added.append(self._manager.add(spec))
        return added

    def discard_unrecorded(self) -> list[str]:
        """Drops nothing: providers are created in the database first."""
        return []

    async def adopt(self) -> None:
        """Lets the providers run as their rows say, which were read again."""
        for row in self._store.list():
            if row.origin == "dynamic" and row.name in self._manager:
                await self._manager.redeclare(row.name, self._declarations.spec)
        for provider in self.add():
            if provider.desired is Desired.RUNNING:
                provider.begin()


class NonblockingProviders:
    """The providers that must not wait for the queue of an instance."""

    def __init__(self, providers: "ProviderManager") -> None:
        self._providers = providers

    def __contains__(self, name: object) -> bool:
        provider = self._providers.find(str(name))
        if provider is None:
            return False
        try:
            return not registry.adapter(provider.spec.adapter).can_block
        except ConfigError:  # its adapter is no longer installed
            return True
