"""Readiness: which components are not as they should be."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meltica.errors import DatabaseError, DatabaseUnavailable, LockNotHeld
from meltica.providers.scopes import unlisted
from meltica.runtime.lifecycle import Desired, InstanceState, ProviderState

if TYPE_CHECKING:
    from meltica.gateway.recovery import StateRecovery
    from meltica.gateway.resources import ResourceWatch
    from meltica.gateway.trading import GatewayTrading
    from meltica.http.tls import Certificate
    from meltica.lambdas.manager import InstanceManager
    from meltica.persistence.database import Database
    from meltica.persistence.lock import GatewayLock
    from meltica.providers.manager import ProviderManager
    from meltica.providers.provider import Provider
    from meltica.runtime.state_writer import StateWriter
    from meltica.settings.runtime import RuntimeConfiguration

DATABASE_SECONDS = 1.0
"""How long the database may take to answer the readiness query."""


@dataclass(frozen=True)
class Readiness:
    """Checks the components of one gateway."""

    database: "Database"
    lock: "GatewayLock"
    providers: "ProviderManager"
    instances: "InstanceManager"
    state_writer: "StateWriter"
    recovery: "StateRecovery"
    resources: "ResourceWatch"
    trading: "GatewayTrading"
    configuration: "RuntimeConfiguration"
    stopping: asyncio.Event
    certificate: "Certificate | None" = None

    async def faults(self) -> dict[str, str]:
        """Returns the fault of each component that has one, by name; empty when the gateway is ready."""
        faults: dict[str, str] = {}
        if self.stopping.is_set():
            faults["gateway"] = "is stopping"
        faults |= await self._database_faults()
        if refused := self.state_writer.refused():
            faults["states"] = f"are not written: {refused}"
        if self.recovery.pending:
            faults["states"] = "are being read from the database again"
        unrecorded = (*self.providers.unrecorded(), *self.instances.unrecorded())
        if unrecorded:
            faults["stops"] = f"are not in the database yet: {', '.join(unrecorded)}"
        if self.configuration.fault is not None:
            faults["configuration"] = self.configuration.fault
        if self.certificate is not None and (fault := self.certificate.fault()) is not None:
            faults["certificate"] = fault
        faults |= self.resources.faults
        faults |= self.trading.faults()
        for provider in self.providers.all():
            fault = _provider_fault(provider)
            if fault is not None:
                faults[f"provider {provider.name}"] = fault
        for instance in self.instances.all():
            if instance.desired is Desired.RUNNING and instance.actual is not InstanceState.RUNNING:
                faults[f"lambda {instance.id}"] = _state(instance.actual, instance.last_error)
            elif instance.running:
                absent = unlisted(instance.spec.scope, self.providers)
                if absent:
                    faults[f"scope of lambda {instance.id}"] = "; ".join(absent)
        return faults

    async def _database_faults(self) -> dict[str, str]:
        """Tries what each change does first. It finds a read-only database, and one that was replaced."""
        held = self.lock.held
        try:
            await self.database.probe(DATABASE_SECONDS, self.lock.prove if held else None)
        except LockNotHeld as error:
            return {"lock": f"is not held: {error}"}
        except DatabaseUnavailable:
            fault = {"database": "does not answer"}
        except DatabaseError as error:
            fault = {"database": f"refuses changes: {error}"}
        else:
            fault = {}
        return fault if held else {**fault, "lock": "is not held"}


def _provider_fault(provider: "Provider") -> str | None:
    if provider.connection_error is not None:
        return f"has no connection: {provider.connection_error}"
    if provider.route_error is not None:
        return f"routes failed: {provider.route_error}"
    if provider.desired is Desired.RUNNING and not provider.running and not provider.ended:
        return _state(provider.actual, provider.last_error)
    return None


def _state(actual: ProviderState | InstanceState, error: str | None) -> str:
    return f"is {actual}: {error}" if error else f"is {actual}"
