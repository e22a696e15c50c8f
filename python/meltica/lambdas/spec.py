"""`LambdaSpec`: a lambda as its manager gets it, with every default filled in and every path absolute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from meltica.lambdas.base import MAX_PAYLOAD
from meltica.validation.models import masked
from meltica.validation.units import format_duration


@dataclass(frozen=True, kw_only=True)
class LambdaSpec:
    """A lambda as the manifest wants it: what `meltica.lambdas.instances.add_instance` takes."""

    id: str
    strategy: str
    """What `meltica.lambdas.loader.load` takes: a shipped name, or an absolute path, with `:Class` or not."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """As written: checked when the strategy is loaded."""
    scope: Mapping[str, tuple[str, ...]]
    host: Literal["thread", "shared"] = "thread"
    enabled: bool = True
    policies: Mapping[str, str] = field(default_factory=dict[str, str])
    buffer_size: int = 1024
    extension_payload_cap: int = MAX_PAYLOAD
    """Most bytes of JSON in an event that it emits."""
    max_errors: int = 0
    slow_callback: timedelta = timedelta(milliseconds=100)
    stop_timeout: timedelta = timedelta(seconds=5)

    def shown(self) -> dict[str, object]:
        """Returns it in the form of the config file, as JSON, secrets masked by the names of their keys."""
        return {
            "strategy": self.strategy,
            "config": masked(self.config),
            "scope": {provider: list(symbols) for provider, symbols in self.scope.items()},
            "host": self.host,
            "enabled": self.enabled,
            "policies": dict(self.policies),
            "bufferSize": self.buffer_size,
            "maxErrors": self.max_errors,
            "slowCallback": format_duration(self.slow_callback),
            "stopTimeout": format_duration(self.stop_timeout),
        }
