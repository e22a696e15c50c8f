"""The spec of a provider for its manager: defaults applied, paths absolute."""

from dataclasses import dataclass, field

from meltica.validation.models import masked
from meltica.validation.section import AdapterSettings


@dataclass(frozen=True, kw_only=True)
class ProviderSpec:
    """A provider of the manifest. Its adapter is `registry.adapter(spec.adapter)(spec.settings)`."""

    name: str
    adapter: str
    settings: AdapterSettings = field(repr=False)
    """Validated; `masked` and `revealed` convert them to JSON."""
    enabled: bool = True

    def shown(self) -> dict[str, object]:
        """Returns the provider as JSON with the keys of the config file; secrets are masked."""
        return {"adapter": self.adapter, "enabled": self.enabled, "settings": masked(self.settings)}
