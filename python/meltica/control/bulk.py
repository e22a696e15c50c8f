"""Starts and stops several instances at once: one that fails does not affect the others."""

import asyncio
from collections.abc import Sequence

from meltica.api.instances import BulkOutcome, BulkOutcomes, BulkRequest
from meltica.control.bodies import invalid
from meltica.control.changes import ChangeRunner
from meltica.errors import Conflict, MelticaError
from meltica.http.errors import error_response
from meltica.lambdas.managed import ManagedInstance
from meltica.lambdas.manager import InstanceManager
from meltica.model.symbols import ANY
from meltica.runtime.lifecycle import Desired


class BulkChange:
    """One change of several instances."""

    def __init__(self, manager: InstanceManager, changes: ChangeRunner, desired: Desired) -> None:
        self._manager = manager
        self._changes = changes
        self._desired = desired

    def selected(self, request: BulkRequest) -> list[ManagedInstance]:
        """Returns the instances of a request. Raises NotFound, and HttpError if it names none."""
        if not request.instances:
            raise invalid([(("instances",), f'`instances`: expected ids or ["{ANY}"], saw none')])
        if ANY in request.instances:
            return self._manager.all()
        return [self._manager.get(id) for id in dict.fromkeys(request.instances)]

    async def run(self, instances: Sequence[ManagedInstance]) -> BulkOutcomes:
        """Changes instances concurrently; returns what became of each."""
        outcomes = await asyncio.gather(*(self._change(each) for each in instances))
        return BulkOutcomes(instances=outcomes, count=len(outcomes))

    async def _change(self, instance: ManagedInstance) -> BulkOutcome:
        id = instance.id
        starts = self._desired is Desired.RUNNING
        try:
            in_time = await self._changes.run(
                self._manager.start(id) if starts else self._manager.stop(id),
                f"{'start' if starts else 'stop'} of instance {id}",
                lambda: instance.desired is self._desired and not self._manager.starting(id),
            )
        except Conflict as error:
            return _unchanged(instance) if self._is_done(instance) else _failed(instance, error)
        except MelticaError as error:
            return _failed(instance, error)
        complete = in_time and (starts or self._manager.recorded(id))
        return BulkOutcome(
            id=id,
            outcome="changed" if complete else "pending",
            status=instance.actual,
            running=instance.running,
        )

    def _is_done(self, instance: ManagedInstance) -> bool:
        as_desired = instance.desired is self._desired and not instance.lock.locked()
        return as_desired and instance.running == (self._desired is Desired.RUNNING)


def _unchanged(instance: ManagedInstance) -> BulkOutcome:
    return BulkOutcome(id=instance.id, outcome="unchanged", status=instance.actual, running=instance.running)


def _failed(instance: ManagedInstance, error: MelticaError) -> BulkOutcome:
    failure = error_response(error, "POST", f"/strategy/instances/{instance.id}").failure
    return BulkOutcome(
        id=instance.id,
        outcome="failed",
        status=instance.actual,
        running=instance.running,
        error=failure.error,
        code=failure.code,
    )
