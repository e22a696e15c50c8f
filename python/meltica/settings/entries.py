"""The manifest as it is written: one entry per provider and per lambda."""

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
from meltica.lambdas.callbacks import KINDS, policy_faults
from meltica.model.symbols import ANY, canonical
from meltica.validation.models import nested, read_texts, told
from meltica.validation.section import MAX_BUFFER, AdapterSettings, Name, Positive, Section, words


def _nothing() -> Any:
    """Returns settings that were not given, for the adapter to judge."""
    return {}


class ProviderEntry(Section):
    """A provider: an adapter under a name, with settings of its own."""

    adapter: str
    """Identifier of the adapter."""
    enabled: bool = True
    """Whether it is started with the gateway."""
    settings: SerializeAsAny[AdapterSettings] = Field(default_factory=_nothing, repr=False)
    """What the adapter asks for."""

    @field_validator("adapter")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            registry.adapter(value)
        except ConfigError as error:
            raise told("; ".join(error.faults)) from None
        return value

    @field_validator("settings", mode="before")
    @classmethod
    def _fitting(cls, value: object, info: ValidationInfo) -> object:
        adapter = info.data.get("adapter")
        if not isinstance(adapter, str):
            # Without an adapter, which has a fault of its own, nothing is known about the settings.
            return AdapterSettings()
        if not isinstance(value, Mapping):
            return value
        wanted = registry.adapter(adapter).Settings
        try:
            return wanted.model_validate(read_texts(wanted, cast(Mapping[str, object], value)))
        except ValidationError as error:
            raise nested(wanted, error) from None


def _symbol(value: str) -> str:
    try:
        return value if value == ANY else canonical(value)
    except ValueError as error:
        raise told(str(error)) from None


def _symbols(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise told(f"expected symbols, or `{ANY}` for all of them, saw none")
    return (ANY,) if ANY in value else tuple(dict.fromkeys(value))


Symbol = Annotated[str, AfterValidator(_symbol)]
Symbols = Annotated[tuple[Symbol, ...], BeforeValidator(words), AfterValidator(_symbols)]


class LambdaEntry(Section):
    """A lambda: a strategy under an id, with a config and a scope of its own."""

    strategy: str
    """`FILE.py:ClassName`, or the name of a shipped strategy."""
    config: dict[str, Any] = Field(default={}, repr=False)
    """What the strategy's `Config` asks for; checked when the strategy is loaded."""
    scope: dict[Name, Symbols]
    """Provider -> the symbols it sees, `*` for all of them."""
    host: Literal["thread", "shared"] = "thread"
    """`thread`: a thread of its own; `shared`: one thread with all others that say so."""
    enabled: bool = True
    """Whether it is started with the gateway."""
    policies: dict[str, str] = {}
    """Kind -> what its full queue does; wins over the strategy's own."""
    buffer_size: int | None = Field(default=None, ge=1, le=MAX_BUFFER)
    """Events its queue holds; `eventbus.bufferSize` by default."""
    max_errors: int | None = Field(default=None, ge=0)
    """Callbacks in a row that may raise; `lambdaDefaults.maxErrors` by default."""
    slow_callback: Positive | None = None
    """From when a callback counts as slow; `lambdaDefaults.slowCallback` by default."""
    stop_timeout: Positive | None = None
    """How long a stop waits for a callback; `lambdaDefaults.stopTimeout` by default."""

    @field_validator("scope")
    @classmethod
    def _somewhere(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not value:
            raise told("expected at least one provider with its symbols, saw none")
        return value

    @field_validator("policies")
    @classmethod
    def _possible(cls, value: dict[str, str]) -> dict[str, str]:
        faults: list[str] = []
        for kind, policy in value.items():
            if kind in KINDS:
                faults.extend(policy_faults(kind, policy))
            else:
                faults.append(f"{kind!r} is no kind of event{suggestion(kind, KINDS)}")
        if faults:
            raise told("; ".join(faults))
        return value
