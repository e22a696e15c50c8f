"""The schemas of existing clients: an optional key is absent or of its type, never null."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

Text = str | UnsetType
Texts = list[str] | UnsetType
Count = int | UnsetType
Flag = bool | UnsetType
Number = int | float


class ConfigField(Struct):
    name: str
    type: str
    description: str
    required: bool
    default: object = UNSET


class Strategy(Struct, rename="camel"):
    name: str
    display_name: str
    description: str
    config: list[ConfigField]
    events: list[str]
    version: Text = UNSET


class Strategies(Struct):
    strategies: list[Strategy]


class AdapterField(Struct):
    name: str
    type: str
    required: bool
    default: object = UNSET


class Adapter(Struct, rename="camel"):
    identifier: str
    display_name: str
    venue: str
    capabilities: list[str]
    settings_schema: list[AdapterField]
    description: Text = UNSET


class Adapters(Struct):
    adapters: list[Adapter]


class Provider(Struct, rename="camel"):
    name: str
    adapter: str
    identifier: str
    instrument_count: int
    settings: dict[str, Any]
    running: bool
    status: Literal["pending", "starting", "running", "stopped", "failed"]
    startup_error: Text = UNSET
    dependent_instances: Texts = UNSET
    dependent_instance_count: Count = UNSET


class Providers(Struct):
    providers: list[Provider]


class Instrument(Struct, rename="camel"):
    symbol: str
    type: Text = UNSET
    base_asset: Text = UNSET
    quote_asset: Text = UNSET


class ProviderDetail(Struct, rename="camel"):
    name: str
    adapter: Adapter
    identifier: str
    instrument_count: int
    settings: dict[str, Any]
    running: bool
    status: Literal["pending", "starting", "running", "stopped", "failed"]
    instruments: list[Instrument]
    startup_error: Text = UNSET
    dependent_instances: Texts = UNSET
    dependent_instance_count: Count = UNSET


class InstanceSummary(Struct, rename="camel"):
    id: str
    strategy_identifier: str
    providers: list[str]
    aggregated_symbols: list[str]
    running: bool
    strategy_tag: Text = UNSET
    strategy_hash: Text = UNSET
    strategy_version: Text = UNSET
    strategy_selector: Text = UNSET
    baseline: Flag = UNSET
    dynamic: Flag = UNSET


class Instances(Struct):
    instances: list[InstanceSummary]


class UsedStrategy(Struct):
    identifier: str
    config: dict[str, Any]
    selector: Text = UNSET
    tag: Text = UNSET
    hash: Text = UNSET
    version: Text = UNSET


class Scope(Struct):
    symbols: list[str]


class Instance(Struct, rename="camel"):
    id: str
    strategy: UsedStrategy
    scope: dict[str, Scope]
    providers: Texts = UNSET
    aggregated_symbols: Texts = UNSET
    running: Flag = UNSET
    baseline: Flag = UNSET
    dynamic: Flag = UNSET


class Failure(Struct):
    status: Literal["error"]
    error: str
    code: str


ANSWERS: dict[tuple[str, str], type[Struct]] = {
    ("GET", "/strategies"): Strategies,
    ("GET", "/strategies/Watcher"): Strategy,
    ("GET", "/adapters"): Adapters,
    ("GET", "/adapters/test-venue"): Adapter,
    ("GET", "/providers"): Providers,
    ("GET", "/providers/main"): ProviderDetail,
    ("GET", "/providers/refusing"): ProviderDetail,
    ("POST", "/providers/spare/start"): ProviderDetail,
    ("POST", "/providers/spare/stop"): ProviderDetail,
    ("GET", "/strategy/instances"): Instances,
    ("GET", "/strategy/instances/watcher"): Instance,
    ("GET", "/strategy/instances/unloaded"): Instance,
    ("POST", "/strategy/instances/watcher/stop"): Instance,
    ("POST", "/strategy/instances/watcher/start"): Instance,
}
"""Request -> schema of its response."""
