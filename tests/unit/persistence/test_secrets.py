"""Secrets: what their encryption refuses, and where the master key comes from."""

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.errors import ConfigError
from meltica.persistence.access_folder import AccessFolder
from meltica.persistence.secrets import SecretKeys, SecretKeySource, new_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


def keys(*texts: str) -> SecretKeys:
    return SecretKeys.parse("\n".join(texts or (new_key(),)), "a test")


@given(JSON, st.text(), st.text())
def test_a_secret_is_decrypted_as_it_was(value: Any, provider: str, key: str) -> None:
    ours = keys()
    sealed = ours.encrypt(provider, key, value)
    assert ours.decrypt(provider, key, ours.first, sealed) == value


def test_the_text_of_a_secret_hides_it_and_differs_each_time() -> None:
    ours = keys()
    sealed = {ours.encrypt("main", "api_key", "hunter2") for _ in range(50)}
    assert len(sealed) == 50
    assert all(b"hunter2" not in base64.b64decode(each) for each in sealed)


@pytest.mark.parametrize(
    ("provider", "key"), [("other", "api_key"), ("main", "api_secret"), ("mainapi_key", "")]
)
def test_a_secret_that_was_moved_is_refused(provider: str, key: str) -> None:
    ours = keys()
    sealed = ours.encrypt("main", "api_key", "hunter2")
    with pytest.raises(ConfigError, match="was changed in the database, or belongs to another provider"):
        ours.decrypt(provider, key, ours.first, sealed)


def test_a_secret_of_which_any_bit_was_changed_is_refused() -> None:
    ours = keys()
    sealed = base64.b64decode(ours.encrypt("main", "api_key", "hunter2"))
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(ConfigError, match="was changed"):
            ours.decrypt("main", "api_key", ours.first, base64.b64encode(changed).decode())
    for text in ("", "!", base64.b64encode(sealed[:11]).decode()):
        with pytest.raises(ConfigError, match="was changed"):
            ours.decrypt("main", "api_key", ours.first, text)


def test_a_key_that_is_not_available_is_named() -> None:
    old, new = new_key(), new_key()
    sealed, id = keys(old).encrypt("main", "api_key", "hunter2"), keys(old).first
    with pytest.raises(ConfigError, match=f"master key {id}, which is not available"):
        keys(new).decrypt("main", "api_key", id, sealed)
    both = keys(new, old)
    assert both.first == keys(new).first
    assert both.decrypt("main", "api_key", id, sealed) == "hunter2"


def test_a_key_is_base64_or_hexadecimal() -> None:
    raw = bytes(range(224, 256))
    texts = [raw.hex(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()]
    assert len({keys(text).first for text in texts}) == 1
    for text in ("", "hunter2", base64.b64encode(raw[1:]).decode(), "é" * 64, raw.hex()[:-1]):
        with pytest.raises(ConfigError, match="expected 32 bytes") as raised:
            keys(text)
        assert "hunter2" not in str(raised.value)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> AccessFolder:
    return AccessFolder(tmp_path / "access")


def test_the_first_secret_creates_a_private_key(folder: AccessFolder) -> None:
    source = SecretKeySource({}, folder)
    assert source.keys().ids == []
    assert not folder.path.exists()
    first = source.for_encryption().first
    file = folder.path / "secret-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert SecretKeySource({}, folder).for_encryption().first == first


def test_a_variable_replaces_the_file(folder: AccessFolder, tmp_path: Path) -> None:
    generated = SecretKeySource({}, folder).for_encryption().first
    key, file = new_key(), tmp_path / "key"
    file.write_text(f"{key}\n{new_key()}\n")
    for environment in ({"MELTICA_SECRET_KEY": key}, {"MELTICA_SECRET_KEY_FILE": str(file)}):
        source = SecretKeySource(environment, folder)
        assert source.for_encryption().first == keys(key).first != generated
        assert not source.is_generated
    assert len(SecretKeySource({"MELTICA_SECRET_KEY_FILE": str(file)}, folder).keys().ids) == 2


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"MELTICA_SECRET_KEY": "hunter2"}, "MELTICA_SECRET_KEY: expected 32 bytes"),
        ({"MELTICA_SECRET_KEY_FILE": "/missing"}, "file of MELTICA_SECRET_KEY_FILE cannot be read: No such"),
        ({"MELTICA_SECRET_KEY": "a", "MELTICA_SECRET_KEY_FILE": "b"}, "are both set"),
    ],
)
def test_a_variable_that_is_not_valid_creates_no_key(
    environment: dict[str, str], text: str, folder: AccessFolder
) -> None:
    with pytest.raises(ConfigError, match=text):
        SecretKeySource(environment, folder).for_encryption()
    assert not folder.path.exists()


def test_a_key_that_others_may_read_is_refused(folder: AccessFolder) -> None:
    SecretKeySource({}, folder).for_encryption()
    folder.path.chmod(0o755)
    with pytest.raises(ConfigError, match="accessible to other users"):
        SecretKeySource({}, folder).keys()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"\xff" * 40, "cannot be read: it is not a text"),
        (None, "cannot be read: Is a directory"),
        ("/dev/zero", "cannot be read: it is a link"),
        (b"hunter2", "expected 32 bytes"),
    ],
)
def test_a_damaged_file_is_a_fault_without_its_path(
    content: bytes | str | None, cause: str, folder: AccessFolder, tmp_path: Path
) -> None:
    SecretKeySource({}, folder).for_encryption()
    file = folder.path / "secret-key"
    file.unlink()
    if content is None:
        file.mkdir()
    elif isinstance(content, str):
        file.symlink_to(content)
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"`secret-key`.*{cause}") as raised:
        SecretKeySource({}, folder).for_encryption()
    assert str(tmp_path) not in str(raised.value)


def test_a_key_that_another_process_replaced_is_not_used_again(folder: AccessFolder) -> None:
    source = SecretKeySource({}, folder)
    old = source.for_encryption().first
    folder.save_secret_keys(key := new_key())
    assert source.for_encryption().first == keys(key).first != old
