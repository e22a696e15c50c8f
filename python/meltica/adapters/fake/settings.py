"""Settings of `fake`: those of a market in this process, or the address of a simulated exchange."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from meltica.simulator.settings import MarketSettings
from meltica.validation.models import fault

_WIRE = frozenset({"endpoint", "key", "secret"})


def _address(value: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(value)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise fault(f"expected an address such as http://127.0.0.1:8890, saw {value[:80]!r}")
    return value.rstrip("/")


class FakeSettings(MarketSettings):
    """The settings of the market; or `endpoint`, whose venue has its own market settings."""

    endpoint: Annotated[str, AfterValidator(_address)] | None = None
    """The address of `meltica venue serve`, to trade there instead of in this process."""
    key: str | None = None
    """The key of an account of that venue; without a key, only market data is available."""
    secret: Annotated[SecretStr, Field(min_length=1)] | None = None
    """The secret of the key."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.endpoint is None:
            given = [name for name in ("key", "secret") if name in self.model_fields_set]
            if given:
                raise fault(f"expected `{given[0]}` only together with an `endpoint`, saw no endpoint")
            return self
        market = [name for name in type(self).model_fields if name in self.model_fields_set - _WIRE]
        if market:
            names = ", ".join(f"`{name}`" for name in market)
            raise fault(
                f"expected no market options with an `endpoint`, whose venue has its own; saw {names}"
            )
        if (self.key is None) != (self.secret is None):
            present, absent = ("secret", "key") if self.key is None else ("key", "secret")
            raise fault(f"expected both `key` and `secret` or neither, saw `{present}` without `{absent}`")
        return self
