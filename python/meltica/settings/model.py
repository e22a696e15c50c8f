"""The keys of the configuration: names, types, defaults, limits. `docs/configuration.md` explains each."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from meltica.http.spec import ApiServerSettings
from meltica.notifications.spec import NotificationsSettings
from meltica.runtime.backoff import RestartPolicy
from meltica.settings.entries import LambdaEntry, ProviderEntry
from meltica.telemetry.otlp.target import EXPECTED, is_endpoint
from meltica.trading.risk.limits import GlobalRiskLimits
from meltica.validation.models import fault
from meltica.validation.section import MAX_BUFFER, Name, NoEffect, Positive, Section
from meltica.validation.units import Duration, Size, format_duration


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class LogSettings(Section):
    """Level, format and destination of the log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    format: Literal["auto", "human", "json"] = "auto"
    """`auto` is human on a terminal and json elsewhere."""
    file: Path | None = None
    """File of the log; by default, the log goes to stderr."""
    max_size: Size = Field(default=64 << 20, ge=64 << 10)
    """Size at which the file is rotated."""
    max_files: int = Field(default=5, ge=1, le=1000)
    """Number of files to keep, the current one included."""


class EventBusSettings(Section):
    """Delivery of events to lambdas."""

    buffer_size: int = Field(default=1024, ge=1, le=MAX_BUFFER)
    """Capacity of each lambda's event queue."""
    extension_payload_cap_bytes: Size = Field(default=100 * 1024, gt=0)
    """Largest JSON payload of an Extension event."""
    fanout_workers: Annotated[
        Annotated[int, Field(gt=0)] | Literal["auto", "default"] | None,
        NoEffect("events are queued without worker threads"),
    ] = None


class PoolSettings(Section):
    """Pool sizes of other systems, accepted without effect."""

    size: int | None = Field(default=None, gt=0)
    wait_queue_size: int | None = Field(default=None, ge=0)


_GROWS = NoEffect("pools grow with the lambdas that run; pools.maxBytes limits them")


class PoolsSettings(Section):
    """Memory of the data plane."""

    max_bytes: Size = Field(default=1 << 30, ge=1 << 20)
    """Memory limit of all queues and books together; a lambda that would exceed it is refused."""
    event: Annotated[PoolSettings | None, _GROWS] = None
    order_request: Annotated[PoolSettings | None, _GROWS] = None


class InterpreterSettings(Section):
    """The Python interpreter."""

    switch_interval: Positive = timedelta(microseconds=500)
    """How long one thread may hold the interpreter while another waits for it."""


class HostsSettings(Section):
    """The threads that run callbacks."""

    spin: Duration | None = Field(default=None, le=timedelta(milliseconds=1))
    """How long a thread waits for events before it sleeps; default 20 us, and 0 on up to two processors."""


class LambdaDefaultsSettings(Section):
    """Defaults of the keys of a lambda's entry."""

    slow_callback: Positive = timedelta(milliseconds=100)
    """Duration from which a callback counts as slow."""
    max_errors: int = Field(default=0, ge=0)
    """Consecutive failing callbacks that stop the lambda; 0 disables the limit."""
    stop_timeout: Positive = timedelta(seconds=5)
    """How long a stop waits for a callback before the lambda counts as stuck."""


