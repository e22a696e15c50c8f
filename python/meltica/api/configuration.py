"""`/config/runtime`: the settings of the gateway."""

from typing import Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, Schema
from meltica.api.risk import RiskLimits


class RuntimeConfig(Schema, frozen=True, kw_only=True):
    """The settings of the next start, with the keys of the config file. Secrets are masked."""

    environment: str
    log: JsonObject
    api_server: JsonObject
    eventbus: JsonObject
    pools: JsonObject
    interpreter: JsonObject
    hosts: JsonObject
    lambda_defaults: JsonObject
    supervision: JsonObject
    shutdown: JsonObject
    resources: JsonObject
    telemetry: JsonObject
    strategies: JsonObject
    database: JsonObject
    retention: JsonObject
    risk: RiskLimits
    """The limits of the global scope."""


class RuntimeSnapshot(Schema, frozen=True, kw_only=True):
    """The settings, and where they are from."""

    config: RuntimeConfig
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
