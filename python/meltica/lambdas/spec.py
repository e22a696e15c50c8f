"""The spec of a lambda for its manager: defaults applied, paths absolute."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import PurePath
from typing import Any, Literal

from meltica.lambdas.base import MAX_PAYLOAD, Lambda
from meltica.lambdas.loader import load
from meltica.lambdas.modules.revision import Revision
from meltica.model.trader import Inventory
from meltica.validation.models import masked
from meltica.validation.units import format_duration


def source_of(strategy: str) -> str:
    """Returns a strategy as clients see it: without the folder of a file."""
    path = PurePath(strategy)
    return path.name if path.is_absolute() else strategy


@dataclass(frozen=True, kw_only=True)
class LambdaSpec:
    """A lambda of the manifest: the arguments of `meltica.lambdas.instances.add_instance`."""

    id: str
    strategy: str
    """A shipped name, an absolute path, optionally with `:Class`, or the selector of a stored module."""
    module: Revision | None = None
    """The revision to which a selector is pinned; None before it is found, and for other strategies."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Not validated yet: that happens when the strategy is loaded."""
    scope: Mapping[str, tuple[str, ...]]
    host: Literal["thread", "shared"] = "thread"
    enabled: bool = True
    dry_run: bool = True
    """Whether its orders go to the paper accounts of the providers instead of the venues."""
    on_stop: Literal["cancel", "keep"] = "cancel"
    risk: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The limits that were given, by the keys of the config file; validated."""
    inventory: Mapping[tuple[str, str], Inventory] = field(default_factory=dict[tuple[str, str], Inventory])
    """(provider, symbol) -> the coins that it takes over."""
    policies: Mapping[str, str] = field(default_factory=dict[str, str])
    buffer_size: int = 1024
    extension_payload_cap: int = MAX_PAYLOAD
    """Largest JSON payload, in bytes, of an event that the lambda emits."""
    max_errors: int = 0
    slow_callback: timedelta = timedelta(milliseconds=100)
    stop_timeout: timedelta = timedelta(seconds=5)

    @property
    def source(self) -> str:
        """The strategy as clients see it."""
        return source_of(self.strategy)

    def without_folder(self, text: str) -> str:
        """Returns a text for clients without the folder of the strategy's file."""
        path = PurePath(self.strategy)
        return text.replace(f"{path.parent}/", "") if path.is_absolute() else text

    def load(self) -> type[Lambda]:
        """Returns the class of the strategy. Blocks while its module is executed. Raises LambdaLoadError."""
        return load(self.strategy) if self.module is None else self.module.load()

    def is_same(self, other: "LambdaSpec") -> bool:
        """Returns whether another spec declares the same, however its revision was selected."""
        hashes = [None if each.module is None else each.module.hash for each in (self, other)]
        return hashes[0] == hashes[1] and replace(self, module=None) == replace(other, module=None)

    def shown(self) -> dict[str, object]:
        """Returns the lambda as JSON with the keys of the config file; secrets are masked by their keys."""
        return {
            "strategy": self.strategy,
            "config": masked(self.config),
            "scope": {provider: list(symbols) for provider, symbols in self.scope.items()},
            "host": self.host,
            "enabled": self.enabled,
            "dryRun": self.dry_run,
            "onStop": self.on_stop,
            "policies": dict(self.policies),
            "bufferSize": self.buffer_size,
            "maxErrors": self.max_errors,
            "slowCallback": format_duration(self.slow_callback),
            "stopTimeout": format_duration(self.stop_timeout),
        }
