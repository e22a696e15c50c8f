"""Instances that are declared over REST: the same keys, checks and defaults as in the config file."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from meltica.errors import ConfigError
from meltica.lambdas.spec import LambdaSpec
from meltica.settings.entries import LambdaEntry
from meltica.settings.manifest import lambda_spec
from meltica.validation.models import Loc, Locations, faults
from meltica.validation.paths import from_folder

if TYPE_CHECKING:
    from meltica.persistence.stores.instances import InstanceRecord
    from meltica.settings.loading import Loaded


class Declarations:
    """Makes specs of the rows of instances."""

    def __init__(self, loaded: "Loaded") -> None:
        self._settings = loaded.settings
        self._folder: Path = from_folder(loaded.base, loaded.settings.strategies.directory)

    def faults(self, record: "InstanceRecord") -> list[tuple[Loc, str]]:
        """Returns the faults of a declaration as (location, one line), with the keys of the config file."""
        try:
            LambdaEntry.model_validate(_entry(record))
        except ValidationError as error:
            return faults(LambdaEntry, error.errors(), Locations())
        return []

    def spec(self, record: "InstanceRecord") -> LambdaSpec:
        """Returns the spec of an instance. Raises ConfigError with every fault, and LambdaLoadError."""
        found = self.faults(record)
        if found:
            raise ConfigError(f"instance `{record.id}`", [text for _, text in found])
        entry = LambdaEntry.model_validate(_entry(record))
        return lambda_spec(record.id, entry, self._settings, self._folder)


def _entry(record: "InstanceRecord") -> dict[str, object]:
    return {
        "strategy": record.selector,
        "config": record.config,
        "scope": {name: ["*"] if symbols == "*" else symbols for name, symbols in record.scope.items()},
        "host": record.host,
        "dryRun": record.dry_run,
        "onStop": record.on_stop,
        "enabled": False,
    }
