"""`meltica serve`: refused starts and orderly stops. Each failure is one line; no process remains."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

import meltica
from meltica.cli.screen import PAIR_SECONDS
from meltica.persistence import migrate
from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, PROGRAM, Project, environment, free_port, one_line, project

RUNS = ("running", "running")
STOPPED = {
    "demo": ("running", "stopped"),
    "off": ("stopped", "pending"),
    "watch": ("running", "stopped"),
    "mate": ("running", "stopped"),
    "idle": ("stopped", "pending"),
}
BOUND = 16.0
"""Longest duration of an orderly stop: the 15 s of the settings and one second for the process."""


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project() as created:
        yield created


# Refused starts


def test_a_port_in_use(project: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = project.refused("--port", str(port))
    assert done.returncode == 8
    one_line(
        done.stderr,
        f"cannot listen on 127.0.0.1:{port}: Address already in use by process",
        "; choose another",
    )
    line = json.loads(done.stdout)
    assert (line["event"], line["part"], line["exit_code"]) == ("failed", "address", 8)
    assert not project.home.exists(), "PostgreSQL was not started"
    project.nothing_left()


def test_a_database_that_cannot_be_reached(project: Project) -> None:
    dsn, port = f"postgresql://me:hush@127.0.0.1:{free_port()}/none", free_port()
    done = project.refused("--port", str(port), database=dsn)
    assert done.returncode == 5
    one_line(done.stderr, "the database (none at 127.0.0.1:", "cannot be reached", "refused")
    assert "hush" not in done.stderr + done.stdout
    assert json.loads(done.stdout)["part"] == "database"
    socket.create_server(("127.0.0.1", port)).close()


def test_a_password_that_is_not_escaped(project: Project) -> None:
    done = project.refused(database="postgresql://me:pass@word@127.0.0.1:1/x")
    assert done.returncode == 2
    one_line(done.stderr, "write %40 for `@`")
    assert json.loads(done.stdout)["exit_code"] == 2


def test_a_schema_of_another_version(project: Project, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update meltica.schema_migrations set checksum = 'other'")
    done = project.refused(database=database_url)
    assert done.returncode == 6
    one_line(done.stderr, "0001_initial was changed after it ran")


def test_pending_migrations_with_run_migrations_disabled(project: Project, empty_database_url: str) -> None:
    done = project.refused("--set", "database.runMigrations=false", database=empty_database_url)
    assert done.returncode == 6
    one_line(done.stderr, f"{len(migrate.load())} migrations are pending", "`meltica db up`")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("providers:", "providers: {", ["not valid YAML"]),
        ("log:", "logg:", ["`logg` (line 2) is unknown; did you mean `log`?"]),
        ("level: info", "level: 3", ["`log.level` (line 2)", "saw 3"]),
        ("{adapter: replay, set", "{adapter: replai, set", ["`replai` is unknown; did you mean `replay`?"]),
        ("watch.py, scope", "no.py, scope", ["no.py: expected a Python file, but it does not exist"]),
    ],
)
def test_an_invalid_config(project: Project, old: str, new: str, words: list[str]) -> None:
    project.edit(old, new)
    done = project.refused()
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {project.config}: ")
    for word in words:
        assert word in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 2
    assert not project.home.exists()


def test_all_faults_are_reported_at_once(project: Project) -> None:
    project.edit("log: {level: info}", "log: {level: 3}\nzzz: 1\neventbus: {bufferSize: 0}")
    done = project.refused("--set", "pools.maxBytes=1")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0] == f"Error: {project.config}: 4 faults"
    assert [line[:3] for line in lines[1:]] == ["  `"] * 4


def test_invalid_values_of_set_options(project: Project) -> None:
    for setting in ("log.level", "=3", "log..level=info"):
        done = project.refused("--set", setting)
        assert done.returncode == 2
        assert "expected KEY=VALUE such as log.level=debug" in done.stderr
    done = project.refused("--set", "log=info", "--set", "log.level=info")
    assert done.returncode == 2
    assert "another --set gives log a value of its own" in done.stderr


def test_a_read_only_data_directory(project: Project) -> None:
    project.folder.chmod(0o555)
    (project.folder / "watch.py").chmod(0o444)
    nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    packages = [str(Path(module.__file__ or "").parents[1]) for module in (meltica, psycopg)]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(packages)}
    command = ["-c", "from meltica.cli import main; main()", *project.command()[3:]]
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            done = subprocess.run(
                [python, *command],
                check=False,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                cwd="/",
                env=variables,
                user=nobody and nobody.pw_uid,
                group=nobody and nobody.pw_gid,
                extra_groups=nobody and [],
            )
        except (PermissionError, FileNotFoundError):
            continue
        break
    else:
        pytest.skip("user nobody cannot run this version of Python")
    project.folder.chmod(0o755)
    assert done.returncode == 5
    one_line(done.stderr, f"{project.home} is not accessible to user", "choose another directory with --home")
    project.nothing_left()


def test_a_second_gateway_is_refused(project: Project) -> None:
    with project.serving() as first:
        first.wait_ready()
        done = project.refused()
        assert done.returncode == 7
        one_line(done.stderr, "another gateway uses the database", f"process {first.process.pid}")
        assert json.loads(done.stdout)["part"] == "lock"
        assert first.ready(), "the first is unaffected"
        first.signal(signal.SIGTERM)
        assert first.ended() == 0
    project.nothing_left()


def test_a_strategy_that_does_not_compile_does_not_affect_others(project: Project, database_url: str) -> None:
    (project.folder / "bad.py").write_text("class Bad(:\n")
    project.edit("{id: watch, strategy: watch.py", "{id: watch, strategy: bad.py")
    check = [sys.executable, "-m", "meltica", "config", "check", "--config", str(project.config)]
    done = subprocess.run(check, check=False, capture_output=True, text=True, env=environment())
    assert (done.returncode, "line 1: syntax error" in done.stderr) == (2, True)
    with project.serving(database=database_url) as gateway:
        gateway.wait_flowing("mate")
        status, body = gateway.get("/health/ready")
        assert status == 503
        assert body["faults"] == {"lambda watch": "is failed: bad.py, line 1: syntax error: invalid syntax"}
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
    errors = [line["message"] for line in gateway.lines() if line["level"] == "error"]
    file = project.folder / "bad.py"
    text = "could not start: bad.py, line 1: syntax error: invalid syntax"
    assert errors == [f"instance watch of {file} {text}"]
    assert "Traceback" not in gateway.log.read_text()


# Start and stop


def test_a_run_from_start_to_stop(project: Project, database_url: str) -> None:
    with project.serving(database=database_url) as gateway:
        assert gateway.get("/health/live")[0] == 200
        gateway.wait_ready()
        gateway.wait_flowing("watch", "mate")
        assert wait_until(lambda: project.states(database_url)["demo"] == RUNS, PATIENCE)
        gateway.signal(signal.SIGTERM)
        assert gateway.ended(BOUND) == 0
        assert gateway.read_line() == {"event": "stopped", "exit_code": 0}
    assert project.states(database_url) == STOPPED
    messages = [line["message"] for line in gateway.lines()]
    assert any(message.startswith("ready at http://127.0.0.1:") for message in messages)
    assert messages[-1] == "stopped"
    assert all(line["level"] == "info" for line in gateway.lines()), gateway.tail()


def test_doctor_recognizes_a_running_gateway(project: Project, database_url: str) -> None:
    with project.serving(database=database_url) as gateway:
        place = gateway.address.removeprefix("http://")
        variables = {**environment(), "MELTICA_APISERVER__ADDR": place, "DATABASE_URL": database_url}
        command = [*PROGRAM, "doctor", "--config", str(project.config)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stdout
    assert f"{place} is used by a Meltica gateway" in done.stdout


def test_states_requested_at_run_time_survive_a_restart(project: Project, database_url: str) -> None:
    with project.serving(database=database_url) as gateway:
        gateway.signal(signal.SIGINT)
        assert gateway.ended(BOUND) == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update meltica.instances set desired = 'stopped' where id = 'watch'")
        connection.execute("update meltica.instances set desired = 'running' where id = 'idle'")
    with project.serving(database=database_url) as gateway:
        gateway.wait_flowing("mate", "idle")
        assert wait_until(lambda: project.states(database_url)["idle"] == RUNS, PATIENCE)
        assert project.states(database_url)["watch"] == ("stopped", "stopped")
    warnings = [line["message"] for line in gateway.lines() if line["level"] == "warning"]
    assert warnings == [
        "lambda watch is enabled in the file, but its desired state is stopped",
        "lambda idle is disabled in the file, but its desired state is running",
    ]


def test_settings_without_effect_are_logged_once(project: Project, database_url: str) -> None:
    project.edit("log: {level: info}", "log: {level: info}\neventbus: {fanoutWorkers: 4}")
    with project.serving(database=database_url) as gateway:
        pass
    warnings = [line["message"] for line in gateway.lines() if line["level"] == "warning"]
    assert warnings == [
        "`eventbus.fanoutWorkers` (line 3) has no effect: events are queued without worker threads"
    ]


def test_a_stop_during_the_start(project: Project) -> None:
    project.copied = False
    gateway = project.launch()
    assert wait_until((project.home / "lock").exists, PATIENCE)
    gateway.signal(signal.SIGTERM)
    assert gateway.ended(BOUND) == 0
    assert gateway.read_line() == {"event": "stopped", "exit_code": 0}
    gateway.kill()
    project.nothing_left()


LOOPS = """
import pathlib, time, meltica
class Watch(meltica.Lambda):
    def on_trade(self, trade):
        pathlib.Path(__file__).with_name("watch.seen").touch()
        BODY