class BackoffSettings(Section):
    """Pauses between restarts: `min` first, doubling each time, at most `max`."""

    min: Positive = timedelta(seconds=1)
    max: Positive = timedelta(minutes=1)

    @field_validator("max")
    @classmethod
    def _ordered(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        least = info.data.get("min")
        if isinstance(least, timedelta) and value < least:
            raise fault(f"expected at least `min`, {format_duration(least)}, saw {format_duration(value)}")
        return value


class BudgetSettings(Section):
    """How many restarts a provider has within a time window before it counts as failed."""

    restarts: int = Field(default=10, ge=0)
    window: Positive = timedelta(minutes=10)


class SupervisionSettings(Section):
    """How providers are started, stopped and restarted."""

    start_timeout: Positive = timedelta(seconds=30)
    stop_timeout: Positive = timedelta(seconds=5)
    backoff: BackoffSettings = BackoffSettings()
    budget: BudgetSettings = BudgetSettings()

    def policy(self) -> RestartPolicy:
        """Converts the settings to the policy that the provider manager applies."""
        return RestartPolicy(
            start_timeout=self.start_timeout.total_seconds(),
            stop_timeout=self.stop_timeout.total_seconds(),
            min_pause=self.backoff.min.total_seconds(),
            max_pause=self.backoff.max.total_seconds(),
            restarts=self.budget.restarts,
            window=self.budget.window.total_seconds(),
        )


class ShutdownSettings(Section):
    """Shutdown of the gateway."""

    timeout: Positive = timedelta(seconds=15)
    """Longest duration of an orderly stop; components that are still running then are abandoned."""


class ResourcesSettings(Section):
    """When a shortage of file descriptors, disk or memory is reported."""

    check_interval: Positive = timedelta(seconds=2)
    """Time between two checks."""
    min_free_descriptors: int = Field(default=32, ge=0)
    """Free file descriptors of the gateway below which it is not ready."""
    min_free_disk: Size = Field(default=256 << 20, ge=0)
    """Free space, on the disks of the database and of the log file, below which the gateway is not ready."""
    min_free_memory: Size = Field(default=64 << 20, ge=0)
    """Free memory of the machine or below the process' limits, below which the gateway is not ready."""


class TelemetrySettings(Section):
    """Metrics and traces of the gateway."""

    service_name: str = Field(default="meltica", min_length=1)
    """Service name in metrics and traces; by default OTEL_SERVICE_NAME, if that is set."""
    otlp_endpoint: str | None = None
    """Collector that receives traces and metrics by OTLP over HTTP; default OTEL_EXPORTER_OTLP_ENDPOINT."""
    otlp_insecure: bool | None = None
    """Whether an endpoint without a scheme has no TLS; by default OTEL_EXPORTER_OTLP_INSECURE."""
    enable_metrics: bool | None = None
    """Whether metrics are exported, too; by default, unless OTEL_METRICS_EXPORTER is `none`."""

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value and not is_endpoint(value):
            raise fault(EXPECTED)
        return value


class StrategiesSettings(Section):
    """Location of strategies."""

    directory: Path = Path()
    """Base folder of `FILE.py:ClassName`, relative to the config file; if given, its modules are stored."""
    upload: bool = True
    """Whether strategy modules may be uploaded over REST."""
    require_registry: Annotated[bool | None, NoEffect("strategies are files or entry points")] = None


class DatabaseSettings(Section):
    """PostgreSQL: the server at `dsn`, or the embedded one."""

    dsn: SecretStr | None = None
    """Connection string of the database; by default, the gateway runs its embedded PostgreSQL."""
    home: Path | None = None
    """Folder of the embedded PostgreSQL; by default, a folder of the current user."""
    max_conns: int = Field(default=16, ge=1, le=1000)
    min_conns: int = Field(default=1, ge=0)
    max_conn_lifetime: Positive = timedelta(minutes=30)
    max_conn_idle_time: Positive = timedelta(minutes=5)
    health_check_period: Positive = timedelta(seconds=30)
    run_migrations: bool = True
    """Whether the gateway runs pending migrations when it starts."""

    @field_validator("dsn")
    @classmethod
    def _check_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            text = value.get_secret_value()
            scheme, has_scheme, rest = text.partition("://")
            if not (scheme in ("postgresql", "postgres") and rest if has_scheme else "=" in text):
                raise fault("expected postgresql://user:password@host:port/database, or host=... dbname=...")
        return value

    @field_validator("min_conns")
    @classmethod
    def _ordered(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_conns")
        if isinstance(most, int) and value > most:
            raise ValueError(f"expected at most `maxConns`, {most}")
        return value


class RetentionSettings(Section):
    """For how long rows are kept. Orders, fills, ledger entries and the audit are kept for ever."""

    refusals: Positive = timedelta(days=30)
    dead_letters: Positive = timedelta(days=30)
    """What could not be stored as it was."""
    reconciliations: Positive = timedelta(days=30)
    balances: Positive = timedelta(days=30)
    """The latest balance of each currency is kept longer."""
    events: Positive = timedelta(days=1)
    """After the last consumer received them; streams of events resume within this time."""


class Settings(BaseSettings):
    """The whole configuration. `meltica.settings.load` creates it from all sources."""

    model_config = SettingsConfigDict(**Section.model_config, case_sensitive=True)

    environment: Annotated[Literal["dev", "staging", "prod", "ci"], BeforeValidator(_lower)] = "dev"
    """Deployment environment of the gateway."""
    log: LogSettings = LogSettings()
    api_server: ApiServerSettings = ApiServerSettings()
    eventbus: EventBusSettings = EventBusSettings()
    pools: PoolsSettings = PoolsSettings()
    interpreter: InterpreterSettings = InterpreterSettings()
    hosts: HostsSettings = HostsSettings()
    lambda_defaults: LambdaDefaultsSettings = LambdaDefaultsSettings()
    supervision: SupervisionSettings = SupervisionSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    resources: ResourcesSettings = ResourcesSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    strategies: StrategiesSettings = StrategiesSettings()
    database: DatabaseSettings = DatabaseSettings()
    retention: RetentionSettings = RetentionSettings()
    notifications: NotificationsSettings = NotificationsSettings()
    risk: GlobalRiskLimits = GlobalRiskLimits()
    """Limits of all orders together."""
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
        """Disables pydantic's reading of the environment, which ignores unknown names."""
        return (init_settings,)
