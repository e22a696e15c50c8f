"""Providers that are declared over REST: what is encrypted, kept, deleted and refused."""

import sys
from collections.abc import Generator
from importlib import invalidate_caches
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, SecretStr

from meltica.persistence.access_folder import AccessFolder
from meltica.persistence.secrets import SecretKeySource, new_key
from meltica.persistence.stores.providers import ProviderRecord
from meltica.settings.provider_declarations import InvalidDeclaration, ProviderDeclarations
from meltica.validation.models import MASK, revealed
from meltica.validation.section import AdapterSettings
from tests.support.venue import Venue

KEY = new_key()


class Login(BaseModel):
    user: str = ""
    password: str = ""


class NestedSettings(AdapterSettings):
    """Settings with secrets in every place."""

    api_key: SecretStr | None = None
    passphrase: str = "unset"
    logins: list[Login] = []
    proxy: Login = Login()
    region: str = "eu"
    depth: int | None = None
    note: str = ""


class Nested(Venue):
    """An adapter with nested secrets."""

    Settings: ClassVar[type[AdapterSettings]] = NestedSettings


@pytest.fixture(autouse=True, scope="module")
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    folder = tmp_path_factory.mktemp("adapters")
    distribution = folder / "meltica_nested-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: meltica-nested\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text(f"[meltica.adapters]\nnested = {__name__}:Nested\n")
    sys.path = [str(folder), *sys.path]
    invalidate_caches()
    yield
    sys.path = [entry for entry in sys.path if entry != str(folder)]


def declarations(tmp_path: Path, key: str = KEY) -> ProviderDeclarations:
    source = SecretKeySource({"MELTICA_SECRET_KEY": key}, AccessFolder(tmp_path / "access"))
    return ProviderDeclarations(tmp_path, source)


@pytest.fixture(name="ours")
def _ours(tmp_path: Path) -> ProviderDeclarations:
    return declarations(tmp_path)


def shown(ours: ProviderDeclarations, record: ProviderRecord) -> dict[str, Any]:
    return ours.shown(record, ours.spec(record))


def used(ours: ProviderDeclarations, record: ProviderRecord) -> Any:
    return revealed(ours.spec(record).settings)


GIVEN: dict[str, Any] = {
    "api_key": "hunter2",
    "passphrase": " hunter2 ",
    "logins": [{"user": "a", "password": "hunter2"}, {"user": "b", "password": "hunter3"}],
    "proxy": {"user": "c", "password": "hunter2"},
    "region": " us ",
    "note": "  ",
}


def test_every_secret_is_encrypted_and_masked(ours: ProviderDeclarations) -> None:
    record = ours.created("main", "nested", GIVEN)
    assert set(record.secrets) == {"api_key", "passphrase", "logins", "proxy"}
    assert record.key_id is not None
    assert record.settings == {**dict.fromkeys(record.secrets, MASK), "region": "us"}
    view = shown(ours, record)
    assert view["logins"] == [{"user": "a", "password": MASK}, {"user": "b", "password": MASK}]
    assert view["proxy"] == {"user": "c", "password": MASK}
    for part in (record, view, ours.spec(record)):
        assert "hunter" not in repr(part)
    settings = used(ours, record)
    assert (settings["api_key"], settings["passphrase"]) == ("hunter2", "hunter2")
    assert settings["logins"][1] == {"user": "b", "password": "hunter3"}


def test_what_get_answers_changes_nothing(ours: ProviderDeclarations) -> None:
    record = ours.created("main", "nested", GIVEN)
    view = shown(ours, record)
    assert not ours.differs(view, view)
    assert ours.changed(record, view, view) is record
    without_nulls = {key: value for key, value in view.items() if value is not None}
    assert ours.changed(record, without_nulls, view) is record


@pytest.mark.parametrize("kept", [{"api_key": MASK}, {}])
def test_a_mask_and_an_absent_secret_keep_what_is_stored(
    kept: dict[str, Any], ours: ProviderDeclarations
) -> None:
    record = ours.created("main", "nested", GIVEN)
    given = {"region": "jp", "proxy": {"user": "d", "password": MASK}, **kept}
    changed = ours.changed(record, given, shown(ours, record))
    settings = used(ours, changed)
    assert (settings["api_key"], settings["region"]) == ("hunter2", "jp")
    assert settings["proxy"] == {"user": "d", "password": "hunter2"}
    assert changed.secrets["api_key"] == record.secrets["api_key"]
    assert changed.secrets["proxy"] != record.secrets["proxy"]


def test_an_edit_of_what_get_answers_changes_that_key_only(ours: ProviderDeclarations) -> None:
    record = ours.created("main", "nested", GIVEN)
    changed = ours.changed(record, {**shown(ours, record), "region": "jp"}, shown(ours, record))
    assert changed.settings == {**record.settings, "region": "jp"}
    assert changed.secrets == record.secrets


