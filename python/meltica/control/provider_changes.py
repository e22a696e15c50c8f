"""Changes of what is configured of providers: from the body of a request to the row that is stored."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from meltica.adapters import registry
from meltica.api.adapters import Adapter
from meltica.api.envelope import Change
from meltica.api.providers import AdapterRequest, ProviderDetail, ProviderRequest
from meltica.control.bodies import invalid, read_body
from meltica.control.preconditions import Precondition
from meltica.errors import AlreadyExists, ConfigError, Conflict
from meltica.http.errors import HttpError
from meltica.lambdas.instances import LAMBDAS
from meltica.persistence.stores.providers import ProviderRecord, ProviderRow
from meltica.runtime.lifecycle import Desired
from meltica.settings.provider_declarations import InvalidDeclaration
from meltica.validation.models import MASK, Loc

if TYPE_CHECKING:
    from meltica.control.services import ControlServices
    from meltica.providers.spec import ProviderSpec


class Declared(NamedTuple):
    """A provider as it is to be."""

    spec: "ProviderSpec"
    record: ProviderRecord
    desired: Desired | None
    """None keeps the desired state."""


def configured(record: ProviderRecord) -> dict[str, Any]:
    """Returns what is configured of a provider: its version is made of that. Secrets have versions only."""
    secrets = {key: f"{MASK} version {text[:8]}" for key, text in record.secrets.items()}
    values: dict[str, Any] = {"name": record.name, "adapter": record.adapter, "settings": record.settings}
    return {**values, "secrets": secrets}


class ProviderChanges:
    """Reads and checks the bodies of requests."""

    def __init__(self, services: "ControlServices", precondition: Precondition) -> None:
        self._services = services
        self._precondition = precondition
        self._declarations = services.provider_declarations

    def created(self, body: Mapping[str, Any]) -> tuple["ProviderSpec", ProviderRecord, Desired]:
        """Returns the provider that a body declares. Raises HttpError with every fault, and AlreadyExists."""
        request = _read(body)
        found: list[tuple[Loc, str]] = []
        adapter = adapter_of(request)
        if request.name is None:
            found.append((("name",), "`name` is required and was not given"))
        elif request.name.lower() == LAMBDAS:
            found.append((("name",), f"`name`: `{LAMBDAS}` is reserved for the events that lambdas emit"))
        if not adapter:
            found.append((("adapter", "identifier"), "`adapter.identifier` is required and was not given"))
        if request.name is None or found:
            raise invalid(found)
        for provider in self._services.providers.all():
            if provider.name.lower() == request.name.lower():
                raise AlreadyExists(f"provider `{provider.name}` exists already")
        settings = _settings(request) or {}
        record = self._checked(
            lambda: self._declarations.created(
                cast(str, request.name), adapter, settings, plan=self._precondition.plan
            )
        )
        self._precondition.check("create", None, configured(record))
        desired = Desired.STOPPED if request.enabled is False else Desired.RUNNING
        return self._declarations.spec(record), record, desired

    def changed(self, name: str, body: Mapping[str, Any]) -> ProviderRequest:
        """Returns the body of a change. Raises HttpError with every fault."""
        request = _read(body)
        if request.name is not None and request.name.lower() != name.lower():
            text = f"`name`: provider name mismatch: expected {name}, saw {request.name}"
            raise invalid([(("name",), text)])
        return request

    async def declared(
        self,
        request: ProviderRequest,
        row: ProviderRow,
        shown: Mapping[str, Any],
        *,
        enabled: bool,
        same_account: bool,
    ) -> Declared | None:
        """Returns a provider after a change; None if nothing changes.

        `shown` and `enabled` are what GET answers. With `same_account`, the client states that the account
        stays the same. Raises HttpError with every fault, and Conflict.
        """
        adapter = adapter_of(request)
        if adapter and adapter != row.adapter:
            raise Conflict(f"provider `{row.name}` not changed: its adapter is immutable")
        settings = _settings(request)
        wanted = enabled if request.enabled is None else request.enabled
        beside = {} if wanted is enabled else {"enabled": Change(before=enabled, after=wanted)}
        if row.origin == "baseline":
            self._precondition.check("update", configured(row), configured(row), beside)
            if beside or (settings is not None and self._declarations.differs(settings, shown)):
                text = "it is in the config file; change it there"
                raise Conflict(f"provider `{row.name}` not changed: {text}")
            return None
        record: ProviderRecord = row
        if settings is not None:
            record = self._checked(
                lambda: self._declarations.changed(row, settings, shown, plan=self._precondition.plan)
            )
        self._precondition.check("update", configured(row), configured(record), beside)
        if configured(record) == configured(row) and not beside:
            return None
        fault = None if same_account else await account_change_fault(self._services, row, record)
        if fault is not None:
            text = "state with `sameAccount=true` that it is the same account"
            raise Conflict(f"provider `{row.name}` not changed: {fault} first, or {text}")
        desired = None if not beside else Desired.RUNNING if wanted else Desired.STOPPED
        return Declared(self._declarations.spec(record), record_of(record), desired)

    async def refuse_deletion(self, row: ProviderRow) -> None:
        """Raises Conflict for a provider that is in use, and HttpError for another version."""
        self._precondition.check("delete", configured(row), None)
        what = f"provider `{row.name}` not deleted: it is in use"
        if row.origin == "baseline":
            raise Conflict(f"{what} by the config file; remove it there")
        held = await self._services.provider_holdings(row.name)
        # Last, as no instance can be created for it while it is being deleted.
        dependents = self._services.instances.dependents(row.name)
        if dependents:
            raise Conflict(f"{what} by {', '.join(dependents)}; delete these instances first")
        if self._services.providers.get(row.name).reservations:
            raise Conflict(f"{what} by an instance that is being created")
        if held is not None:
            raise Conflict(f"{what}: instances have {held} there")

    def _checked(self, make: Callable[[], ProviderRecord]) -> ProviderRecord:
        try:
            return make()
        except InvalidDeclaration as error:
            raise invalid(error.found) from None
        except ConfigError as error:
            raise HttpError(503, "secrets_unavailable", f"nothing changed: {error}") from None


async def account_change_fault(
    services: "ControlServices", before: ProviderRecord, after: ProviderRecord
) -> str | None:
    """Returns why a provider must not trade on another account now, with the remedy; None if it may.

    What is open on the former account could neither be seen nor cancelled any more. Raises DatabaseError.
    """
    if not _other_account(services, before, after):
        return None
    named = [
        each.id
        for each in services.instances.all()
        if before.name in each.spec.scope and not each.spec.dry_run and (each.running or each.lock.locked())
    ]
    if named:
        return f"it would trade on another account, and {', '.join(named)} trade there; stop these"
    held = await services.provider_holdings(before.name, live=True)
    return held and another_account(held)


def another_account(held: str) -> str:
    """Returns why a provider may not trade on another account while instances have something there."""
    return f"it would trade on another account, and instances have {held} there; end these"


def _other_account(services: "ControlServices", before: ProviderRecord, after: ProviderRecord) -> bool:
    """Returns whether a change may select another account."""
    old, new = (services.provider_declarations.spec(each) for each in (before, after))
    if old.fault is not None or new.fault is not None:
        return True
    names = registry.adapter(before.adapter).account_settings
    if names is None:
        return old.settings.restarts_for(new.settings)
    return any(getattr(old.settings, name) != getattr(new.settings, name) for name in names)


def _read(body: Mapping[str, Any]) -> ProviderRequest:
    adapter = body.get("adapter")
    if isinstance(adapter, str):
        body = {**body, "adapter": {"identifier": adapter}}
    elif isinstance(adapter, Mapping):
        answered = {*Adapter.__struct_encode_fields__} - {"identifier"}
        given = cast(Mapping[str, Any], adapter).items()
        kept = {key: value for key, value in given if key not in answered and value is not None}
        body = {**body, "adapter": kept}
    return read_body(ProviderRequest, body, ProviderDetail)


def adapter_of(request: ProviderRequest) -> str:
    """Returns the identifier of the adapter in a body."""
    name = (request.adapter or AdapterRequest()).identifier.strip()
    return name if name in registry.names(registry.ADAPTERS) else name.lower()


def _settings(request: ProviderRequest) -> dict[str, Any] | None:
    if request.adapter is not None and request.adapter.config is not None:
        return request.adapter.config
    return request.settings


def record_of(record: ProviderRecord) -> ProviderRecord:
    """Returns the declaration of a row."""
    names = ProviderRecord.__struct_fields__
    return ProviderRecord(**{name: getattr(record, name) for name in names})
