"""Specs of providers and lambdas for the managers: defaults applied, paths absolute."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from meltica.adapters import registry
from meltica.adapters.base import Adapter
from meltica.errors import ConfigError, LambdaDefinitionError, LambdaLoadError, suggestion
from meltica.lambdas.base import Lambda
from meltica.lambdas.instances import LAMBDAS, start_faults
from meltica.lambdas.loader import load, resolve
from meltica.lambdas.modules.names import stored
from meltica.lambdas.spec import LambdaSpec
from meltica.model.trader import Inventory
from meltica.providers.spec import ProviderSpec
from meltica.settings.entries import LambdaEntry
from meltica.validation.models import Loc, Locations, faults, mapping, read_texts
from meltica.validation.paths import from_folder

if TYPE_CHECKING:
    from meltica.settings.model import LambdaDefaultsSettings, Settings

Model = TypeVar("Model", bound=BaseModel)


def provider_specs(settings: "Settings", base: Path) -> dict[str, ProviderSpec]:
    """Returns the providers by name; paths in their settings are relative to `base`."""
    return {
        name: ProviderSpec(
            name=name,
            adapter=entry.adapter,
            settings=anchored(entry.settings, base),
            enabled=entry.enabled,
            live=entry.live,
            same_account=entry.same_account,
            paper=entry.paper,
        )
        for name, entry in settings.providers.items()
    }


def lambda_specs(settings: "Settings", folder: Path) -> dict[str, LambdaSpec]:
    """Returns the lambdas by id; paths of their strategies are relative to `folder`."""
    return {id: lambda_spec(id, entry, settings, folder) for id, entry in settings.lambdas.items()}


def lambda_spec(id: str, entry: LambdaEntry, settings: "Settings", folder: Path) -> LambdaSpec:
    """Returns a lambda; the path of its strategy is relative to `folder`. Raises LambdaLoadError."""
    return LambdaSpec(
        id=id,
        strategy=resolve(entry.strategy, folder),
        config=entry.config,
        scope=entry.scope,
        host=entry.host,
        enabled=entry.enabled,
        dry_run=entry.dry_run,
        on_stop=entry.on_stop,
        risk=entry.risk.model_dump(by_alias=True, exclude_unset=True),
        inventory={
            (provider, symbol): Inventory(quantity=coins.quantity, price=coins.price)
            for provider, symbols in entry.inventory.items()
            for symbol, coins in symbols.items()
        },
        policies=entry.policies,
        buffer_size=_or(entry.buffer_size, settings.eventbus.buffer_size),
        extension_payload_cap=settings.eventbus.extension_payload_cap_bytes,
        **_limits(entry, settings.lambda_defaults),
    )


def manifest_faults(
    values: Mapping[str, object], folder: Path, locations: Locations
) -> list[tuple[Loc, str]]:
    """Returns faults of references: unknown providers in scopes, files of strategies that do not exist."""
    references: list[tuple[Loc, str]] = []
    names = list(mapping(values.get("providers")))
    if LAMBDAS in names:
        references.append((("providers", LAMBDAS), ": the name is reserved for the events that lambdas emit"))
    for id, entry in mapping(values.get("lambdas")).items():
        given = mapping(entry)
        for provider in mapping(given.get("scope")):
            if provider not in (*names, LAMBDAS):
                loc = ("lambdas", id, "scope", provider)
                references.append((loc, f": the provider does not exist{suggestion(provider, names)}"))
        references += _venue_faults(id, given, mapping(values.get("providers")))
        strategy = given.get("strategy")
        if isinstance(strategy, str):
            try:
                resolve(strategy, folder)
            except LambdaLoadError as error:
                references.append((("lambdas", id, "strategy"), f": {error}"))
    return [(loc, f"{locations.describe(loc)}{text}") for loc, text in references]


def _venue_faults(
    id: str, given: Mapping[str, object], providers: Mapping[str, object]
) -> Iterator[tuple[Loc, str]]:
    """Yields why the orders of a lambda may not reach the venues of its scope."""
    if _is_true(given.get("dryRun", True)):
        return
    for name in mapping(given.get("scope")):
        provider = mapping(providers.get(name))
        try:
            adapter = registry.adapter(str(provider["adapter"]))
        except (KeyError, ConfigError):
            continue  # reported as a fault of its own
        fault = account_fault(name, adapter, live=_is_true(provider.get("live", False)))
        if fault is not None:
            yield ("lambdas", id, "dryRun"), f": {fault}"


def account_fault(
    provider: str, adapter: type[Adapter], *, live: bool, missing: Sequence[str] = ()
) -> str | None:
    """Returns why no instance may trade on the account of a provider; `missing` are limits that it lacks."""
    if adapter.account is Adapter.account:
        return f"provider `{provider}` has no account to trade on; set `dryRun: true`"
    if adapter.simulated or (live and not missing):
        return None
    names = ", ".join(f"`risk.{name}`" for name in missing) or "limits"
    return f"provider `{provider}` trades real money: set `live: true` and {names}, or `dryRun: true`"


def _is_true(value: object) -> bool:
    try:
        return TypeAdapter(bool).validate_python(value)
    except ValidationError:
        return True  # reported as a fault of its own


def strategy_faults(spec: LambdaSpec, locations: Locations) -> list[str]:
    """Imports a lambda's strategy, unless it is a stored module; returns the faults of class and config."""
    config: Loc = ("lambdas", spec.id, "config")
    strategy = locations.describe(("lambdas", spec.id, "strategy"))
    if stored(spec.strategy) is not None:
        return []  # only the database of the gateway has it
    try:
        cls = load(spec.strategy)
    except (LambdaLoadError, LambdaDefinitionError) as error:
        return [f"{strategy}: {error}"]
    problems = [f"{strategy}: {text}" for text in start_faults(cls)]
    return [*problems, *(text for _, text in config_faults(cls, spec.config, locations, config))]


def config_faults(
    cls: type[Lambda], config: Mapping[str, object], locations: Locations, under: Loc
) -> list[tuple[Loc, str]]:
    """Returns the faults of a strategy's config as (location, one line); `under` is the location of it."""
    if cls.Config is None:
        unknown = ((*under, key) for key in config)
        return [
            (loc, f"{locations.describe(loc)} is unknown; {cls.__name__} has no Config") for loc in unknown
        ]
    try:
        cls.Config.model_validate(read_texts(cls.Config, config))
    except ValidationError as error:
        return faults(cls.Config, error.errors(), locations, under)
    return []


def _limits(entry: LambdaEntry, defaults: "LambdaDefaultsSettings") -> dict[str, Any]:
    names = ("max_errors", "slow_callback", "stop_timeout")
    return {name: _or(getattr(entry, name), getattr(defaults, name)) for name in names}


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def anchored(model: Model, base: Path) -> Model:
    """Returns a copy of a model with its relative paths resolved against `base`."""
    return model.model_copy(update={name: _from(base, value) for name, value in model})


def _from(base: Path, value: object) -> object:
    if isinstance(value, Path):
        return from_folder(base, value)
    if isinstance(value, list | tuple):
        items = [_from(base, item) for item in cast(list[object], value)]
        return items if isinstance(value, list) else tuple(items)
    return anchored(value, base) if isinstance(value, BaseModel) else value
