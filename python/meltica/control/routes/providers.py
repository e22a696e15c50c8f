"""`/providers`: providers are created, changed, deleted, started and stopped."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from meltica.api.adapters import Adapter
from meltica.api.envelope import JsonObject, optional, without_nulls
from meltica.api.providers import (
    ProviderCounters,
    ProviderDetail,
    Providers,
    ProviderSummary,
    RemovedProvider,
)
from meltica.control.access import ADMIN, OPERATOR, VIEWER
from meltica.control.bodies import QUERY
from meltica.control.catalogues import AdapterCatalogue
from meltica.control.changes import ChangeRunner
from meltica.control.paging import AnyLimit, Cursor, key_of, next_cursor, page_of
from meltica.control.preconditions import CHANGE_QUERY, Precondition, etag
from meltica.control.provider_changes import Declared, ProviderChanges, configured
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, PLANNED, PRECONDITION, response
from meltica.control.services import ControlServices
from meltica.persistence.stores.providers import ProviderRow
from meltica.providers.provider import Provider
from meltica.runtime.lifecycle import Desired, ProviderState

LATE = response(202, ProviderDetail, "The change takes longer and continues in the background")
LATE_DELETION = response(202, RemovedProvider, "It still stops, and is deleted then")


class ProviderView:
    """Makes the JSON of providers."""

    def __init__(self, services: ControlServices, adapters: AdapterCatalogue) -> None:
        self._services = services
        self._adapters = adapters

    def summary(self, provider: Provider) -> ProviderSummary:
        """Returns a provider as the list shows it."""
        return ProviderSummary(adapter=provider.spec.adapter, **self._base(provider))

    def detail(self, provider: Provider) -> ProviderDetail:
        """Returns a provider with its adapter, instruments and counters."""
        return ProviderDetail(
            adapter=self._adapters.adapters.get(provider.spec.adapter) or _not_installed(provider),
            instruments=[_instrument(one) for one in provider.instruments],
            counters=self._counters(provider.name),
            **self._base(provider),
        )

    def _base(self, provider: Provider) -> dict[str, Any]:
        services = self._services
        dependents = services.instances.dependents(provider.name)
        wanted = provider.desired is Desired.RUNNING
        enabled = self.enabled(provider)
        return {
            "name": provider.name,
            "identifier": provider.spec.adapter,
            "instrument_count": len(provider.instruments),
            "settings": without_nulls(self.settings(provider)),
            "running": provider.running,
            "status": provider.actual,
            "startup_error": optional(provider.last_error),
            "connection_error": optional(provider.connection_error),
            "route_error": optional(provider.route_error),
            "desired": provider.desired,
            "enabled": enabled,
            "drift": wanted != enabled,
            "recorded": UNSET if services.providers.recorded(provider.name) else False,
            "baseline": self._is_baseline(provider),
            "restarts": provider.restarts,
            "dependent_instances": dependents or UNSET,
            "dependent_instance_count": len(dependents) or UNSET,
        }

    def settings(self, provider: Provider) -> JsonObject:
        """Returns the settings of a provider; secrets are masked."""
        if self._is_baseline(provider):
            return self._services.provider_settings[provider.name]
        row = self._services.providers.stored(provider.name)
        return self._services.provider_declarations.shown(row, provider.spec)

    def enabled(self, provider: Provider) -> bool:
        """Returns whether the config file enables a provider; without an entry, whether it should run."""
        return provider.spec.enabled if self._is_baseline(provider) else provider.desired is Desired.RUNNING

    def _is_baseline(self, provider: Provider) -> bool:
        return self._services.providers.stored(provider.name).origin == "baseline"

    def _counters(self, name: str) -> ProviderCounters | UnsetType:
        stats = self._services.provider_stats().get(name)
        if stats is None:
            return UNSET
        return ProviderCounters(**{field: stats[field] for field in ProviderCounters.__struct_fields__})


def _by_name(provider: Provider) -> tuple[str]:
    return (provider.name,)


def provider_view(
    services: NamedDependency[ControlServices], adapters: NamedDependency[AdapterCatalogue]
) -> ProviderView:
    """Returns the view that handlers of providers get."""
    return ProviderView(services, adapters)


class ProvidersController(Controller):
    """All providers."""

    path = "/providers"
    tags = ["providers"]
    guards = [VIEWER]
    dependencies = {"view": Provide(provider_view, sync_to_thread=False)}

    @get(summary="List the providers", operation_id="listProviders")
    async def list_providers(
        self,
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
        limit: AnyLimit = None,
        cursor: Cursor = None,
    ) -> Providers:
        """Returns the providers, by name."""
        page = page_of(services.providers.all(), _by_name, key_of(cursor, tuple[str]), limit)
        shown = [view.summary(provider) for provider in page.rows]
        return Providers(providers=shown, cursor=next_cursor(page, _by_name))

    @get("/{name:str}", summary="Get a provider", operation_id="getProvider", responses=NOT_FOUND)
    async def get_provider(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
    ) -> Response[ProviderDetail]:
        """Returns a provider. Raises NotFound."""
        return _versioned(view.detail(services.providers.get(name)), services)

    @post(
        status_code=202,
        summary="Create a provider",
        description="It starts in the background unless `enabled` is false; poll its `status`. `?plan=1` only"
        " answers what would change.",
        operation_id="createProvider",
        guards=[ADMIN],
        responses=PLANNED | CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def create_provider(
        self,
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[ProviderDetail]:
        """Creates a provider. Raises HttpError, AlreadyExists and DatabaseUnavailable."""
        manager = services.providers
        spec, record, desired = ProviderChanges(services, precondition).created(data)
        created = manager.create(spec, record, desired)
        await changes.run(created, f"creation of provider {spec.name}", lambda: spec.name in manager)
        detail = view.detail(manager.get(spec.name))
        return _versioned(detail, services, status=202, headers=_location(spec.name))

    @put(
        "/{name:str}",
        status_code=200,
        summary="Change the settings of a provider",
        description="One that runs is restarted in the background, unless only `checksum` changes: that"
        " applies at once. The adapter is immutable, and the account while instances trade there, or have"
        " open orders or positions.",
        operation_id="updateProvider",
        guards=[ADMIN],
        responses=LATE | NOT_FOUND | CONFLICT | PRECONDITION,
        opt={QUERY: (*CHANGE_QUERY, "sameAccount")},
    )
    async def update_provider(
        self,
        name: FromPath[str],
        data: JSONBody[JsonObject],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
        same_account: Annotated[
            bool, QueryParameter(name="sameAccount", description="The account stays the same.")
        ] = False,
    ) -> Response[ProviderDetail]:
        """Changes settings, or whether it runs. Raises HttpError, NotFound, Conflict, DatabaseUnavailable."""
        manager, reader = services.providers, ProviderChanges(services, precondition)
        provider = manager.get(name)
        body = reader.changed(name, data)
        stored = manager.stored(name)

        async def declare(row: ProviderRow) -> Declared | None:
            return await reader.declared(
                body,
                row,
                view.settings(provider),
                enabled=view.enabled(provider),
                same_account=same_account,
            )

        in_time = await changes.run(
            manager.change(name, declare),
            f"change of provider {name}",
            lambda: manager.stored(name) != stored,
        )
        return _versioned(view.detail(provider), services, status=200 if in_time else 202)

    @delete(
        "/{name:str}",
        status_code=200,
        summary="Delete a provider",
        description="One that an instance has in its scope, or with open orders or positions, is not deleted."
        " One that runs is stopped first.",
        operation_id="deleteProvider",
        guards=[ADMIN],
        responses=LATE_DELETION | NOT_FOUND | CONFLICT | PRECONDITION,
        opt={QUERY: CHANGE_QUERY},
    )
    async def delete_provider(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[RemovedProvider]:
        """Deletes a provider. Raises NotFound, Conflict, HttpError and DatabaseUnavailable."""
        manager, reader = services.providers, ProviderChanges(services, precondition)
        provider = manager.get(name)
        in_time = await changes.run(
            manager.remove(name, reader.refuse_deletion),
            f"deletion of provider {name}",
            lambda: name not in manager or provider.actual in (ProviderState.STARTING, ProviderState.RUNNING),
        )
        if in_time:
            return Response(RemovedProvider(name=name))
        return Response(RemovedProvider(name=name, status="removing"), status_code=202)

    @post(
        "/{name:str}/start",
        status_code=202,
        summary="Start a provider",
        description="The provider starts in the background; poll its `status`.",
        operation_id="startProvider",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=NOT_FOUND | CONFLICT,
    )
    async def start_provider(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[ProviderDetail]:
        """Starts a provider in the background. Raises NotFound, Conflict and DatabaseUnavailable."""
        manager = services.providers
        provider = manager.get(name)
        precondition.check_run("start", configured(manager.stored(name)), provider.actual, "running")
        await changes.run(
            manager.start(name), f"start of provider {name}", lambda: not manager.starting(name)
        )
        return Response(view.detail(provider), status_code=202, headers=_location(name))

    @post(
        "/{name:str}/stop",
        status_code=200,
        summary="Stop a provider",
        operation_id="stopProvider",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT,
    )
    async def stop_provider(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[ProviderDetail]:
        """Stops a provider. Raises NotFound, Conflict and DatabaseUnavailable."""
        manager = services.providers
        provider = manager.get(name)
        precondition.check_run("stop", configured(manager.stored(name)), provider.actual, "stopped")
        in_time = await changes.run(
            manager.stop(name), f"stop of provider {name}", lambda: provider.desired is Desired.STOPPED
        )
        complete = in_time and manager.recorded(name)
        return Response(view.detail(provider), status_code=200 if complete else 202)


def _versioned(
    detail: ProviderDetail,
    services: ControlServices,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response[ProviderDetail]:
    """Returns a provider with the version of what is configured."""
    version = etag(configured(services.providers.stored(detail.name)))
    return Response(detail, status_code=status, headers={**(headers or {}), "etag": version})


def _location(name: str) -> dict[str, str]:
    return {"Location": f"/providers/{quote(name, safe='')}"}


def _not_installed(provider: Provider) -> Adapter:
    """Returns what is left of an adapter that is no longer installed."""
    name = provider.spec.adapter
    return Adapter(identifier=name, display_name=name, venue="", capabilities=[], settings_schema=[])


def _instrument(row: Any) -> JsonObject:
    """Returns an instrument, with the names of the currencies that existing clients read."""
    shown: JsonObject = without_nulls(dict(row))
    return {**shown, "baseAsset": shown["baseCurrency"], "quoteAsset": shown["quoteCurrency"]}
