"""The checks of doctor: verdicts, remedies, and that it changes nothing."""

import json
import resource
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.types.json import Jsonb

from meltica import _core, doctor
from meltica.cli import cli
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.conftest import folder_for_server

CONFIG = "providers: {}\napiServer: {addr: '127.0.0.1:0'}\n"


def run(folder: Path, config: str, *arguments: str, **environment: str) -> Result:
    path = folder / "config.yaml"
    path.write_text(config)
    variables = {"DATABASE_URL": None, "MELTICA_CONFIG_PATH": None, **environment}
    return CliRunner(env=variables).invoke(
        cli, ["doctor", "--config", str(path), *arguments], standalone_mode=False
    )


def checks(result: Result) -> dict[str, dict[str, str]]:
    return {row["check"]: row for row in json.loads(result.output)["checks"]}


def test_a_suitable_machine(tmp_path: Path, database_url: str) -> None:
    result = run(tmp_path, CONFIG, "--json", DATABASE_URL=database_url)
    rows = checks(result)
    assert result.return_value == 0, result.output
    assert {name for name, row in rows.items() if row["verdict"] != "fail"} == {
        *("python", "meltica", "clock", "clock source", "open files", "upload check"),
        *("config", "address", "server", "schema", "clock offset", "settings"),
    }
    assert rows["settings"]["seen"] == "none was set over REST"
    assert rows["schema"]["seen"].endswith(", 0 pending")
    assert rows["server"]["seen"].startswith("PostgreSQL 18")
    text = run(tmp_path, CONFIG, DATABASE_URL=database_url).output
    assert text.splitlines()[-1].startswith("a gateway can run here")


def test_settings_that_were_set_over_rest(tmp_path: Path, database_url: str) -> None:
    stored = {"supervision.backoff.max": "2s", "log.level": "debug"}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into meltica.runtime_configuration (id, settings, configured) values ('runtime', %s, %s)",
            [Jsonb(stored), Jsonb({"log.level": "error"})],
        )
    file = f"{CONFIG}\nlog: {{level: error}}"
    row = checks(run(tmp_path, file, "--json", DATABASE_URL=database_url))["settings"]
    assert row["seen"] == "set over REST: log.level, supervision.backoff.max"
    edited = f"{CONFIG}\nlog: {{level: info}}"
    row = checks(run(tmp_path, edited, "--json", DATABASE_URL=database_url))["settings"]
    assert "edited in the file since they were set over REST: log.level" in row["seen"]
    unfit = f"{file}\nsupervision: {{backoff: {{min: 3s}}}}"
    row = checks(run(tmp_path, unfit, "--json", DATABASE_URL=database_url))["settings"]
    assert (row["verdict"], "expected at least `min`" in row["seen"]) == ("warn", True)


def test_home_overrides_the_database_of_the_config(cluster: EmbeddedPostgres, database_url: str) -> None:
    folder = folder_for_server()
    result = run(folder, CONFIG, "--json", "--home", str(folder / "other"), DATABASE_URL=database_url)
    assert f"in {folder}/other, run by " in checks(result)["database"]["seen"]
    assert not (folder / "other").exists()


def test_an_embedded_server_is_checked_without_starting_it(cluster: EmbeddedPostgres) -> None:
    folder = folder_for_server()
    result = run(folder, CONFIG + f"database: {{home: {folder}/deep/pg}}", "--json")
    rows = checks(result)
    assert rows["database"]["seen"].endswith("it is created at the first start")
    assert f"in {folder}/deep/pg, run by " in rows["database"]["seen"]
    assert "server" not in rows
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    running = checks(run(folder, CONFIG + f"database: {{home: {cluster.home}}}", "--json"))
    assert running["database"]["seen"].endswith("it runs")
    assert running["server"]["verdict"] == "ok"
    assert running["schema"]["verdict"] == "warn"
    shutil.rmtree(folder)


def test_every_fault_of_a_config_is_reported(tmp_path: Path) -> None:
    result = run(tmp_path, "logg: {}\neventbus: {bufferSize: 0, fanoutWorkers: 3}")
    assert result.return_value == 9
    assert result.output.count("fail config") == 2
    assert "did you mean `log`?" in result.output
    assert "2 of 8 checks failed" in result.output
    warned = run(
        tmp_path, CONFIG + "eventbus: {fanoutWorkers: 3}", DATABASE_URL="postgresql://x@127.0.0.1:1/x"
    )
    assert "warn config        `eventbus.fanoutWorkers` (line 3) has no effect" in warned.output