"""


def test_an_endless_callback_is_interrupted(project: Project) -> None:
    (project.folder / "watch.py").write_text(LOOPS.replace("BODY", "while True: pass"))
    project.edit("host: shared", "host: shared, enabled: false")
    with project.serving("--set", "lambdaDefaults.stopTimeout=1s") as gateway:
        gateway.wait_flowing("watch")
        gateway.signal(signal.SIGTERM)
        assert gateway.ended(BOUND) == 0
    project.nothing_left()


@pytest.mark.untraced
def test_an_uninterruptible_callback_is_abandoned(project: Project) -> None:
    (project.folder / "watch.py").write_text(LOOPS.replace("BODY", "time.sleep(600)"))
    project.edit("host: shared", "host: shared, enabled: false")
    with project.serving("--set", "lambdaDefaults.stopTimeout=100ms") as gateway:
        gateway.wait_flowing("watch")
        gateway.signal(signal.SIGTERM)
        assert gateway.ended(BOUND) == 3
        assert gateway.read_line() == {"event": "stopped", "left_behind": ["lambdas"], "exit_code": 3}
    assert gateway.log.read_text().endswith("Error: did not stop in time: lambdas\n")
    project.nothing_left()
    with project.database() as dsn:
        stuck = {"watch": ("running", "stuck"), "mate": ("stopped", "pending")}
        assert project.states(dsn) == {**STOPPED, **stuck}


@pytest.mark.parametrize("pair", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
def test_two_signals_at_once_count_as_one(
    project: Project, pair: tuple[signal.Signals, signal.Signals]
) -> None:
    with project.serving() as gateway:
        for number in pair:
            gateway.signal(number)
        assert gateway.ended(BOUND) == 0
        assert gateway.read_line() == {"event": "stopped", "exit_code": 0}
    project.nothing_left()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--bogus"], "No such option"),
        (["--port", "70000"], "70000 is not in the range"),
        (["--set", "nonsense"], "--set: expected KEY=VALUE"),
        (["--set", "nonsense=1"], "is unknown; expected one of"),
    ],
)
def test_json_ends_with_a_line_when_the_input_is_refused(
    project: Project, arguments: list[str], error: str
) -> None:
    ended = project.refused(*arguments)
    assert ended.returncode == 2
    last = json.loads(ended.stdout.splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("failed", 2)
    assert error in last["error"]


def test_a_second_signal_ends_the_process_immediately(project: Project) -> None:
    (project.folder / "watch.py").write_text(LOOPS.replace("BODY", "time.sleep(600)"))
    with project.serving("--set", "lambdaDefaults.stopTimeout=1h", "--set", "shutdown.timeout=1h") as gateway:
        gateway.wait_flowing("watch")
        gateway.signal(signal.SIGINT)
        assert wait_until(lambda: "stopping" in gateway.log.read_text(), PATIENCE)
        first = time.monotonic()
        assert wait_until(lambda: time.monotonic() - first > PAIR_SECONDS, PATIENCE)
        gateway.signal(signal.SIGINT)
        assert gateway.ended(5) == 130
        assert gateway.read_line() == {"event": "interrupted", "exit_code": 130}
    assert "SIGINT again: the process ends immediately" in gateway.log.read_text()
    # PostgreSQL ends with the gateway, and the next start needs no manual recovery.
    assert wait_until(lambda: not project.running(), PATIENCE)
    with project.serving() as gateway:
        assert wait_until(lambda: project.states()["demo"] == RUNS, PATIENCE)
