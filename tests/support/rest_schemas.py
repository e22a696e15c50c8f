"""The schemas that existing clients check every response with.

1. An optional key is absent or of its type. It is null only where the schema says so.
2. Lists and objects are never null. Keys that a schema does not have are ignored.
3. Amounts are decimals, as text. Numbers that are times are whole milliseconds; texts that are times are
   RFC 3339, in UTC.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

Amount = Annotated[str, Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?$")]
Millis = Annotated[int, Meta(ge=10**12, lt=10**13)]
Stamp = Annotated[str, Meta(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}(\.[0-9]+)?Z$")]
Hash = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Meta(min_length=1)]
Natural = Annotated[int, Meta(ge=0)]
Number = int | float
Text = Name | UnsetType
Texts = list[Name] | UnsetType
Flag = bool | UnsetType
Object = dict[str, Any]
Event = Literal[
    "BookSnapshot",
    "Trade",
    "Ticker",
    "ExecReport",
    "KlineSummary",
    "InstrumentUpdate",
    "BalanceUpdate",
    "RiskControl",
    "Extension",
]


class ConfigField(Struct):
    name: Name
    type: Name
    description: str
    required: bool
    default: object = UNSET


class Strategy(Struct, rename="camel"):
    name: Name
    display_name: Annotated[str, Meta(min_length=1, max_length=80)]
    description: str
    config: list[ConfigField]
    events: list[Event]
    version: Text = UNSET


class Strategies(Struct):
    strategies: list[Strategy]


class Revision(Struct):
    hash: Hash
    path: Name
    size: Natural
    tag: Text = UNSET
    version: Text = UNSET
    retired: Flag = UNSET


class Pinned(Struct, rename="camel"):
    """The instances that run a revision."""

    hash: Hash
    instances: list[Name]
    count: Natural
    first_seen: Stamp | UnsetType = UNSET
    last_seen: Stamp | UnsetType = UNSET


class Module(Struct, rename="camel"):
    name: Name
    file: Name
    path: Name
    hash: Hash
    tags: list[Name]
    size: Natural
    metadata: Strategy
    running: list[Pinned] | None
    version: Text = UNSET
    tag_aliases: dict[str, Hash] | UnsetType = UNSET
    revisions: list[Revision] | UnsetType = UNSET


class Modules(Struct, rename="camel"):
    modules: list[Module]
    total: Natural | UnsetType = UNSET
    offset: Natural | UnsetType = UNSET
    limit: Natural | UnsetType | None = UNSET
    strategy_directory: Text = UNSET


class Usage(Struct, rename="camel"):
    strategy: Name
    hash: Hash
    count: Natural
    instances: Texts = UNSET
    first_seen: Stamp | UnsetType = UNSET
    last_seen: Stamp | UnsetType = UNSET
    running: Flag = UNSET


class Links(Struct):
    self: Name
    usage: Text = UNSET


class InstanceSummary(Struct, rename="camel"):
    id: Name
    strategy_identifier: Name
    providers: list[Name]
    aggregated_symbols: list[Name]
    running: bool
    strategy_tag: Text = UNSET
    strategy_hash: Hash | UnsetType = UNSET
    strategy_version: Text = UNSET
    strategy_selector: Text = UNSET
    baseline: Flag = UNSET
    dynamic: Flag = UNSET
    created_at: Millis | UnsetType = UNSET
    updated_at: Millis | UnsetType = UNSET
    metadata: Object | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    links: Links | UnsetType = UNSET


class ModuleUsage(Struct, rename="camel"):
    selector: Name
    strategy: Name
    hash: Hash
    usage: Usage
    instances: list[InstanceSummary]
    total: Natural
    offset: Natural
    limit: Natural | UnsetType = UNSET


class StoredModule(Struct):
    name: Name
    hash: Hash
    tag: Text = UNSET
    version: Text = UNSET
    file: Text = UNSET
    path: Text = UNSET


class Uploaded(Struct, rename="camel"):
    status: Name
    strategy_directory: Name
    filename: Text = UNSET
    module: StoredModule | UnsetType | None = UNSET


class RefreshedSelector(Struct, rename="camel"):
    selector: Name
    strategy: Text = UNSET
    hash: Hash | UnsetType = UNSET
    previous_hash: Hash | UnsetType = UNSET
    instances: Texts = UNSET
    reason: Text = UNSET


class Refreshed(Struct):
    status: Name
    results: list[RefreshedSelector] | UnsetType = UNSET


class TagAssigned(Struct, rename="camel"):
    status: Literal["tag_assigned"]
    strategy: Name
    tag: Name
    hash: Hash
    refresh: bool
    previous_hash: Hash | UnsetType = UNSET


class TagDeleted(Struct, rename="camel"):
    status: Literal["tag_deleted"]
    strategy: Name
    tag: Name
    hash: Hash
    allow_orphan: bool


class RegisteredRevision(Struct):
    path: Name
    tag: Text = UNSET


class RegisteredModule(Struct):
    tags: dict[str, Hash]
    hashes: dict[Hash, RegisteredRevision]


class Registry(Struct):
    registry: dict[str, RegisteredModule]
    usage: list[Usage]


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


class RuntimeSettings(Struct, rename="camel"):
    eventbus: Object
    pools: Object
    risk: Object
    api_server: Object
    telemetry: Object


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
    version: object
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
    ("GET", "/context/backup"): ContextBackup,
    ("POST", "/context/backup"): ContextRestored,
    ("GET", "/outbox"): Outbox,
    ("DELETE", "/outbox/{id}"): OutboxDeleted,
}
"""Request -> schema of its response. Sources are text, and the deletion of a module has no body."""
