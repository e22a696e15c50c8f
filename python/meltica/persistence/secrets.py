"""The encryption of stored secrets: AES-256-GCM under a master key.

1. Provider and key of a secret are authenticated with it: a value that was copied to another row is refused.
2. Several master keys may be available. The first encrypts, all decrypt, and each row names the one it needs.
3. They come from MELTICA_SECRET_KEY, else from the file in MELTICA_SECRET_KEY_FILE, else from the access
   folder, where the first secret creates one.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from meltica.errors import ConfigError
from meltica.persistence.access_folder import SECRET_KEYS, AccessError, AccessFolder

VARIABLE: Final = "MELTICA_SECRET_KEY"
FILE_VARIABLE: Final = "MELTICA_SECRET_KEY_FILE"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class SecretKeys:
    """The master keys of a gateway; the first one encrypts."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = {key_id(key): key for key in keys}

    @classmethod
    def parse(cls, text: str, origin: str) -> "SecretKeys":
        """Reads keys that are separated by white space or commas. Raises ConfigError; `origin` names it."""
        words = re.split(r"[\s,]+", text.strip())
        return cls([_key(word, origin) for word in words])

    @property
    def ids(self) -> list[str]:
        """The ids of the keys, in order."""
        return list(self._keys)

    @property
    def first(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self._keys))

    def __contains__(self, id: object) -> bool:
        return id in self._keys

    def encrypt(self, provider: str, key: str, value: Any) -> str:
        """Returns a value encrypted with the first key."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        text = json.dumps(value).encode()
        sealed = AESGCM(self._keys[self.first]).encrypt(nonce, text, _context(provider, key))
        return base64.b64encode(nonce + sealed).decode()

    def decrypt(self, provider: str, key: str, id: str | None, text: str) -> Any:
        """Returns the value of a secret. Raises ConfigError if it was changed, or its key is unavailable."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if id is None or id not in self._keys:
            raise ConfigError(f"secrets of provider `{provider}`", [key_lost(key, id)])
        try:
            sealed = base64.b64decode(text, validate=True)
            nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            return json.loads(AESGCM(self._keys[id]).decrypt(nonce, rest, _context(provider, key)))
        except (InvalidTag, ValueError):
            fault = f"`{key}` was changed in the database, or belongs to another provider; set it again"
            raise ConfigError(f"secrets of provider `{provider}`", [fault]) from None


class SecretKeySource:
    """Where the master keys of a gateway come from.

    They are read whenever they are needed. A gateway that has lost its lock for a while would otherwise
    encrypt with a key that a rotation has removed meanwhile.
    """

    def __init__(self, environment: Mapping[str, str], folder: AccessFolder) -> None:
        self._environment = environment
        self._folder = folder

    @property
    def is_generated(self) -> bool:
        """Whether the keys are in the access folder."""
        return not (self._environment.get(VARIABLE) or self._environment.get(FILE_VARIABLE))

    def keys(self) -> SecretKeys:
        """Returns the keys, none if none was created yet. Raises ConfigError if they cannot be read."""
        given, file = self._environment.get(VARIABLE), self._environment.get(FILE_VARIABLE)
        if given and file:
            raise ConfigError("master key", [f"{VARIABLE} and {FILE_VARIABLE} are both set; unset one"])
        if given:
            return SecretKeys.parse(given, VARIABLE)
        if file:
            try:
                return SecretKeys.parse(Path(file).read_text(), f"the file of {FILE_VARIABLE}")
            except (OSError, UnicodeDecodeError) as error:
                cause = error.strerror if isinstance(error, OSError) else "it is not a text"
                fault = f"the file of {FILE_VARIABLE} cannot be read: {cause}"
                raise ConfigError("master key", [fault]) from error
        try:
            stored = self._folder.secret_keys()
        except AccessError as error:
            fault = f"`{SECRET_KEYS}` in the token folder cannot be read: {error.cause}"
            raise ConfigError("master key", [fault]) from error
        return SecretKeys([]) if stored is None else SecretKeys.parse(stored, f"`{SECRET_KEYS}`")

    def for_encryption(self, *, create: bool = True) -> SecretKeys:
        """Returns at least one key; without `create`, one that is not stored. Raises MelticaError."""
        keys = self.keys()
        if not keys.ids and not create:
            return SecretKeys([os.urandom(KEY_BYTES)])
        if not keys.ids:
            self._folder.save_secret_keys(new_key())
            keys = self.keys()
        return keys


def new_key() -> str:
    """Returns a new master key."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def key_id(key: bytes) -> str:
    """Returns the name of a master key; it does not reveal the key."""
    return hashlib.sha256(b"meltica master key" + key).hexdigest()[:16]


def key_lost(key: str, id: str | None) -> str:
    """Returns the fault of a secret whose master key is not available."""
    return (
        f"`{key}` is encrypted with the master key {id}, which is not available; put it back into {VARIABLE},"
        f" {FILE_VARIABLE} or the access folder and restart the gateway, or set the secret again"
    )


def _key(word: str, origin: str) -> bytes:
    try:
        if _HEX.fullmatch(word):
            return bytes.fromhex(word)
        key = base64.b64decode(word.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        fault = f"{origin}: expected {KEY_BYTES} bytes as base64 or hexadecimal"
        raise ConfigError("master key", [f"{fault}; `openssl rand -base64 32` prints a new one"])
    return key


def _context(provider: str, key: str) -> bytes:
    return json.dumps([provider, key]).encode()
