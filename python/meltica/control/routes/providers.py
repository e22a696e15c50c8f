"""`/providers`: the state of providers; start and stop."""

from typing import Any
from urllib.parse import quote

from litestar import Controller, Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, optional, without_nulls
from meltica.api.providers import ProviderCounters, ProviderDetail, Providers, ProviderSummary
from meltica.control.access import OPERATOR, VIEWER
from meltica.control.catalogues import AdapterCatalogue
from meltica.control.changes import ChangeRunner
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, UNAVAILABLE, response
from meltica.control.services import ControlServices
from meltica.providers.provider import Provider
from meltica.runtime.lifecycle import Desired

LATE = response(202, ProviderDetail, "The change takes longer and continues in the background")


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
            adapter=self._adapters.adapters[provider.spec.adapter],
            instruments=[_instrument(one) for one in provider.instruments],
            counters=self._counters(provider.name),
            **self._base(provider),
        )

    def _base(self, provider: Provider) -> dict[str, Any]:
        services = self._services
        dependents = [instance.id for instance in services.instances.dependents(provider.name)]
        wanted = provider.desired is Desired.RUNNING
        return {
            "name": provider.name,
            "identifier": provider.spec.adapter,
            "instrument_count": len(provider.instruments),
            "settings": without_nulls(services.provider_settings[provider.name]),
            "running": provider.running,
            "status": provider.actual,
            "startup_error": optional(provider.last_error),
            "connection_error": optional(provider.connection_error),
            "route_error": optional(provider.route_error),
            "desired": provider.desired,
            "enabled": provider.spec.enabled,
            "drift": wanted != provider.spec.enabled,
            "recorded": UNSET if services.providers.recorded(provider.name) else False,
            "baseline": services.providers.stored(provider.name).origin == "baseline",
            "restarts": provider.restarts,
            "dependent_instances": dependents or UNSET,
            "dependent_instance_count": len(dependents) or UNSET,
        }

    def _counters(self, name: str) -> ProviderCounters | UnsetType:
        stats = self._services.provider_stats().get(name)
        if stats is None:
            return UNSET
        return ProviderCounters(**{field: stats[field] for field in ProviderCounters.__struct_fields__})


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
        self, services: NamedDependency[ControlServices], view: NamedDependency[ProviderView]
    ) -> Providers:
        """Returns all providers, by name."""
        return Providers(providers=[view.summary(provider) for provider in services.providers.all()])

    @get("/{name:str}", summary="Get a provider", operation_id="getProvider", responses=NOT_FOUND)
    async def get_provider(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
    ) -> ProviderDetail:
        """Returns a provider. Raises NotFound."""
        return view.detail(services.providers.get(name))

    @post(
        "/{name:str}/start",
        status_code=202,
        summary="Start a provider",
        description="The provider starts in the background; poll its `status`.",
        operation_id="startProvider",
        guards=[OPERATOR],
        responses=NOT_FOUND | CONFLICT | UNAVAILABLE,
        response_headers=[
            # The document takes the type of a header from its value.
            ResponseHeader(
                name="Location", value="", documentation_only=True, description="Path of the provider"
            )
        ],
    )
    async def start_provider(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
        changes: NamedDependency[ChangeRunner],
    ) -> Response[ProviderDetail]:
        """Starts a provider in the background. Raises NotFound, Conflict and DatabaseUnavailable."""
        manager = services.providers
        provider = manager.get(name)
        await changes.run(
            manager.start(name), f"start of provider {name}", lambda: not manager.starting(name)
        )
        location = f"/providers/{quote(name, safe='')}"
        return Response(view.detail(provider), status_code=202, headers={"Location": location})

    @post(
        "/{name:str}/stop",
        status_code=200,
        summary="Stop a provider",
        operation_id="stopProvider",
        guards=[OPERATOR],
        responses=LATE | NOT_FOUND | CONFLICT | UNAVAILABLE,
    )
    async def stop_provider(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        view: NamedDependency[ProviderView],
        changes: NamedDependency[ChangeRunner],
    ) -> Response[ProviderDetail]:
        """Stops a provider. Raises NotFound, Conflict and DatabaseUnavailable."""
        manager = services.providers
        provider = manager.get(name)
        in_time = await changes.run(
            manager.stop(name), f"stop of provider {name}", lambda: provider.desired is Desired.STOPPED
        )
        complete = in_time and manager.recorded(name)
        return Response(view.detail(provider), status_code=200 if complete else 202)


def _instrument(row: Any) -> JsonObject:
    """Returns an instrument, with the names of the currencies that existing clients read."""
    shown: JsonObject = without_nulls(dict(row))
    return {**shown, "baseAsset": shown["baseCurrency"], "quoteAsset": shown["quoteCurrency"]}
