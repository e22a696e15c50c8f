"""The spec of a provider for its manager: defaults applied, paths absolute."""

from dataclasses import dataclass, field, replace

from meltica.simulator.paper.settings import PaperSettings
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
    live: bool = False
    """Whether instances may trade real money at it."""
    same_account: bool = False
    """Whether its settings select the account that they selected before, also if they differ."""
    paper: PaperSettings = field(default_factory=PaperSettings)
    """Its paper account."""
    fault: str | None = None
    """Why it cannot start until its settings are corrected; its settings are unavailable then."""

    def restarts_for(self, other: "ProviderSpec") -> bool:
        """Returns whether a provider that runs has to be restarted to run as `other` says."""
        return replace(self, settings=other.settings) != other or self.settings.restarts_for(other.settings)

    def shown(self) -> dict[str, object]:
        """Returns the provider as JSON with the keys of the config file; secrets are masked."""
        return {"adapter": self.adapter, "enabled": self.enabled, "settings": masked(self.settings)}
