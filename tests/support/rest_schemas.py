"""The schemas that existing clients check every response with.

1. An optional key is absent or of its type. It is null only where the schema says so.
2. Lists and objects are never null. Keys that a schema does not have are ignored.
3. Amounts are decimals, as text. Numbers that are times are whole milliseconds; texts that are times are
   RFC 3339, in UTC.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from tests.support.module_schemas import (
    InstanceSummary,
    Links,
    Module,
    Modules,
    ModuleUsage,
    Refreshed,
    Registry,
    Strategies,
    Strategy,
    TagAssigned,
    TagDeleted,
    Uploaded,
    Usage,
)
from tests.support.schema_types import (
    Amount,
    Flag,
    Hash,
    Millis,
    Name,
    Natural,
    Number,
    Object,
    Stamp,
    Text,
    Texts,
)


class AdapterField(Struct):
    name: Name
    type: Name
    required: bool
    default: object = UNSET


class Adapter(Struct, rename="camel"):
    identifier: Name
    display_name: Name
    venue: str
    capabilities: list[Name]
    settings_schema: list[AdapterField]
    description: Text = UNSET


class Adapters(Struct):
    adapters: list[Adapter]


class ProviderBase(Struct, rename="camel", kw_only=True):
    name: Name
    identifier: Name
    instrument_count: Natural
    settings: Object
    running: bool
    status: Literal["pending", "starting", "running", "stopped", "failed"]
    startup_error: Text = UNSET
    dependent_instances: Texts = UNSET
    dependent_instance_count: Natural | UnsetType = UNSET


class Provider(ProviderBase, kw_only=True):
    adapter: Name


class Providers(Struct):
    providers: list[Provider]


class Instrument(Struct, rename="camel"):
    symbol: Name
    type: Literal["spot", "perp", "futures", "options"] | UnsetType = UNSET
    base_asset: Text = UNSET
    quote_asset: Text = UNSET
    base_currency: Text = UNSET
    quote_currency: Text = UNSET
    venue: Text = UNSET
    price_increment: Amount | UnsetType = UNSET
    quantity_increment: Amount | UnsetType = UNSET
    price_precision: Natural | UnsetType = UNSET
    quantity_precision: Natural | UnsetType = UNSET
    notional_precision: Natural | UnsetType = UNSET
    min_notional: Amount | UnsetType = UNSET
    min_quantity: Amount | UnsetType = UNSET
    max_quantity: Amount | UnsetType = UNSET


class ProviderDetail(ProviderBase, kw_only=True):
    adapter: Adapter
    instruments: list[Instrument]


class RemovedProvider(Struct):
    status: Literal["removed"]
    name: Name


class Instances(Struct):
    instances: list[InstanceSummary]


class UsedStrategy(Struct):
    identifier: Name
    config: Object
    selector: Text = UNSET
    tag: Text = UNSET
    hash: Hash | UnsetType = UNSET
    version: Text = UNSET


class Scope(Struct):
    symbols: list[Name]


class Instance(Struct, rename="camel"):
    id: Name
    strategy: UsedStrategy
    scope: dict[str, Scope]
    providers: Texts = UNSET
    aggregated_symbols: Texts = UNSET
    running: Flag = UNSET
    baseline: Flag = UNSET
    dynamic: Flag = UNSET
    metadata: Object | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    links: Links | UnsetType = UNSET


class RemovedInstance(Struct):
    status: Literal["removed"]
    id: Name


class Order(Struct, rename="camel"):
    id: Name
    provider: Name
    strategy_instance: Name
    client_order_id: Name
    symbol: Name
    side: Literal["Buy", "Sell"]
    type: Literal["Limit", "Market"]
    quantity: Amount
    state: Literal["PENDING", "ACK", "PARTIAL", "FILLED", "CANCELLED", "REJECTED", "EXPIRED", "UNKNOWN"]
    placed_at: Millis
    created_at: Millis
    updated_at: Millis
    price: Amount | UnsetType | None = UNSET
    external_reference: Text = UNSET
    metadata: Object | UnsetType = UNSET
    acknowledged_at: Millis | UnsetType = UNSET
    completed_at: Millis | UnsetType = UNSET


class Orders(Struct):
    orders: list[Order]
    count: Natural


class Execution(Struct, rename="camel"):
    order_id: Name
    provider: Name
    strategy_instance: Name
    execution_id: Name
    quantity: Amount
    price: Amount
    traded_at: Millis
    created_at: Millis
    fee: Amount | UnsetType = UNSET
    fee_asset: Text = UNSET
    liquidity: Text = UNSET
    metadata: Object | UnsetType = UNSET


class Executions(Struct):
    executions: list[Execution]
    count: Natural


class Balance(Struct, rename="camel"):
    provider: Name
    asset: Name
    total: Amount
    available: Amount
    snapshot_at: Millis
    created_at: Millis
    updated_at: Millis
    metadata: Object | UnsetType = UNSET


class Balances(Struct):
    balances: list[Balance]
    count: Natural


class Breaker(Struct):
    enabled: bool
    threshold: Natural
    cooldown: str


class Limits(Struct, rename="camel"):
    max_position_size: Amount
    max_notional_value: Amount
    notional_currency: Name
    order_throttle: Number
    order_burst: Natural
    max_concurrent_orders: Natural
    price_band_percent: Number
    allowed_order_types: list[Literal["Limit", "Market"]]
    kill_switch_enabled: bool
    max_risk_breaches: Natural
    circuit_breaker: Breaker


class RiskLimits(Struct):
    limits: Limits
    status: Text = UNSET


class EventBus(Struct, rename="camel"):
    buffer_size: Natural
    fanout_workers: Natural | Name


class Pool(Struct, rename="camel"):
    size: Natural
    wait_queue_size: Natural


class Pools(Struct, rename="camel"):
    event: Pool
    order_request: Pool


class ApiServer(Struct):
    addr: Name


class Telemetry(Struct, rename="camel"):
    otlp_endpoint: str
    service_name: Name
    otlp_insecure: bool
    enable_metrics: bool


class RuntimeSettings(Struct, rename="camel"):
    eventbus: EventBus
    pools: Pools
    risk: Limits
    api_server: ApiServer
    telemetry: Telemetry


class Runtime(Struct, rename="camel"):
    """Clients read the settings under `config`, under `runtime`, or bare."""

    config: RuntimeSettings
    source: Literal["runtime", "file", "bootstrap"] | UnsetType = UNSET
    persisted_at: Stamp | UnsetType = UNSET
    file_path: Text = UNSET
    metadata: Object | UnsetType = UNSET


class BackupProviders(Struct):
    config: Object | None
    runtime: list[Object]


class BackupLambdas(Struct):
    instances: list[Object]


class ConfigBackup(Struct, rename="camel"):
    version: Name
    generated_at: Stamp
    environment: str
    runtime: Object
    providers: BackupProviders
    lambdas: BackupLambdas
    meta: Object | UnsetType = UNSET


class ConfigRestored(Struct):
    status: Name
    providers: Natural
    lambdas: Natural


class ContextBackup(Struct):
    providers: list[Object]
    lambdas: list[Instance]
    risk: Object


class ContextRestored(Struct):
    status: Name


class OutboxEvent(Struct, rename="camel"):
    id: Annotated[int, Meta(gt=0)]
    aggregate_type: Name
    aggregate_id: Name = field(name="aggregateID")
    event_type: Name
    payload: Object
    headers: Object
    available_at: Stamp
    attempts: Natural
    delivered: bool
    created_at: Stamp
    published_at: Stamp | UnsetType = UNSET
    last_error: Text = UNSET


class Outbox(Struct):
    events: list[OutboxEvent]
    count: Natural


class OutboxDeleted(Struct):
    id: int
    status: Literal["deleted"]


class Failure(Struct):
    status: Literal["error"]
    error: Name
    code: Name


class Diagnostic(Struct):
    stage: Literal["compile", "execute", "validation"]
    message: Name
    line: Natural | UnsetType = UNSET
    column: Natural | UnsetType = UNSET
    hint: Text = UNSET


class ModuleFaults(Struct):
    status: Literal["error"]
    error: Literal["strategy_validation_failed"]
    diagnostics: list[Diagnostic]
    message: Text = UNSET


MODULE = "/strategies/modules/{selector}"
PROVIDER = "/providers/{name}"
INSTANCE = "/strategy/instances/{id}"

ANSWERS: dict[tuple[str, str], type[Struct]] = {
    ("GET", "/strategies"): Strategies,
    ("GET", "/strategies/{name}"): Strategy,
    ("GET", "/strategies/modules"): Modules,
    ("POST", "/strategies/modules"): Uploaded,
    ("GET", MODULE): Module,
    ("PUT", MODULE): Uploaded,
    ("GET", f"{MODULE}/usage"): ModuleUsage,
    ("PUT", "/strategies/modules/{name}/tags/{tag}"): TagAssigned,
    ("DELETE", "/strategies/modules/{name}/tags/{tag}"): TagDeleted,
    ("POST", "/strategies/refresh"): Refreshed,
    ("GET", "/strategies/registry"): Registry,
    ("GET", "/providers"): Providers,
    ("POST", "/providers"): ProviderDetail,
    ("GET", PROVIDER): ProviderDetail,
    ("PUT", PROVIDER): ProviderDetail,
    ("DELETE", PROVIDER): RemovedProvider,
    ("POST", f"{PROVIDER}/start"): ProviderDetail,
    ("POST", f"{PROVIDER}/stop"): ProviderDetail,
    ("GET", f"{PROVIDER}/balances"): Balances,
    ("GET", "/adapters"): Adapters,
    ("GET", "/adapters/{identifier}"): Adapter,
    ("GET", "/strategy/instances"): Instances,
    ("POST", "/strategy/instances"): Instance,
    ("GET", INSTANCE): Instance,
    ("PUT", INSTANCE): Instance,
    ("DELETE", INSTANCE): RemovedInstance,
    ("POST", f"{INSTANCE}/start"): Instance,
    ("POST", f"{INSTANCE}/stop"): Instance,
    ("GET", f"{INSTANCE}/orders"): Orders,
    ("GET", f"{INSTANCE}/executions"): Executions,
    ("GET", "/risk/limits"): RiskLimits,
    ("PUT", "/risk/limits"): RiskLimits,
    ("GET", "/config/runtime"): Runtime,
    ("PUT", "/config/runtime"): Runtime,
    ("DELETE", "/config/runtime"): Runtime,
    ("GET", "/config/backup"): ConfigBackup,
    ("POST", "/config/backup"): ConfigRestored,
    ("GET", "/context/backup"): ContextBackup,
    ("POST", "/context/backup"): ContextRestored,
    ("GET", "/outbox"): Outbox,
    ("DELETE", "/outbox/{id}"): OutboxDeleted,
}
"""Request -> schema of its response. Sources are text, and the deletion of a module has no body."""
