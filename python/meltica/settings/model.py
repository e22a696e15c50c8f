"""The keys of the configuration: names, types, defaults, bounds. `docs/configuration.md` explains each."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from meltica.http.spec import ApiServerSettings
from meltica.runtime.backoff import RestartPolicy
from meltica.settings.entries import LambdaEntry, ProviderEntry
from meltica.validation.models import told
from meltica.validation.section import MAX_BUFFER, Amount, Name, NoEffect, Positive, Section, words
from meltica.validation.units import Duration, Size, format_duration

_SEEN = "metrics are served at /metrics; export by OTLP does not exist yet"


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Log(Section):
    """What is logged, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Literal["auto", "human", "json"] = "auto"
    """`auto` is human on a terminal and json elsewhere."""


class EventBus(Section):
    """The way of events to lambdas."""

    buffer_size: int = Field(default=1024, ge=1, le=MAX_BUFFER)
    """Events the queue of each lambda holds."""
    extension_payload_cap_bytes: Size = Field(default=100 * 1024, gt=0)
    """Most bytes of JSON in one Extension event."""
    fanout_workers: Annotated[
        Annotated[int, Field(gt=0)] | Literal["auto", "default"] | None,
        NoEffect("events reach the queues without worker threads"),
    ] = None


class Pool(Section):
    """Sizes of a pool in other systems."""

    size: int | None = Field(default=None, gt=0)
    wait_queue_size: int | None = Field(default=None, ge=0)


_GROWS = NoEffect("pools grow with the lambdas that run; pools.maxBytes bounds them")


class Pools(Section):
    """Memory of the data plane."""

    max_bytes: Size = Field(default=1 << 30, ge=1 << 20)
    """What all queues and books may take together; a lambda whose share does not fit is refused."""
    event: Annotated[Pool | None, _GROWS] = None
    order_request: Annotated[Pool | None, _GROWS] = None


class Interpreter(Section):
    """The Python interpreter."""

    switch_interval: Positive = timedelta(microseconds=500)
    """How long one thread may hold the interpreter while another waits for it."""


class LambdaDefaults(Section):
    """What each lambda gets unless its own entry says otherwise."""

    slow_callback: Positive = timedelta(milliseconds=100)
    """From when a callback counts as slow."""
    max_errors: int = Field(default=0, ge=0)
    """Callbacks in a row that may raise before the lambda is stopped; 0 is any number."""
    stop_timeout: Positive = timedelta(seconds=5)
    """How long a stop waits for a callback before the lambda counts as stuck."""


