"""Restores backups.

1. What changes is stopped first. Then everything is written in one transaction, or nothing.
2. A restore starts nothing, unless the client requests it and names the providers whose accounts are used.
3. An instance with open orders or positions is neither deleted nor replaced, and a provider is not deleted
   while instances have any there.
"""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meltica.api.backup import Restored
from meltica.control import backup, provider_changes
from meltica.control.restore_plan import RestorePlan
from meltica.errors import ChangeInDoubt, Conflict, DatabaseError, MelticaError, one_line
from meltica.http.errors import HttpError
from meltica.persistence.stores.audit import AuditEntry, acting, difference
from meltica.persistence.stores.context import ContextChange
from meltica.persistence.stores.supervised import RowChanges
from meltica.runtime.lifecycle import Desired, idle_lock

if TYPE_CHECKING:
    from meltica.control.services import ControlServices
    from meltica.lambdas.manager import ManagedInstance
    from meltica.providers.provider import Provider

log = logging.getLogger("meltica.control")


@dataclass
class Restore:
    """One restore."""

    services: "ControlServices"
    plan: RestorePlan
    start: bool
    stopped: list[str] = field(default_factory=list[str])
    started: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def result(self) -> Restored:
        """Returns what was done so far."""
        return Restored(
            changes=self.plan.changes,  # pyright: ignore[reportArgumentType]
            stopped=self.stopped,
            skipped=self.plan.skipped,
            missing_secrets=self.plan.missing_secrets,
            started=self.started,
            failed=self.failed,
        )

    def affected(self) -> "tuple[list[ManagedInstance], list[Provider]]":
        """Returns the instances and providers that change."""
        changes, services = self.plan.changes, self.services
        return (
            [each for each in services.instances.all() if backup.instance_key(each.id) in changes],
            [each for each in services.providers.all() if backup.provider_key(each.name) in changes],
        )

    def would_stop(self) -> list[str]:
        """Returns what runs and changes."""
        instances, providers = self.affected()
        return [
            *(backup.instance_key(each.id) for each in instances if each.desired is Desired.RUNNING),
            *(backup.provider_key(each.name) for each in providers if each.desired is Desired.RUNNING),
        ]

    def beside(self) -> dict[str, Any]:
        """Returns what a plan shows beside the changes."""
        plan = self.plan
        return {
            "stopped": self.would_stop(),
            "skipped": plan.skipped,
            "missingSecrets": plan.missing_secrets,
        }

    async def run(self) -> None:
        """Restores. Raises Conflict, HttpError, DatabaseError and its subclasses."""
        if self.plan.changes:
            try:
                await self._change()
            except MelticaError as error:
                if not self.stopped:
                    raise
                raise self._with_stopped(error) from error
        if self.start:
            await self._start()

    def _with_stopped(self, error: MelticaError) -> MelticaError:
        """Returns an error that names what stays stopped: the client would take it to run on."""
        stopped = f"; stopped before, and to be started again: {', '.join(self.stopped)}"
        if type(error) is DatabaseError:
            log.error("backup not restored", exc_info=error)
            text = "backup not restored: the database refused it; the log has the reason"
            return HttpError(503, "database_refused", f"{text}{stopped}")
        return type(error)(f"{error}{stopped}")

    async def _change(self) -> None:
        await self._refuse_held()
        await self._stop()
        async with self._held_still():
            await self._refuse_held()
            await self.services.context.apply(await self._context_change())
        try:
            await self.services.adopt()
        except DatabaseError as error:
            text = f"the gateway does not run it yet: {error}; that is retried until it succeeds"
            raise ChangeInDoubt(f"backup restored in the database; {text}") from error
        log.info("backup restored: %d changes", len(self.plan.changes))

    async def _stop(self) -> None:
        """1: stops what changes. Raises Conflict and DatabaseUnavailable."""
        instances, providers = self.affected()
        for instance in instances:
            if instance.running or instance.desired is Desired.RUNNING:
                await self.services.instances.stop(instance.id)
                self.stopped.append(backup.instance_key(instance.id))
        for provider in providers:
            if provider.busy or provider.desired is Desired.RUNNING:
                await self.services.providers.stop(provider.name)
                self.stopped.append(backup.provider_key(provider.name))

    @asynccontextmanager
    async def _held_still(self) -> AsyncGenerator[None]:
        """Keeps other changes out of what changes. Raises Conflict if anything changed since the plan."""
        instances, providers = self.affected()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.services.configuration.changing())
            await stack.enter_async_context(self.services.trading.limits.changing())
            for instance in instances:
                lock = idle_lock(instance.lock, backup.instance_key(instance.id), instance.actual)
                await stack.enter_async_context(lock)
            for provider in providers:
                lock = idle_lock(provider.lock, backup.provider_key(provider.name), provider.actual)
                await stack.enter_async_context(lock)
                provider.removing = provider.name not in self.plan.providers
                stack.callback(setattr, provider, "removing", False)
            busy = [each.id for each in instances if each.running or each.abandoned]
            busy += [each.name for each in providers if each.busy or each.reservations]
            if busy:
                raise Conflict(f"{self._not_restored}: {', '.join(busy)} did not stop, or was started; retry")
            rows, tags = await self.services.context.modules.all()
            now = backup.configured(self.services, {row.hash: row.name for row in rows}, tags)
            if now != self.plan.before:
                raise Conflict(f"{self._not_restored}: the configuration changed meanwhile; retry")
            yield

    async def _refuse_held(self) -> None:
        """3: raises Conflict for what is still in use."""
        changes, found = self.plan.changes, list[str]()
        for row in self.services.context.rows()[1]:
            gone = changes.get(backup.instance_key(row.id)) == "deleted" or row.id in self.plan.replaced
            held = await self.services.holder_faults(row) if gone else None
            if held is not None:
                found.append(f"instance `{row.id}` would be deleted and has {held}")
        for row in self.services.context.rows()[0]:
            if changes.get(backup.provider_key(row.name)) == "updated":
                after = self.plan.providers[row.name]
                fault = await provider_changes.account_change_fault(self.services, row, after)
                if fault is not None:
                    found.append(f"provider `{row.name}`: {fault}")
            gone = changes.get(backup.provider_key(row.name)) == "deleted"
            held = await self.services.provider_holdings(row.name) if gone else None
            if held is not None:
                found.append(f"provider `{row.name}` would be deleted, and instances have {held} there")
        if found:
            raise Conflict(f"{self._not_restored}: {'; '.join(found)}; close or release them first")

    async def _context_change(self) -> ContextChange:
        plan = self.plan
        before, after = difference(plan.before, plan.after)
        act = acting.get()
        entry = AuditEntry(
            actor="gateway" if act is None else act.actor,
            action="backup.restore",
            subject="context",
            before=before,
            after=after,
        )
        limits = self.services.trading.limits
        return ContextChange(
            providers=_row_changes(plan, backup.provider_key, plan.providers, set()),
            instances=_row_changes(plan, backup.instance_key, plan.instances, plan.replaced),
            limits=limits.documents(plan.limits) if plan.limits else None,
            settings=None if plan.settings is None else self.services.configuration.documents(plan.settings),
            revisions=plan.revisions,
            tags=plan.tags,
            audit=entry,
        )

    async def _start(self) -> None:
        """2: starts what ran when the backup was made."""
        services = self.services
        for key in sorted(self.plan.ran, key=lambda key: (key.startswith("instance:"), key)):
            kind, _, name = key.partition(":")
            try:
                if kind == "provider" and not services.providers.get(name).busy:
                    await services.providers.start(name)
                    self.started.append(key)
                elif kind == "instance" and not services.instances.get(name).running:
                    await services.instances.start(name)
                    self.started.append(key)
            except MelticaError as error:
                self.failed[key] = one_line(error)

    @property
    def _not_restored(self) -> str:
        return "backup not restored, nothing changed"


