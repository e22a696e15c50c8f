"""Secrets under a passphrase."""

import base64
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from meltica.persistence.passphrase import Cost, PassphraseError, Sealed, seal, unseal

PASSPHRASE = "correct horse — 電池"
SECRETS: dict[str, Any] = {"main": {"api_key": "hunter2", "accounts": [{"secret": "x\0"}]}}
CHEAP = Cost(memory=64, iterations=1, lanes=1)


def flipped(text: str, bit: int) -> str:
    value = bytearray(base64.b64decode(text))
    value[bit // 8] ^= 1 << bit % 8
    return base64.b64encode(value).decode()


def test_secrets_are_decrypted_with_the_same_passphrase_only() -> None:
    sealed = seal(PASSPHRASE, SECRETS)
    assert unseal(PASSPHRASE, sealed) == SECRETS
    assert sealed.cost.memory == 65536
    text = msgspec.json.encode(sealed)
    assert b"hunter2" not in text
    assert b"api_key" not in text
    assert msgspec.json.decode(text, type=Sealed) == sealed
    other = seal(PASSPHRASE, SECRETS, CHEAP)
    assert (other.salt, other.nonce) != (sealed.salt, sealed.nonce)
    with pytest.raises(PassphraseError, match="the passphrase is not that of the file"):
        unseal(PASSPHRASE + " ", other)


def test_every_changed_bit_is_detected() -> None:
    sealed = seal(PASSPHRASE, SECRETS, CHEAP)
    for name in ("salt", "nonce", "data"):
        text: str = getattr(sealed, name)
        for bit in range(len(base64.b64decode(text)) * 8):
            with pytest.raises(PassphraseError):
                unseal(PASSPHRASE, replace(sealed, **{name: flipped(text, bit)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"data": ""},
        {"data": "*"},
        {"nonce": ""},
        {"salt": "AAAA"},
        {"algorithm": "none"},
        {"cost": Cost(memory=65, iterations=1, lanes=1)},
        {"cost": Cost(memory=4, iterations=1, lanes=1)},
        {"cost": Cost(memory=64, iterations=2, lanes=1)},
        {"cost": Cost(memory=64, iterations=0, lanes=1)},
        {"cost": Cost(memory=1 << 32, iterations=1, lanes=1)},
        {"cost": Cost(memory=64, iterations=1 << 40, lanes=1)},
        {"cost": Cost(memory=64, iterations=1, lanes=-1)},
    ],
)
def test_changed_parameters_are_refused_before_they_cost_anything(changes: dict[str, Any]) -> None:
    with pytest.raises(PassphraseError):
        unseal(PASSPHRASE, replace(seal(PASSPHRASE, SECRETS, CHEAP), **changes))


@pytest.mark.parametrize("passphrase", ["", "elevenchars", "x" * 1025])
def test_a_passphrase_has_a_minimum_length(passphrase: str) -> None:
    with pytest.raises(PassphraseError, match="expected 12 to 1024 characters"):
        seal(passphrase, SECRETS, CHEAP)