class Backoff(Section):
    """Pauses between restarts: the first is `min`, each is twice the one before, none above `max`."""

    min: Positive = timedelta(seconds=1)
    max: Positive = timedelta(minutes=1)

    @field_validator("max")
    @classmethod
    def _ordered(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        least = info.data.get("min")
        if isinstance(least, timedelta) and value < least:
            raise told(f"expected at least `min`, {format_duration(least)}, saw {format_duration(value)}")
        return value


class Budget(Section):
    """How often a provider may be restarted before it counts as failed."""

    restarts: int = Field(default=10, ge=0)
    window: Positive = timedelta(minutes=10)


class Supervision(Section):
    """How providers are started, stopped and restarted."""

    start_timeout: Positive = timedelta(seconds=30)
    stop_timeout: Positive = timedelta(seconds=5)
    backoff: Backoff = Backoff()
    budget: Budget = Budget()

    def policy(self) -> RestartPolicy:
        """Returns the same as providers take it."""
        return RestartPolicy(
            start_timeout=self.start_timeout.total_seconds(),
            stop_timeout=self.stop_timeout.total_seconds(),
            min_pause=self.backoff.min.total_seconds(),
            max_pause=self.backoff.max.total_seconds(),
            restarts=self.budget.restarts,
            window=self.budget.window.total_seconds(),
        )


class Shutdown(Section):
    """The end of the gateway."""

    timeout: Positive = timedelta(seconds=15)
    """Most time an orderly stop takes; what has not ended by then is left behind."""


class Telemetry(Section):
    """What the gateway tells about itself."""

    service_name: str = Field(default="meltica", min_length=1)
    """Name under which it reports."""
    otlp_endpoint: Annotated[str | None, NoEffect(_SEEN)] = None
    otlp_insecure: Annotated[bool | None, NoEffect(_SEEN)] = None
    enable_metrics: Annotated[bool | None, NoEffect(_SEEN)] = None


class Strategies(Section):
    """Where strategies are."""

    directory: Path = Path()
    """The folder that `FILE.py:ClassName` starts from, itself relative to the config file."""
    require_registry: Annotated[bool | None, NoEffect("there is one way to find strategies")] = None


class Database(Section):
    """PostgreSQL: the one behind `dsn`, or one that the gateway runs itself."""

    dsn: SecretStr | None = None
    """Where the database is; absent, the gateway runs a PostgreSQL of its own."""
    home: Path | None = None
    """Folder of the gateway's own PostgreSQL; absent, one for this user."""
    max_conns: int = Field(default=16, ge=1, le=1000)
    min_conns: int = Field(default=1, ge=0)
    max_conn_lifetime: Positive = timedelta(minutes=30)
    max_conn_idle_time: Positive = timedelta(minutes=5)
    health_check_period: Positive = timedelta(seconds=30)
    run_migrations: bool = True
    """Whether the gateway brings the schema up to date when it starts."""

    @field_validator("dsn")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            text = value.get_secret_value()
            scheme, has_scheme, rest = text.partition("://")
            if not (scheme in ("postgresql", "postgres") and rest if has_scheme else "=" in text):
                raise told("expected postgresql://user:password@host:port/database, or host=... dbname=...")
        return value

    @field_validator("min_conns")
    @classmethod
    def _ordered(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_conns")
        if isinstance(most, int) and value > most:
            raise ValueError(f"expected at most `maxConns`, {most}")
        return value


class CircuitBreaker(Section):
    """Stops trading after several breaches in a row."""

    enabled: bool = True
    threshold: int = Field(default=4, ge=0)
    cooldown: Duration = Field(default=timedelta(seconds=90), ge=timedelta(0))


def _order_types(value: object) -> object:
    names = {"limit": "Limit", "market": "Market"}
    listed = words(value)
    if not isinstance(listed, list):
        return listed
    items = cast(list[object], listed)
    return [names.get(item.strip().lower(), item) if isinstance(item, str) else item for item in items]


OrderTypes = Annotated[
    tuple[Literal["Limit", "Market"], ...],
    BeforeValidator(_order_types),
    AfterValidator(lambda value: tuple(dict.fromkeys(value))),
]


class Risk(Section):
    """Limits of what may be ordered."""

    max_position_size: Amount = Field(default=Decimal(250), gt=0)
    max_notional_value: Amount = Field(default=Decimal(50_000), gt=0)
    notional_currency: str = Field(default="USDT", min_length=1)
    order_throttle: Amount = Field(default=Decimal(5), gt=0)
    """Orders per second."""
    order_burst: int = Field(default=3, ge=1)
    max_concurrent_orders: int = Field(default=6, ge=0)
    """0 is any number."""
    price_band_percent: Amount = Field(default=Decimal("1.0"), ge=0)
    """0 is off."""
    allowed_order_types: OrderTypes = ("Limit", "Market")
    """Empty is all."""
    kill_switch_enabled: bool = True
    max_risk_breaches: int = Field(default=3, ge=0)
    """0 is off."""
    circuit_breaker: CircuitBreaker = CircuitBreaker()


class Settings(BaseSettings):
    """The whole configuration. `meltica.settings.load` makes it; made directly, it takes what it is given."""

    model_config = SettingsConfigDict(**Section.model_config, case_sensitive=True)

    environment: Annotated[Literal["dev", "staging", "prod", "ci"], BeforeValidator(_lower)] = "dev"
    """What this gateway is for."""
    log: Log = Log()
    api_server: ApiServerSettings = ApiServerSettings()
    eventbus: EventBus = EventBus()
    pools: Pools = Pools()
    interpreter: Interpreter = Interpreter()
    lambda_defaults: LambdaDefaults = LambdaDefaults()
    supervision: Supervision = Supervision()
    shutdown: Shutdown = Shutdown()
    telemetry: Telemetry = Telemetry()
    strategies: Strategies = Strategies()
    database: Database = Database()
    risk: Annotated[Risk, NoEffect("risk checks do not exist yet, so no order can leave")] = Risk()
    providers: dict[Name, ProviderEntry] = {}
    """Name -> provider."""
    lambdas: dict[Name, LambdaEntry] = {}
    """Id -> lambda."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leaves out pydantic's own reading of the environment, which passes over unknown names."""
        return (init_settings,)
