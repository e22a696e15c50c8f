"""The gateway's configuration: `load` it, `check_lambdas`, hand `Loaded` on. See `docs/configuration.md`."""

from meltica.settings.loading import Loaded, check_lambdas, load, shipped
from meltica.settings.manifest import LambdaSpec, ProviderSpec
from meltica.settings.model import Settings

__all__ = ["LambdaSpec", "Loaded", "ProviderSpec", "Settings", "check_lambdas", "load", "shipped"]