@asynccontextmanager
async def alone(services: "ControlServices") -> AsyncGenerator[None]:
    """Lets one restore at a time be planned and made: the check of its modules takes processes.

    Raises Conflict while there is another one.
    """
    if services.context.restoring.locked():
        raise Conflict("backup not restored: another restore is in progress; retry when it is done")
    async with services.context.restoring:
        yield


def refuse_unnamed_accounts(plan: RestorePlan, named: set[str]) -> None:
    """2: raises HttpError unless the providers of the instances that would start are named."""
    starting = [
        plan.instances[key.partition(":")[2]]
        for key in plan.ran
        if key.startswith("instance:") and key.partition(":")[2] in plan.instances
    ]
    accounts = sorted({provider for record in starting for provider in record.scope})
    if not set(accounts) <= named:
        text = f"with `start=true` instances would trade on the accounts of {', '.join(accounts)}"
        remedy = f"repeat it with `accounts={','.join(accounts)}`"
        raise HttpError(409, "accounts_not_named", f"backup not restored, nothing changed: {text}; {remedy}")


def _row_changes(
    plan: RestorePlan, key: Any, wanted: Mapping[str, Any], replaced: set[str]
) -> RowChanges[Any]:
    """Returns how rows change."""
    kinds, prefix = plan.changes, key("")
    names = {name.removeprefix(prefix): kind for name, kind in kinds.items() if name.startswith(prefix)}
    gone = [name for name, kind in names.items() if kind == "deleted" or name in replaced]
    new = [name for name, kind in names.items() if kind == "created" or name in replaced]
    changed = [name for name, kind in names.items() if kind == "updated" and name not in replaced]
    return RowChanges(gone, [wanted[name] for name in changed], [wanted[name] for name in new])
