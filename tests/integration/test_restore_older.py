"""A dump of the embedded server restores into an older PostgreSQL."""

import shutil
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from meltica.persistence import backup
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.conftest import folder_for_server

OLDER = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(name="folder")
def _folder() -> Generator[Path]:
    folder = folder_for_server()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not (OLDER / "postgres").is_file(), reason=f"needs PostgreSQL 15 in {OLDER}")
def test_a_dump_restores_into_postgresql_15(
    database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = "SET transaction_timeout = 0;"
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into meltica.outbox_consumers (name) values (%s)", [setting])
    newest = binaries.find()
    file = folder / "dump.sql.gz"
    backup.dump(database_url, file, newest)
    monkeypatch.setenv(binaries.ENVIRONMENT, str(OLDER))
    with EmbeddedPostgres(folder / "pg") as server:
        for programs in (newest, binaries.find()):
            backup.restore(server.dsn, file, programs, force=True)
            with psycopg.connect(server.dsn) as connection:
                assert connection.info.server_version // 10000 == 15
                rows = connection.execute("select name from meltica.outbox_consumers").fetchall()
            assert rows == [(setting,)]
