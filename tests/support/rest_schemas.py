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


class Order(Struct, rename="camel"):
    id: str
    provider: str
    strategy_instance: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    quantity: str
    state: str
    placed_at: Number
    created_at: Number
    updated_at: Number
    price: str | UnsetType | None = UNSET
    external_reference: Text = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    acknowledged_at: Number | UnsetType = UNSET
    completed_at: Number | UnsetType = UNSET


class Orders(Struct):
    orders: list[Order]
    count: int


class Execution(Struct, rename="camel"):
    order_id: str
    provider: str
    strategy_instance: str
    execution_id: str
    quantity: str
    price: str
    traded_at: Number
    created_at: Number
    fee: Text = UNSET
    fee_asset: Text = UNSET
    liquidity: Text = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class Executions(Struct):
    executions: list[Execution]
    count: int


class Balance(Struct, rename="camel"):
    provider: str
    asset: str
    total: str
    available: str
    snapshot_at: Number
    created_at: Number
    updated_at: Number
    metadata: dict[str, Any] | UnsetType = UNSET


class Balances(Struct):
    balances: list[Balance]
    count: int


class Breaker(Struct):
    enabled: bool
    threshold: int
    cooldown: str


class Limits(Struct, rename="camel"):
    max_position_size: str
    max_notional_value: str
    notional_currency: str
    order_throttle: Number
    order_burst: int
    max_concurrent_orders: int
    price_band_percent: Number
    allowed_order_types: list[str]
    kill_switch_enabled: bool
    max_risk_breaches: int
    circuit_breaker: Breaker


class RiskLimits(Struct):
    limits: Limits
    status: Text = UNSET


class Failure(Struct):
    status: Literal["error"]
    error: str
    code: str


class Module(Struct, rename="camel"):
    name: str
    file: str
    path: str
    hash: str
    tags: list[str]
    size: int
    metadata: Strategy
    running: list[dict[str, Any]] | None
    version: Text = UNSET
    tag_aliases: dict[str, str] | UnsetType = UNSET
    revisions: list[dict[str, Any]] | UnsetType = UNSET


class Modules(Struct, rename="camel"):
    modules: list[Module]
    total: Count = UNSET
    offset: Count = UNSET
    limit: int | UnsetType | None = UNSET
    strategy_directory: Text = UNSET


class Registry(Struct):
    registry: dict[str, dict[str, Any]]
    usage: list[dict[str, Any]]


ANSWERS: dict[tuple[str, str], type[Struct]] = {
    ("GET", "/strategies"): Strategies,
    ("GET", "/strategies/Watcher"): Strategy,
    ("GET", "/strategies/modules"): Modules,
    ("GET", "/strategies/registry"): Registry,
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
    ("GET", "/strategy/instances/watcher/orders"): Orders,
    ("GET", "/strategy/instances/watcher/executions"): Executions,
    ("GET", "/providers/main/balances"): Balances,
    ("GET", "/risk/limits"): RiskLimits,
    ("POST", "/strategy/instances/watcher/stop"): Instance,
    ("POST", "/strategy/instances/watcher/start"): Instance,
}
"""Request -> schema of its response."""
