"""The settings of `meltica venue serve`: market, accounts and rate limit; and reading them from a file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self, cast

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from meltica.errors import ConfigError
from meltica.settings.document import Document, read
from meltica.simulator.settings import Amount, MarketSettings
from meltica.validation.models import Loc, Locations, dotted, fault, faults, read_texts
from meltica.validation.section import AdapterSettings, Name

PORT = 8890


class AccountSettings(AdapterSettings):
    """One account and its key."""

    key: Annotated[str, Field(pattern=r"^[!-~]{1,80}$")]
    """The key that its requests carry."""
    secret: Annotated[SecretStr, Field(min_length=1)]
    """The secret that signs them."""
    balances: dict[str, Amount] | None = None
    """Initial balances by currency; `market.balances` by default."""


class VenueSettings(AdapterSettings):
    """The settings of one venue."""

    market: MarketSettings = MarketSettings()
    """The synthetic market."""
    accounts: dict[Name, AccountSettings] = Field(
        default={"main": AccountSettings(key="main", secret=SecretStr("main-secret"))}, min_length=1
    )
    """The accounts, by name."""
    rate_limit: Annotated[float, Field(ge=0, le=1e6)] = 50.0
    """Signed requests per second of each key, and as many at once; 0 disables the limit."""

    @field_validator("market")
    @classmethod
    def _paced(cls, market: MarketSettings) -> MarketSettings:
        if market.rate == "max":
            raise fault('`market.rate`: expected a number: a market that is served keeps pace, saw "max"')
        if market.duration is not None:
            raise fault("`market.duration`: expected none: a venue serves until it is stopped")
        return market

    @model_validator(mode="after")
    def _fits(self) -> Self:
        keys = [account.key for account in self.accounts.values()]
        wrong = [f"expected each key once, saw {key!r} twice" for key in set(keys) if keys.count(key) > 1]
        for name, account in self.accounts.items():
            wrong.extend(
                f"`accounts.{name}.balances`: expected currencies of the symbols, saw {currency}"
                for currency in self.market.unknown_currencies(account.balances)
            )
        if wrong:
            raise fault("; ".join(wrong))
        return self


class _Lines(Locations):
    """Describes a location by its key and its line in the file."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def describe(self, loc: Loc) -> str:
        """Returns a key and its line."""
        lines = self._document.lines
        line = next((lines[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in lines), None)
        return f"`{dotted(loc)}`" if line is None else f"`{dotted(loc)}` (line {line})"

    def placeholder(self, loc: Loc) -> str | None:
        """Returns the text to show instead of a value that contains variables."""
        return self._document.placeholder(loc)


def load(
    path: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str] | None = None
) -> VenueSettings:
    """Returns the settings of a file, or the defaults; `overrides` are market settings that take precedence.

    Raises ConfigError with every fault.
    """
    document = Document(Path())
    if path is not None:
        document = read(path, os.environ if environ is None else environ)
    locations = _Lines(document)
    found = [f"{locations.describe(loc)}{text}" for loc, text in document.faults]
    unread = {loc for loc, _ in document.faults}
    values = dict(document.values)
    market = values.get("market", {})
    if overrides and isinstance(market, Mapping):
        values["market"] = {**cast("Mapping[str, object]", market), **overrides}
    try:
        settings = VenueSettings.model_validate(read_texts(VenueSettings, values))
    except ValidationError as error:
        found += [text for loc, text in faults(VenueSettings, error.errors(), locations) if loc not in unread]
    else:
        if not found:
            return settings
    raise ConfigError(str(path or "venue serve"), found)
