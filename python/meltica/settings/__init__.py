"""The gateway's configuration. `load` returns it, `check_lambdas` imports its strategies.

`docs/configuration.md` describes the files, the environment and the keys.
"""

from meltica.settings.loading import Loaded, check_lambdas, load, shipped
from meltica.settings.manifest import LambdaSpec, ProviderSpec
from meltica.settings.model import Settings

__all__ = ["LambdaSpec", "Loaded", "ProviderSpec", "Settings", "check_lambdas", "load", "shipped"]
