"""Whether the config file selects another account of a provider than before.

The database has no secrets of the file. Of the settings that select the account, it has a salted hash, which
takes long to compute, as a secret may be short.
"""

import hashlib
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any, cast

from meltica.adapters import registry
from meltica.validation.models import masked, revealed

if TYPE_CHECKING:
    from meltica.persistence.stores.providers import ProviderRow
    from meltica.providers.spec import ProviderSpec
    from meltica.validation.section import AdapterSettings

_COST = {"n": 2**14, "r": 8, "p": 1, "dklen": 32}


def account_of(spec: "ProviderSpec", row: "ProviderRow | None") -> str:
    """Returns the hash of the account of a provider: that of its row if it is the same account."""
    values = _selecting(spec, cast(dict[str, Any], revealed(spec.settings)))
    if row is not None and row.account is not None:
        salt, _, _ = row.account.partition(":")
        if hmac.compare_digest(row.account, known := _hashed(values, salt)):
            return known
    return _hashed(values, secrets.token_hex(16))


def is_other_account(spec: "ProviderSpec", row: "ProviderRow", account: str) -> bool:
    """Returns whether a provider may have another account than its row; `account` is its hash."""
    if spec.adapter != row.adapter:
        return True
    if row.account is not None:
        return account != row.account
    # Of a row of an older version, or one that was created over REST, the secrets are unknown.
    values = cast(dict[str, Any], masked(spec.settings))
    names = registry.adapter(spec.adapter).account_settings
    if names is None:
        names = (values.keys() & row.settings.keys()) - spec.settings.change_live
    return any(values.get(name) != row.settings.get(name) for name in names)


def _selecting(spec: "ProviderSpec", values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of the settings that select the account; without names, of all beside defaults."""
    names = registry.adapter(spec.adapter).account_settings
    if names is None:
        names = {
            name for name in values.keys() - spec.settings.change_live if not _is_default(spec.settings, name)
        }
    return {name: values.get(name) for name in sorted(names)}


def _is_default(settings: "AdapterSettings", name: str) -> bool:
    field = type(settings).model_fields.get(name)
    return field is not None and getattr(settings, name) == field.get_default(call_default_factory=True)


def _hashed(values: dict[str, Any], salt: str) -> str:
    text = json.dumps([values], sort_keys=True, default=str).encode()
    return f"{salt}:{hashlib.scrypt(text, salt=bytes.fromhex(salt), **_COST).hex()}"
