"""`/providers`: how they are; start and stop."""

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from litestar import Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, optional, without_nulls
from meltica.api.providers import ProviderCounters, ProviderDetail, Providers, ProviderSummary
from meltica.control.actions import Actions
from meltica.control.openapi import CONFLICT, NOT_FOUND, UNAVAILABLE
from meltica.runtime.lifecycle import Desired

if TYPE_CHECKING:
    from meltica.control.adapters import Installed
    from meltica.gateway.gateway import Gateway
    from meltica.providers.manager import Provider


def routes(gateway: "Gateway", installed: "Installed", actions: Actions) -> list[HTTPRouteHandler]:
    """Returns the handlers over one gateway."""
    manager = gateway.providers
    show = _Show(gateway, installed)

    @get("/providers", summary="All providers", operation_id="listProviders", tags=["providers"])
    async def list_providers() -> Providers:
        return Providers(providers=[show.summary(provider) for provider in manager.all()])

    @get(
        "/providers/{name:str}",
        summary="One provider",
        operation_id="getProvider",
        tags=["providers"],
        responses=NOT_FOUND,
    )
    async def get_provider(name: FromPath[str]) -> ProviderDetail:
        return show.detail(manager.get(name))

    @post(
        "/providers/{name:str}/start",
        status_code=202,
        summary="Start a provider",
        description="It starts in the background; its `status` tells how far it is.",
        operation_id="startProvider",
        tags=["providers"],
        responses=NOT_FOUND | CONFLICT | UNAVAILABLE,
        response_headers=[
            ResponseHeader(name="Location", documentation_only=True, description="Path of the provider")
        ],
    )
    async def start_provider(name: FromPath[str]) -> Response[ProviderDetail]:
        provider = manager.get(name)
        await actions.run(
            manager.start(name), f"start of provider {name}", lambda: provider.desired is Desired.RUNNING
        )
        return Response(
            show.detail(provider), status_code=202, headers={"Location": f"/providers/{quote(name, safe='')}"}
        )

    @post(
        "/providers/{name:str}/stop",
        status_code=200,
        summary="Stop a provider",
        operation_id="stopProvider",
        tags=["providers"],
        responses={
            202: ResponseSpec(
                ProviderDetail, generate_examples=False, description="It takes longer, and goes on"
            )
        }
        | NOT_FOUND
        | CONFLICT
        | UNAVAILABLE,
    )
    async def stop_provider(name: FromPath[str]) -> Response[ProviderDetail]:
        provider = manager.get(name)
        done = await actions.run(
            manager.stop(name), f"stop of provider {name}", lambda: provider.desired is Desired.STOPPED
        )
        return Response(show.detail(provider), status_code=200 if done else 202)

    return [list_providers, get_provider, start_provider, stop_provider]


class _Show:
    """Makes JSON of providers."""

    def __init__(self, gateway: "Gateway", installed: "Installed") -> None:
        self._gateway = gateway
        self._installed = installed
        # What comes from variables is hidden here too, not only what is a secret by type or name.
        self._configured = cast(dict[str, JsonObject], gateway.loaded.shown()["providers"])

    def summary(self, provider: "Provider") -> ProviderSummary:
        return ProviderSummary(adapter=provider.spec.adapter, **self._base(provider))

    def detail(self, provider: "Provider") -> ProviderDetail:
        return ProviderDetail(
            adapter=self._installed()[provider.spec.adapter],
            instruments=[_instrument(one) for one in provider.instruments],
            counters=self._counters(provider.name),
            **self._base(provider),
        )

    def _base(self, provider: "Provider") -> dict[str, Any]:
        dependents = [instance.id for instance in self._gateway.instances.dependents(provider.name)]
        wanted = provider.desired is Desired.RUNNING
        return {
            "name": provider.name,
            "identifier": provider.spec.adapter,
            "instrument_count": len(provider.instruments),
            "settings": without_nulls(self._configured[provider.name]["settings"]),
            "running": provider.running,
            "status": provider.actual.value,
            "startup_error": optional(provider.last_error),
            "connection_error": optional(provider.connection_error),
            "route_error": optional(provider.route_error),
            "desired": provider.desired.value,
            "enabled": provider.spec.enabled,
            "drift": wanted != provider.spec.enabled,
            "baseline": self._gateway.providers.stored(provider.name).origin == "baseline",
            "restarts": provider.restarts,
            "dependent_instances": dependents or UNSET,
            "dependent_instance_count": len(dependents) or UNSET,
        }

    def _counters(self, name: str) -> ProviderCounters | UnsetType:
        stats = self._gateway.core.stats()["providers"].get(name)
        if stats is None:
            return UNSET
        return ProviderCounters(**{field: stats[field] for field in ProviderCounters.__struct_fields__})


def _instrument(known: Any) -> JsonObject:
    """Returns an instrument, with the names that clients of other systems look for."""
    shown: JsonObject = without_nulls(dict(known))
    return {**shown, "baseAsset": shown["baseCurrency"], "quoteAsset": shown["quoteCurrency"]}
