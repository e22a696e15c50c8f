"""Plans a restore: what a backup declares, checked as a whole, and how it differs from what is configured.

1. What the config file declares is skipped. Other providers and instances that are not in their lists are
   deleted; a list that is absent changes none. Modules, tags and limits that are not in the backup are kept.
2. An instance is pinned to the revision of the backup, also if its tag selects another one now.
3. An instance whose strategy, scope, host, `dryRun` or `onStop` differs is replaced: it gets another uid.
4. A secret that is masked or absent keeps the stored one; one that is not stored is reported.
5. All faults are reported at once.
6. Settings that were set over REST become those of the backup; one that the environment gives is skipped.
   Their keys are accepted in any case. Limits among them are the global ones, if the backup has no others.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from pydantic import BaseModel, ValidationError

from meltica.api.envelope import without_nulls
from meltica.api.instances import InstanceDetail, InstanceRequest
from meltica.api.providers import ProviderRequest
from meltica.control import backup, bodies, configuration, provider_changes
from meltica.control.backup_file import respelled, spelled
from meltica.control.bodies import invalid
from meltica.control.instance_changes import InstanceChanges
from meltica.control.limit_changes import merged_limits
from meltica.control.restore_modules import ModulesOfBackup, latest_faults, read_modules
from meltica.errors import ConfigError, MelticaError, suggestion
from meltica.http.errors import HttpError
from meltica.lambdas.instances import LAMBDAS
from meltica.lambdas.modules.catalogue import ModuleCatalogue
from meltica.lambdas.modules.check import MAX_CHECKS, CheckFailed, UploadCheck
from meltica.persistence.stores.context import PlannedModules
from meltica.persistence.stores.providers import ProviderRecord
from meltica.settings.model import Settings
from meltica.settings.provider_declarations import InvalidDeclaration, has_mask
from meltica.settings.runtime import Values
from meltica.trading.risk.configured import GLOBAL, INSTANCE, PROVIDER, as_json
from meltica.validation.models import Loc, Locations, dotted, faults

if TYPE_CHECKING:
    from meltica.control.services import ControlServices
    from meltica.persistence.stores.context import StoredRevision
    from meltica.persistence.stores.instances import InstanceRecord, InstanceRow
    from meltica.persistence.stores.modules import RevisionRow, TagRow
    from meltica.persistence.stores.providers import ProviderRow
    from meltica.trading.risk.limits import RiskLimits

PROVIDER_KEYS: Final = ("name", "adapter", "config", "wasRunning")
INSTANCE_KEYS: Final = ("id", "strategy", "scope", "host", "dryRun", "onStop", "wasRunning")
STRATEGY_KEYS: Final = ("identifier", "config", "selector", "tag", "hash", "version")
ANSWERED: Final = frozenset(InstanceDetail.__struct_encode_fields__) | bodies.ANSWERED
"""Keys of answers, which clients send back."""

Found = list[tuple[Loc, str]]
Model = TypeVar("Model", bound=BaseModel)


@dataclass
class RestorePlan:
    """What a restore does. Keys are those of what is configured."""

    before: dict[str, Any]
    after: dict[str, Any]
    providers: dict[str, ProviderRecord] = field(default_factory=dict[str, ProviderRecord])
    """All that are to exist, without those of the config file."""
    instances: dict[str, "InstanceRecord"] = field(default_factory=dict[str, "InstanceRecord"])
    replaced: set[str] = field(default_factory=set[str])
    """Instances that get another uid."""
    limits: "dict[str, RiskLimits]" = field(default_factory=dict[str, "RiskLimits"])
    """Those that change."""
    settings: Values | None = None
    """All that are to be stored; None keeps them."""
    revisions: "list[StoredRevision]" = field(default_factory=list["StoredRevision"])
    """Those that are not stored yet."""
    tags: "list[TagRow]" = field(default_factory=list["TagRow"])
    skipped: list[str] = field(default_factory=list[str])
    missing_secrets: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    ran: list[str] = field(default_factory=list[str])
    """What ran when the backup was made."""

    @property
    def changes(self) -> dict[str, str]:
        """Returns what changes, and how."""
        kinds: dict[str, str] = {}
        for key in sorted({*self.before, *self.after}):
            if key not in self.before:
                kinds[key] = "created"
            elif key not in self.after:
                kinds[key] = "deleted"
            elif self.before[key] != self.after[key]:
                kinds[key] = "updated"
        return kinds


class RestorePlanner:
    """Plans one restore."""

    def __init__(
        self,
        services: "ControlServices",
        document: Mapping[str, Any],
        secrets: Mapping[str, Mapping[str, Any]],
        places: Mapping[str, Loc],
        *,
        store: bool,
    ) -> None:
        """`secrets` are those of the backup in clear text; without `store`, no master key is created.

        `places` are the locations of the lists in the body.
        """
        self._places = places
        self._services = services
        self._document = document
        self._secrets = secrets
        self._store = store
        self._found: Found = []
        self._runtime = self._settings()
        self._providers: dict[str, ProviderRow] = {}
        self._instances: dict[str, InstanceRow] = {}

    async def plan(self) -> RestorePlan:
        """Returns the plan. Raises HttpError with every fault."""
        rows, tags = await self._services.context.modules.all()
        # At the same moment as `before`, which has the same rows.
        providers, instances = self._services.context.rows()
        self._providers = {row.name: row for row in providers}
        self._instances = {row.id: row for row in instances}
        before = backup.configured(self._services, {row.hash: row.name for row in rows}, tags)
        plan = RestorePlan(before, dict(before))
        given = read_modules(self._list("modules"), self._found)
        self._plan_modules(plan, given, rows, tags)
        self._plan_providers(plan)
        await self._plan_instances(plan, given)
        self._plan_limits(plan)
        self._plan_settings(plan)
        if self._found:
            raise invalid(self._found)
        return plan

    def _plan_modules(
        self, plan: RestorePlan, given: ModulesOfBackup, rows: "list[RevisionRow]", tags: "list[TagRow]"
    ) -> None:
        stored = {row.hash for row in rows}
        plan.revisions = [each for each in given.revisions if each.hash not in stored]
        selected = {(tag.name, tag.tag.lower()): tag.hash for tag in tags}
        plan.tags = [tag for tag in given.tags if selected.get((tag.name, tag.tag.lower())) != tag.hash]
        self._found += latest_faults(given.revisions, [*tags, *given.tags])
        if plan.revisions and not self._services.uploads:
            text = "it has modules that are not stored, and `strategies.upload` is false"
            self._found.append((("modules",), f"`modules`: {text}; set it to true, or remove them"))
        plan.after |= {f"revision:{each.hash}": {"name": each.name} for each in plan.revisions}
        plan.after |= {backup.tag_key(tag.name, tag.tag): tag.hash for tag in plan.tags}

    def _plan_providers(self, plan: RestorePlan) -> None:
        if self._document.get("providers") is None:
            plan.providers = {
                row.name: provider_changes.record_of(row)
                for row in self._providers.values()
                if row.origin == "dynamic"
            }
            return
        names: dict[str, str] = {}
        for number, value in enumerate(self._list("providers")):
            loc: Loc = (*self._places["providers"], number)
            entry = self._object(value, loc, PROVIDER_KEYS)
            request = None if entry is None else self._provider_request(entry, loc)
            if request is None or entry is None:
                continue
            name = cast(str, request.name)
            if name.lower() in names or name.lower() == LAMBDAS:
                self._fault((*loc, "name"), f"the name `{name}` is reserved or given twice")
                continue
            names[name.lower()] = name
            row = next((row for row in self._providers.values() if row.name.lower() == name.lower()), None)
            if row is not None and row.origin == "baseline":
                plan.skipped.append(backup.provider_key(row.name))
                continue
            if row is not None and row.name != name:
                self._fault((*loc, "name"), f"provider `{row.name}` exists, in another case")
                continue
            record = self._provider(plan, request, row, loc)
            if record is not None:
                plan.providers[name] = record
                self._note_running(plan, backup.provider_key(name), entry, loc)
        for row in self._providers.values():
            if row.origin == "dynamic" and row.name not in plan.providers:
                plan.after.pop(backup.provider_key(row.name))
        for name, record in plan.providers.items():
            plan.after[backup.provider_key(name)] = provider_changes.configured(record)

    def _provider_request(self, entry: dict[str, Any], loc: Loc) -> ProviderRequest | None:
        """Returns the declaration of a provider, also in the form of existing clients."""
        adapter, config = entry.get("adapter"), entry.get("config")
        if isinstance(config, Mapping) and {"identifier", "provider_name"} & config.keys():
            inner = cast(Mapping[str, Any], config)
            adapter, config = adapter or inner.get("identifier"), inner.get("config")
        values: dict[str, Any] = {
            "name": entry.get("name"),
            "adapter": {"identifier": adapter},
            "settings": {} if config is None else config,
        }
        missing = [key for key, value in (("name", values["name"]), ("adapter", adapter)) if not value]
        for key in missing:
            self._fault((*loc, key), "it is required and was not given")
        return None if missing else self._read(ProviderRequest, values, loc)

    def _provider(
        self, plan: RestorePlan, request: ProviderRequest, row: "ProviderRow | None", loc: Loc
    ) -> ProviderRecord | None:
        """4: returns the record of a provider; None if it has faults."""
        assert request.name is not None
        assert request.adapter is not None
        name, adapter = request.name, provider_changes.adapter_of(request)
        clear = self._secrets.get(name, {})
        given = {key: value for key, value in (request.settings or {}).items() if value is not None}
        same = row is not None and row.adapter == adapter
        stored = row.secrets if row is not None and same else {}
        missing = sorted(
            key for key, value in given.items() if has_mask(value) and key not in stored and key not in clear
        )
        given = {key: value for key, value in given.items() if key not in missing} | dict(clear)
        if missing:
            plan.missing_secrets[name] = missing
        if row is not None and same and not clear and given == row.settings:
            return provider_changes.record_of(row)
        declarations = self._services.provider_declarations
        try:
            if row is not None and same:
                return provider_changes.record_of(declarations.changed(row, given, {}, plan=not self._store))
            return declarations.created(name, adapter, given, plan=not self._store)
        except InvalidDeclaration as error:
            for at, text in error.found:
                here = (*loc, "adapter") if at[-1] == "identifier" else (*loc, *at[1:])
                self._found.append((here, text.replace(f"`{dotted(at)}`", f"`{dotted(here)}`")))
        except ConfigError as error:
            raise HttpError(503, "secrets_unavailable", f"nothing changed: {error}") from None
        return None

    async def _plan_instances(self, plan: RestorePlan, given: ModulesOfBackup) -> None:
        modules = PlannedModules(self._services.context.modules, given.revisions, given.tags)
        services = replace(self._services, modules=ModuleCatalogue(modules))
        reader = InstanceChanges(services)
        baseline = [row for row in self._providers.values() if row.origin == "baseline"]
        live = {each.name for each in services.providers.all() if each.spec.live}
        providers = {
            each.name: reader.account_fault(each.name, each.adapter, live=each.name in live)
            for each in (*baseline, *plan.providers.values())
        }
        for number, value in enumerate(self._list("lambdas")):
            loc: Loc = (*self._places["lambdas"], number)
            entry = self._object(value, loc, INSTANCE_KEYS, ANSWERED)
            request = None if entry is None else self._instance_request(entry, loc)
            if request is None or entry is None:
                continue
            row, key = self._instances.get(request.id), backup.instance_key(request.id)
            if row is not None and row.origin == "baseline":
                plan.skipped.append(key)
                continue
            if request.id in plan.instances:
                self._fault((*loc, "id"), f"the instance `{request.id}` is given twice")
                continue
            record = await self._instance(reader, request, providers, loc)
            if record is None:
                continue
            plan.instances[request.id] = record
            self._note_running(plan, key, entry, loc)
            shown = backup.pinned(record)
            if row is not None and is_same(row, record):
                shown |= {"uid": str(row.uid)}
            elif row is not None:
                plan.replaced.add(row.id)
            plan.after[key] = shown
        for row in self._instances.values():
            if row.origin == "dynamic" and row.id not in plan.instances:
                self._plan_absent(plan, row, [*providers, *plan.providers])
        await self._check_new(plan)

    def _plan_absent(self, plan: RestorePlan, row: "InstanceRow", providers: list[str]) -> None:
        """1: deletes an instance that is not in the list; without a list, it is kept."""
        if self._document.get("lambdas") is not None:
            plan.after.pop(backup.instance_key(row.id))
            return
        for name in sorted({*row.scope} - {*providers, LAMBDAS}):
            text = f"the instance `{row.id}` is kept and uses it; add it, or delete the instance"
            self._fault(("providers",), f"provider `{name}` would be deleted: {text}")

    def _instance_request(self, entry: dict[str, Any], loc: Loc) -> InstanceRequest | None:
        values = {key: value for key, value in entry.items() if key != "wasRunning" and value is not None}
        strategy, scope = values.get("strategy"), values.get("scope")
        if isinstance(strategy, Mapping):
            values["strategy"] = without_nulls(respelled(cast(Mapping[str, Any], strategy), STRATEGY_KEYS))
        if isinstance(scope, Mapping):
            values["scope"] = {
                name: respelled(cast(Mapping[str, Any], each), ["symbols"])
                if isinstance(each, Mapping)
                else each
                for name, each in cast(Mapping[str, Any], scope).items()
            }
        return self._read(InstanceRequest, values, loc)

    async def _instance(
        self,
        reader: InstanceChanges,
        request: InstanceRequest,
        providers: Mapping[str, str | None],
        loc: Loc,
    ) -> "InstanceRecord | None":
        """2: returns the record of an instance; None if it has faults."""
        try:
            record, found = await reader.record(request, providers, pinned=True)
        except MelticaError as error:
            found, record = [(("strategy",), f"`strategy`: {error}")], None
        for at, text in found:
            here = (*loc, *at)
            self._found.append((here, text.replace(f"`{dotted(at)}`", f"`{dotted(here)}`")))
        return None if found else record

    async def _check_new(self, plan: RestorePlan) -> None:
        """Runs the check of uploads for new revisions that instances are pinned to."""
        used = {record.revision for record in plan.instances.values()}
        check, slots = UploadCheck(), asyncio.Semaphore(MAX_CHECKS)

        async def run(revision: "StoredRevision") -> list[str]:
            async with slots:
                try:
                    return [fault.message for fault in (await check.run(revision.source)).faults]
                except CheckFailed as error:
                    return [str(error)]

        new = [each for each in plan.revisions if each.hash in used]
        for revision, texts in zip(new, await asyncio.gather(*map(run, new)), strict=True):
            for text in texts:
                self._fault(("modules",), f"revision {revision.hash} of `{revision.name}`: {text}")

    def _plan_limits(self, plan: RestorePlan) -> None:
        for scope, loc, values in self._limits():
            limits = merged_limits(self._services, scope, loc, values, self._found)
            if limits is not None and limits != self._services.trading.limits.of(scope):
                plan.limits[scope] = limits
                plan.after[backup.limits_key(scope)] = as_json(limits)

    def _settings(self) -> dict[str, Any]:
        """6: returns the settings of the backup, in their own spelling."""
        given: object = self._document.get("runtime")
        if given is None:
            return {}
        if isinstance(given, Mapping):
            return spelled(Settings, cast(Mapping[str, Any], given))
        self._fault(("runtime",), "expected keys with values")
        return {}

    def _plan_settings(self, plan: RestorePlan) -> None:
        """6: plans the settings; without their key, they are kept."""
        stored = self._services.configuration.stored
        if self._document.get("runtime") is None:
            return
        given = {key: value for key, value in self._runtime.items() if key != "risk"}
        values, skipped = configuration.restored(self._services, given, self._found)
        plan.skipped += map(backup.setting_key, skipped)
        for key in stored:
            plan.after.pop(backup.setting_key(key))
        plan.after |= {backup.setting_key(key): value for key, value in values.items()}
        plan.settings = None if values == stored else values

    def _limits(self) -> Iterator[tuple[str, Loc, Mapping[str, Any]]]:
        """Yields the limits of each scope; `limits` decides, else `risk`, else that of the settings."""
        given, risk, loc = self._document.get("limits"), self._document.get("risk"), ("risk",)
        if "risk" in self._runtime:
            if given is not None or risk is not None:
                self._fault(("runtime", "risk"), "the backup has limits besides; keep one of them")
            risk, loc = self._runtime["risk"], ("runtime", "risk")
        if given is None and isinstance(risk, Mapping):
            yield GLOBAL, loc, filled(cast(Mapping[str, Any], risk))
        elif given is None and risk is not None:
            self._fault(loc, "expected keys with values")
        if given is not None and not isinstance(given, Mapping):
            self._fault(("limits",), "expected keys with values")
            return
        for scope, limits in cast(Mapping[str, Any], given or {}).items():
            if not isinstance(limits, Mapping) or not (
                scope == GLOBAL or scope.startswith((PROVIDER, INSTANCE))
            ):
                text = "expected `global`, `provider:NAME` or `instance:ID`, with keys and values"
                self._fault(("limits", scope), text)
            else:
                yield scope, ("limits", scope), cast(Mapping[str, Any], limits)

    def _note_running(self, plan: RestorePlan, key: str, entry: Mapping[str, Any], loc: Loc) -> None:
        if not isinstance(entry.get("wasRunning", False), bool):
            self._fault((*loc, "wasRunning"), "expected true or false")
        elif entry.get("wasRunning"):
            plan.ran.append(key)

    def _list(self, key: str) -> list[Any]:
        value = self._document.get(key)
        if value is not None and not isinstance(value, list):
            self._fault((key,), "expected a list")
            return []
        return cast(list[Any], value or [])

    def _object(
        self, value: object, loc: Loc, names: tuple[str, ...], ignored: frozenset[str] = frozenset()
    ) -> dict[str, Any] | None:
        if not isinstance(value, Mapping):
            self._fault(loc, "expected keys with values")
            return None
        entry = respelled(cast(Mapping[str, Any], value), names)
        unknown = [key for key in entry if key not in names and key not in ignored]
        for key in unknown:
            text = f"`{dotted((*loc, key))}` is unknown{suggestion(key, names)}"
            self._found.append(((*loc, key), text))
        return None if unknown else {key: each for key, each in entry.items() if key in names}

    def _read(self, cls: type[Model], values: Mapping[str, Any], loc: Loc) -> Model | None:
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            self._found += faults(cls, error.errors(), Locations(), loc)
        return None

    def _fault(self, loc: Loc, text: str) -> None:
        self._found.append((loc, f"`{dotted(loc)}`: {text}"))


def is_same(row: "InstanceRow", record: "InstanceRecord") -> bool:
    """3: returns whether a record changes an instance, rather than replace it."""
    names = ("strategy", "scope", "host", "dry_run", "on_stop")
    return all(getattr(row, name) == getattr(record, name) for name in names)


def filled(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns limits without the blank texts of existing clients."""
    texts = {
        key: filled(cast(Mapping[str, Any], each)) if isinstance(each, Mapping) else each
        for key, each in given.items()
    }
    return {key: each for key, each in texts.items() if each not in ("", {})}