def test_a_database_that_does_not_respond(tmp_path: Path) -> None:
    result = run(tmp_path, CONFIG, DATABASE_URL="postgresql://me:hush@127.0.0.1:1/x")
    assert result.return_value == 9
    assert "fail server        the database (x at 127.0.0.1:1) cannot be reached" in result.output
    assert "-> start the database, or correct database.dsn" in result.output
    assert "hush" not in result.output


def test_a_schema_of_another_version(tmp_path: Path, database_url: str, empty_database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update meltica.schema_migrations set checksum = 'x'")
    rows = checks(run(tmp_path, CONFIG, "--json", DATABASE_URL=database_url))
    assert (rows["schema"]["verdict"], "was changed after it ran" in rows["schema"]["seen"]) == ("fail", True)
    rows = checks(run(tmp_path, CONFIG, "--json", DATABASE_URL=empty_database_url))
    assert (rows["schema"]["verdict"], rows["schema"]["cure"][:26]) == ("warn", "the next start runs them; ")


def test_an_address_in_use_by_another_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        # Connections are refused.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: taken.accept()[0].close())
            finding = doctor.address("127.0.0.1", port)
    assert finding.verdict == "fail"
    assert "Address already in use" in finding.seen
    assert doctor.address("127.0.0.1", port).verdict == "ok"


def test_an_address_in_use_by_a_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: int, *, encrypted: bool) -> bool:
        return True

    monkeypatch.setattr(doctor, "_is_gateway", answer)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = doctor.address("127.0.0.1", port)
    assert (finding.verdict, finding.seen) == (
        "ok",
        f"127.0.0.1:{port} is used by a Meltica gateway",
    )


@pytest.mark.parametrize(
    ("seconds", "verdict", "text"),
    [
        (0.2, "ok", "+200 ms"),
        (-0.6, "warn", "-600 ms"),
        (31.0, "fail", "+31000 ms"),
        (-31.0, "fail", "-31000"),
    ],
)
def test_the_clock_offset_is_judged(seconds: float, verdict: str, text: str) -> None:
    finding = doctor.offset(seconds)
    assert (finding.verdict, finding.seen.startswith(text)) == (verdict, True)


def test_an_unset_clock_fails() -> None:
    assert doctor.clock(lambda: 0.0) == doctor.Finding(
        "clock", "fail", "1970-01-01 00:00:00 UTC", "set the clock, and synchronise it with NTP"
    )
    assert doctor.clock(datetime(2026, 1, 1, tzinfo=UTC).timestamp).verdict == "ok"


def test_clock_sources(tmp_path: Path) -> None:
    path = tmp_path / "source"
    assert doctor.clock_source(path).verdict == "ok"
    for source, verdict in (("tsc\n", "ok"), ("hpet\n", "warn")):
        path.write_text(source)
        assert doctor.clock_source(path).verdict == verdict


@pytest.mark.parametrize(("free", "verdict"), [(3 << 30, "ok"), (1 << 30, "warn"), (1 << 20, "fail")])
def test_disks(free: int, verdict: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def usage(place: Path) -> Any:
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert doctor.disk(tmp_path).verdict == verdict


@pytest.mark.parametrize(("kind", "verdict"), [("ext4", "ok"), ("tmpfs", "warn"), ("nfs4", "warn")])
def test_file_systems(kind: str, verdict: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    place = tmp_path / "a b"
    place.mkdir()
    shown = str(place).replace(" ", "\\040")
    mounts.write_text(f"/dev/x / btrfs rw 0 0\n/dev/y {shown} overlay rw 0 0\n/dev/z {shown} {kind} rw 0 0\n")
    finding = doctor.file_system(place, mounts)
    assert (finding.verdict, kind in finding.seen) == (verdict, True)
    assert doctor.file_system(tmp_path, mounts).seen.startswith("btrfs, ")
    assert doctor.file_system(tmp_path, tmp_path / "none").seen.startswith("unknown, ")


@pytest.mark.parametrize(
    ("soft", "verdict"), [(1024, "ok"), (512, "warn"), (64, "fail"), (resource.RLIM_INFINITY, "ok")]
)
def test_open_files(soft: int, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(kind: int) -> tuple[int, int]:
        return soft, 4096

    monkeypatch.setattr(resource, "getrlimit", limits)
    assert doctor.open_files().verdict == verdict


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.package().seen.startswith(_core.__version__)
    monkeypatch.setattr(_core, "__version__", "9.9.9")
    assert doctor.package().verdict == "fail"


def test_a_machine_without_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(binaries.ENVIRONMENT, str(tmp_path))
    result = run(tmp_path, CONFIG + f"database: {{home: {tmp_path}/pg}}", "--json")
    assert result.return_value == 9
    assert "saw none" in checks(result)["database"]["seen"]