def test_an_absent_setting_that_is_no_secret_is_removed(ours: ProviderDeclarations) -> None:
    record = ours.created("main", "nested", GIVEN)
    assert used(ours, ours.changed(record, {"depth": 5}, shown(ours, record)))["region"] == "eu"


def test_null_deletes_a_secret(ours: ProviderDeclarations) -> None:
    record = ours.created("main", "nested", GIVEN)
    given = {**shown(ours, record), "api_key": None, "passphrase": None}
    changed = ours.changed(record, given, shown(ours, record))
    assert set(changed.secrets) == {"logins", "proxy"}
    assert (used(ours, changed)["api_key"], used(ours, changed)["passphrase"]) == (None, "unset")
    left = ours.changed(changed, {"logins": None, "proxy": None}, shown(ours, changed))
    assert (left.secrets, left.key_id) == ({}, None)


def test_a_mask_of_which_nothing_is_stored_is_a_fault(ours: ProviderDeclarations) -> None:
    for given in ({"api_key": MASK}, {"logins": [{"user": "a", "password": MASK}]}):
        with pytest.raises(InvalidDeclaration) as raised:
            ours.created("main", "nested", given)
        assert [loc for loc, _ in raised.value.found] == [("adapter", "config", *given)]
    record = ours.created("main", "nested", GIVEN)
    more = [{"user": name, "password": MASK} for name in "abc"]
    with pytest.raises(InvalidDeclaration, match="none is stored"):
        ours.changed(record, {"logins": more}, shown(ours, record))


def test_every_fault_is_named_with_its_path_and_without_secrets(ours: ProviderDeclarations) -> None:
    with pytest.raises(InvalidDeclaration) as raised:
        ours.created("main", "nested", {"depth": "hunter2", "passphrase": 5, "regoin": "eu"})
    found = {".".join(map(str, loc)) for loc, _ in raised.value.found}
    assert found == {"adapter.config.depth", "adapter.config.passphrase", "adapter.config.regoin"}
    assert "did you mean `region`" in str(raised.value)
    with pytest.raises(InvalidDeclaration) as raised:
        ours.created("main", "nestd", {"api_key": "hunter2"})
    assert raised.value.found[0][0] == ("adapter", "identifier")
    assert "hunter2" not in str(raised.value)


def test_a_lost_key_is_a_fault_of_the_provider(ours: ProviderDeclarations, tmp_path: Path) -> None:
    record = ours.created("main", "nested", GIVEN)
    later = declarations(tmp_path, new_key())
    spec = later.spec(record)
    assert spec.fault is not None
    assert f"encrypted with the master key {record.key_id}, which is not available" in spec.fault
    assert shown(later, record) == record.settings
    assert later.changed(record, record.settings, record.settings) is record
    with pytest.raises(InvalidDeclaration, match="which is not available") as raised:
        later.changed(record, {"region": "jp", "api_key": "new"}, record.settings)
    assert {loc[-1] for loc, _ in raised.value.found} == {"passphrase", "logins", "proxy"}
    given = {"region": "jp", "api_key": "new", "passphrase": "p", "logins": None, "proxy": None}
    settings = used(later, later.changed(record, given, record.settings))
    assert (settings["api_key"], settings["passphrase"], settings["logins"]) == ("new", "p", [])


def test_a_damaged_key_file_is_a_fault_of_the_provider(tmp_path: Path) -> None:
    folder = AccessFolder(tmp_path / "access")
    ours = ProviderDeclarations(tmp_path, SecretKeySource({}, folder))
    record = ours.created("main", "nested", {"api_key": "x"})
    (folder.path / "secret-key").write_bytes(b"\xff" * 40)
    assert ours.spec(record).fault == "`secret-key` in the token folder cannot be read: it is not a text"


def test_another_first_key_encrypts_all_secrets_of_a_changed_row(
    ours: ProviderDeclarations, tmp_path: Path
) -> None:
    record = ours.created("main", "nested", GIVEN)
    both = declarations(tmp_path, f"{new_key()} {KEY}")
    changed = both.changed(record, {"region": "jp"}, shown(both, record))
    assert changed.key_id != record.key_id
    assert used(both, changed) == {**used(both, record), "region": "jp"}
    assert ours.spec(changed).fault is not None


def test_an_adapter_that_is_not_installed_is_a_fault_of_the_provider(ours: ProviderDeclarations) -> None:
    spec = ours.spec(ProviderRecord(name="main", adapter="gone", settings={"region": "us"}))
    assert spec.fault is not None
    assert "`gone` is unknown" in spec.fault


def test_a_plan_creates_no_key(tmp_path: Path) -> None:
    folder = AccessFolder(tmp_path / "access")
    ours = ProviderDeclarations(tmp_path, SecretKeySource({}, folder))
    assert ours.created("main", "nested", {"api_key": "x"}, plan=True).secrets
    assert not folder.path.exists()
    assert ours.created("main", "nested", {"api_key": "x"}).secrets
    assert folder.secret_keys() is not None
