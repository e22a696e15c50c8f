"""The manifest section of the configuration: one entry per provider and per lambda."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from meltica.adapters import registry
from meltica.errors import ConfigError, suggestion
from meltica.lambdas.definition import KINDS, policy_faults
from meltica.model.symbols import ANY, canonical
from meltica.simulator.paper.settings import PaperSettings
from meltica.trading.risk.limits import InstanceRiskLimits, RiskLimits, missing_for_live
from meltica.validation.models import fault, nested, read_texts
from meltica.validation.section import (
    MAX_BUFFER,
    AdapterSettings,
    Amount,
    Name,
    Positive,
    Section,
    words,
)


def _empty() -> Any:
    """Returns empty settings, which the adapter's model then validates."""
    return {}


class ProviderEntry(Section):
    """A provider: a named instance of an adapter with its own settings."""

    adapter: str
    """Identifier of the adapter."""
    enabled: bool = True
    """Whether it starts with the gateway."""
    settings: SerializeAsAny[AdapterSettings] = Field(default_factory=_empty, repr=False)
    """The adapter's settings."""
    live: bool = False
    """Whether lambdas may trade real money here; a simulated venue has none and does not need it."""
    same_account: bool = False
    """Whether changed settings select the same account as before: remove it after the next start."""
    risk: RiskLimits = RiskLimits()
    """Limits of all orders at the provider."""
    paper: PaperSettings = PaperSettings()
    """The paper account of the provider."""

    @field_validator("adapter")
    @classmethod
    def _check_adapter(cls, value: str) -> str:
        try:
            registry.adapter(value)
        except ConfigError as error:
            raise fault("; ".join(error.faults)) from None
        return value

    @field_validator("settings", mode="before")
    @classmethod
    def _check_settings(cls, value: object, info: ValidationInfo) -> object:
        adapter = info.data.get("adapter")
        if not isinstance(adapter, str):
            # The adapter is missing or unknown, which is reported separately; its settings cannot be checked.
            return AdapterSettings()
        if not isinstance(value, Mapping):
            return value
        model = registry.adapter(adapter).Settings
        try:
            return model.model_validate(read_texts(model, cast(Mapping[str, object], value)))
        except ValidationError as error:
            raise nested(model, error) from None

    @field_validator("risk")
    @classmethod
    def _check_limits(cls, value: RiskLimits, info: ValidationInfo) -> RiskLimits:
        adapter = info.data.get("adapter")
        if info.data.get("live") is not True or not isinstance(adapter, str):
            return value
        missing = [] if registry.adapter(adapter).simulated else missing_for_live(value)
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            raise fault(f"expected {names}: a provider with `live: true` states its limits itself")
        return value


def _symbol(value: str) -> str:
    try:
        return value if value == ANY else canonical(value)
    except ValueError as error:
        raise fault(str(error)) from None


def _symbols(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise fault(f"expected symbols, or `{ANY}` for all of them, saw none")
    return (ANY,) if ANY in value else tuple(dict.fromkeys(value))


OnStop = Literal["cancel", "keep"]
Symbol = Annotated[str, AfterValidator(_symbol)]
Symbols = Annotated[tuple[Symbol, ...], BeforeValidator(words), AfterValidator(_symbols)]


class InventoryEntry(Section):
    """Coins of the account that a lambda takes over: those of no lambda become its position."""

    quantity: Amount = Field(gt=0)
    """In the base currency."""
    price: Amount = Field(gt=0)
    """What a coin cost, in the quote currency: the profit of the lambda is measured from it."""


class LambdaEntry(Section):
    """A lambda: an instance of a strategy with its own id, config and scope."""

    strategy: str
    """`FILE.py:ClassName`, a shipped strategy, or a stored module as `name:tag` or `name@hash`."""
    config: dict[str, Any] = Field(default={}, repr=False)
    """Values of the strategy's `Config`; validated when the strategy is loaded."""
    scope: dict[Name, Symbols]
    """Provider -> the symbols that the instance receives, `*` for all of them."""
    host: Literal["thread", "shared"] = "thread"
    """`thread`: a dedicated thread; `shared`: one thread for all instances with this host."""
    enabled: bool = True
    """Whether it starts with the gateway."""
    dry_run: bool = True
    """Whether its orders go to the paper accounts of the providers instead of the venues."""
    on_stop: OnStop = "cancel"
    """What a stop does with its open orders: `cancel`, or `keep` them for the next start."""
    risk: InstanceRiskLimits = InstanceRiskLimits()
    """Limits of the lambda's orders."""
    inventory: dict[Name, dict[Symbol, InventoryEntry]] = {}
    """Provider -> symbol -> the coins that the lambda takes over at its first start."""
    policies: dict[str, str] = {}
    """Kind -> overflow policy of its queue; overrides the strategy's `policies`."""
    buffer_size: int | None = Field(default=None, ge=1, le=MAX_BUFFER)
    """Capacity of its event queue; `eventbus.bufferSize` by default."""
    max_errors: int | None = Field(default=None, ge=0)
    """Consecutive failing callbacks that are tolerated; `lambdaDefaults.maxErrors` by default."""
    slow_callback: Positive | None = None
    """Duration from which a callback counts as slow; `lambdaDefaults.slowCallback` by default."""
    stop_timeout: Positive | None = None
    """How long a stop waits for a callback; `lambdaDefaults.stopTimeout` by default."""

    @field_validator("scope")
    @classmethod
    def _check_scope(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not value:
            raise fault("expected at least one provider with its symbols, saw none")
        return value

    @field_validator("inventory")
    @classmethod
    def _check_inventory(
        cls, value: dict[str, dict[str, InventoryEntry]], info: ValidationInfo
    ) -> dict[str, dict[str, InventoryEntry]]:
        scope: Mapping[str, tuple[str, ...]] = info.data.get("scope", {})
        outside = [
            f"{symbol} at {provider}"
            for provider, symbols in value.items()
            for symbol in symbols
            if symbol == ANY or not {symbol, ANY} & set(scope.get(provider, ()))
        ]
        if outside and "scope" in info.data:
            raise fault(f"expected symbols of the lambda's `scope`, saw {', '.join(outside)}")
        return value

    @field_validator("policies")
    @classmethod
    def _check_policies(cls, value: dict[str, str]) -> dict[str, str]:
        faults: list[str] = []
        for kind, policy in value.items():
            if kind in KINDS:
                faults.extend(policy_faults(kind, policy))
            else:
                faults.append(f"{kind!r} is not an event kind{suggestion(kind, KINDS)}")
        if faults:
            raise fault("; ".join(faults))
        return value
