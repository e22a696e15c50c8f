"""`/config/runtime`: the settings of the gateway."""

from typing import Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, Schema
from meltica.api.risk import RiskLimits


class RuntimeConfig(Schema, frozen=True, kw_only=True):
    """The settings of the next start, with the keys of the config file. Secrets are masked."""

    environment: str
    """The name of the environment."""
    log: JsonObject
    """Logging."""
    api_server: JsonObject
    """The REST API."""
    eventbus: JsonObject
    """The queues of instances."""
    pools: JsonObject
    """Memory of events and books."""
    interpreter: JsonObject
    """The Python interpreter."""
    hosts: JsonObject
    """The threads of instances."""
    lambda_defaults: JsonObject
    """Defaults of instances."""
    supervision: JsonObject
    """Restarts after failures."""
    shutdown: JsonObject
    """The end of the gateway."""
    resources: JsonObject
    """Resources that are watched."""
    telemetry: JsonObject
    """Metrics and traces."""
    strategies: JsonObject
    """Uploads of strategies."""
    database: JsonObject
    """PostgreSQL."""
    retention: JsonObject
    """How long rows are kept."""
    risk: RiskLimits
    """The limits of the global scope."""


class RuntimeSnapshot(Schema, frozen=True, kw_only=True):
    """The settings, and where they are from."""

    config: RuntimeConfig
    """The settings from the next start on."""
    source: Literal["runtime", "file", "bootstrap"]
    """`runtime` if any was set over REST, else `file`, or `bootstrap` without a config file."""
    persisted_at: str | UnsetType = UNSET
    """When settings were last set over REST."""
    restart_required: list[str]
    """Keys whose value applies from the next start of the gateway on."""
    sources: dict[str, str]
    """Key -> where its value is from, such as a line of the file or `set over REST`; absent for defaults."""
    warnings: list[str]
    """Keys that are given and have no effect."""
    fault: str | UnsetType = UNSET
    """Why what was set over REST does not apply."""
