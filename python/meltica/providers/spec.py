"""`ProviderSpec`: a provider as its manager gets it, with every default filled in and every path absolute."""

from dataclasses import dataclass, field

from meltica.validation.models import masked
from meltica.validation.section import AdapterSettings


@dataclass(frozen=True, kw_only=True)
class ProviderSpec:
    """A provider as the manifest wants it. Its adapter is `registry.adapter(spec.adapter)(spec.settings)`."""

    name: str
    adapter: str
    settings: AdapterSettings = field(repr=False)
    """Checked; `settings_model.masked` and `revealed` turn them into JSON."""
    enabled: bool = True

    def shown(self) -> dict[str, object]:
        """Returns it in the form of the config file, as JSON, secrets masked."""
        return {"adapter": self.adapter, "enabled": self.enabled, "settings": masked(self.settings)}
