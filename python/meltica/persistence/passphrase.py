"""Secrets in a file, encrypted under a passphrase: AES-256-GCM with a key from Argon2id.

1. The parameters of Argon2id are in the file, and they are authenticated with the secrets.
2. Parameters that cost more than `MAX_COST` are refused: a file must not be able to exhaust the memory.
"""

import base64
import json
import os
from typing import Any, Final, cast

import msgspec

from meltica.errors import MelticaError

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 1024
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32


class PassphraseError(MelticaError):
    """Secrets cannot be encrypted or decrypted with a passphrase."""


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What deriving a key costs."""

    memory: int
    """KiB."""
    iterations: int
    lanes: int


COST: Final = Cost(memory=1 << 16, iterations=3, lanes=4)
"""The second recommendation of RFC 9106."""
MAX_COST: Final = Cost(memory=1 << 18, iterations=16, lanes=16)


class Sealed(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Encrypted secrets. Texts are base64."""

    algorithm: str = "argon2id+aes-256-gcm"
    salt: str
    nonce: str
    cost: Cost = COST
    data: str


def seal(passphrase: str, secrets: Any, cost: Cost = COST) -> Sealed:
    """Returns secrets encrypted under a passphrase. Blocks while a key is derived. Raises PassphraseError."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    check(passphrase)
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    sealed = Sealed(salt=_text(salt), nonce=_text(nonce), cost=cost, data="")
    key = _key(passphrase, salt, cost)
    data = AESGCM(key).encrypt(nonce, json.dumps(secrets).encode(), _context(sealed))
    return msgspec.structs.replace(sealed, data=_text(data))


def unseal(passphrase: str, sealed: Sealed) -> Any:
    """Returns decrypted secrets. Blocks while the key is derived.

    Raises PassphraseError for another passphrase, and for secrets or parameters that were changed.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if sealed.algorithm != "argon2id+aes-256-gcm":
        raise PassphraseError(f"secrets not decrypted: the algorithm {sealed.algorithm[:80]!r} is unknown")
    _refuse_expensive(sealed.cost)
    try:
        salt, nonce, data = (
            base64.b64decode(text, validate=True) for text in (sealed.salt, sealed.nonce, sealed.data)
        )
        if len(salt) != SALT_BYTES or len(nonce) != NONCE_BYTES:
            raise ValueError("salt or nonce has another length")
        return json.loads(AESGCM(_key(passphrase, salt, sealed.cost)).decrypt(nonce, data, _context(sealed)))
    except (InvalidTag, ValueError):
        text = "the passphrase is not that of the file, or its secrets were changed"
        raise PassphraseError(f"secrets not decrypted: {text}; use the right passphrase, or none") from None


def check(passphrase: str) -> None:
    """Raises PassphraseError for a passphrase that is too short or too long."""
    if not MIN_LENGTH <= len(passphrase) <= MAX_LENGTH:
        text = f"expected {MIN_LENGTH} to {MAX_LENGTH} characters, saw {len(passphrase)}"
        raise PassphraseError(f"passphrase refused: {text}")


def _refuse_expensive(cost: Cost) -> None:
    """2: raises PassphraseError for parameters that cost too much."""
    for name in Cost.__struct_fields__:
        value, most = cast(int, getattr(cost, name)), cast(int, getattr(MAX_COST, name))
        if not 1 <= value <= most:
            text = f"expected `{name}` from 1 to {most}, saw {value}"
            raise PassphraseError(f"secrets not decrypted: the file was changed: {text}")


def _key(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    function = Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory,
    )
    return function.derive(passphrase.encode())


def _context(sealed: Sealed) -> bytes:
    """1: returns what is authenticated beside the secrets."""
    return msgspec.json.encode(msgspec.structs.replace(sealed, data=""))


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
