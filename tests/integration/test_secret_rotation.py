"""The rotation of the master key: both keys decrypt until all secrets are encrypted again."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.types.json import Jsonb

from meltica.cli.secrets import secrets
from meltica.errors import ConfigError, GatewayAlreadyRunning
from meltica.persistence import migrate
from meltica.persistence.access_folder import AccessFolder
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.secret_rotation import Rotation, rotate
from meltica.persistence.secrets import SecretKeys, SecretKeySource, new_key

INSERT = """
    insert into providers (name, adapter, origin, settings, secrets, key_id)
    values (%s, 'test-venue', 'dynamic', '{}', %s, %s)
"""


class World:
    """A database with secrets, and the folder of their key."""

    def __init__(self, dsn: str, lock: GatewayLock, folder: AccessFolder) -> None:
        self.dsn = dsn
        self.lock = lock
        self.folder = folder
        self.environment: dict[str, str] = {}

    def source(self) -> SecretKeySource:
        return SecretKeySource(self.environment, self.folder)

    def add(self, name: str, keys: SecretKeys | None = None) -> None:
        keys = keys or self.source().for_encryption()
        secrets = {key: keys.encrypt(name, key, f"{key} of {name}") for key in ("api_key", "api_secret")}
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(INSERT, (name, Jsonb(secrets), keys.first))

    def rows(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            return connection.execute("select name, key_id, secrets from providers order by name").fetchall()

    def decrypted(self) -> dict[str, dict[str, Any]]:
        return {name: self.decrypted_of(name) for name, _, _ in self.rows()}

    def decrypted_of(self, provider: str) -> dict[str, Any]:
        keys = self.source().keys()
        id, secrets = next((id, secrets) for name, id, secrets in self.rows() if name == provider)
        return {key: keys.decrypt(provider, key, id, text) for key, text in secrets.items()}

    async def rotate(self) -> Rotation:
        async with await Database.open(self.dsn) as database:
            return await rotate(database, self.lock, self.source(), self.folder, "test")


CLEAR = {name: {key: f"{key} of {name}" for key in ("api_key", "api_secret")} for name in ("a", "b")}


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock, tmp_path: Path) -> World:
    return World(database_url, lock, AccessFolder(tmp_path / "access"))


async def test_all_secrets_are_encrypted_with_a_new_key(world: World) -> None:
    world.add("a")
    world.add("b")
    before = world.rows()
    result = await world.rotate()
    assert result.providers == 2
    assert {id for _, id, _ in world.rows()} == {result.key_id} != {id for _, id, _ in before}
    assert world.decrypted() == CLEAR
    assert world.source().keys().ids == [result.key_id]
    with psycopg.connect(world.dsn) as connection:
        shown = str(connection.execute("select actor, action, after from audit").fetchall())
    assert "secrets.rotate" in shown
    assert " of a" not in shown


@pytest.mark.parametrize("committed", [False, True])
async def test_an_interrupted_rotation_is_completed_by_the_next_one(
    committed: bool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add("a")
    world.add("b")
    save = world.folder.save_secret_keys

    def interrupted(text: str) -> None:
        if committed and len(text.split()) == 2:
            save(text)
            return
        if not committed:
            save(text)
        raise KeyboardInterrupt

    monkeypatch.setattr(world.folder, "save_secret_keys", interrupted)
    with pytest.raises(KeyboardInterrupt):
        await world.rotate()
    assert len(world.source().keys().ids) == 2
    assert world.decrypted() == CLEAR
    monkeypatch.undo()
    result = await world.rotate()
    assert world.source().keys().ids == [result.key_id]
    assert world.decrypted() == CLEAR


async def test_a_row_that_cannot_be_decrypted_changes_none(world: World) -> None:
    world.add("a")
    lost = SecretKeys.parse(new_key(), "a test")
    world.add("b", lost)
    before = world.rows()
    with pytest.raises(ConfigError, match=f"master key {lost.first} is not in"):
        await world.rotate()
    assert world.rows() == before
    assert world.source().keys().ids == [before[0][1]]
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        connection.execute("update providers set key_id = %s", (before[0][1],))
    with pytest.raises(ConfigError, match="was changed in the database"):
        await world.rotate()
    assert [secrets for _, _, secrets in world.rows()] == [secrets for _, _, secrets in before]
    assert world.decrypted_of("a") == CLEAR["a"]


async def test_keys_of_a_variable_rotate_to_the_first_one(world: World) -> None:
    old, new = new_key(), new_key()
    world.environment = {"MELTICA_SECRET_KEY": old}
    world.add("a")
    world.environment = {"MELTICA_SECRET_KEY": f"{new},{old}"}
    assert (await world.rotate()).providers == 1
    world.environment = {"MELTICA_SECRET_KEY": new}
    assert world.decrypted() == {"a": CLEAR["a"]}
    assert not world.folder.path.exists()


async def test_a_second_rotation_needs_the_lock(world: World) -> None:
    with pytest.raises(GatewayAlreadyRunning):
        await GatewayLock(world.dsn).acquire()


async def test_rotations_leave_secrets_that_a_gateway_can_read(world: World) -> None:
    world.add("a")
    keys = {(await world.rotate()).key_id for _ in range(3)}
    assert len(keys) == 3
    assert world.decrypted() == {"a": CLEAR["a"]}


def test_the_command_rotates_the_key_in_the_token_folder(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MELTICA_SECRET_KEY", "MELTICA_SECRET_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = AccessFolder(tmp_path / "access")
    old = SecretKeySource({}, folder).for_encryption()
    arguments = ["rotate", "--dsn", empty_database_url, "--token-folder", str(folder.path), "--json"]
    refused = CliRunner().invoke(secrets, arguments, standalone_mode=True)
    assert (refused.exit_code, "meltica db up" in refused.output) == (6, True)
    asyncio.run(migrate.up(empty_database_url))
    sealed = {"api_key": old.encrypt("a", "api_key", "hunter2")}
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(INSERT, ("a", Jsonb(sealed), old.first))
    result = CliRunner().invoke(secrets, arguments)
    assert result.exit_code == 0, result.output
    [id] = SecretKeySource({}, folder).keys().ids
    assert json.loads(result.output) == {"keyId": id, "providers": 1}
    assert id != old.first
