"""`meltica risk` with a gateway that trades, one that hangs, and without one."""

import json
import signal
import subprocess
from collections.abc import Generator
from typing import Any

import psycopg
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import read_pid_file, wait_until
from tests.support import pages
from tests.support.paths import ROOT
from tests.support.serving import CONFIG, PATIENCE, PROGRAM, Gateway, Project, environment, frozen, project

PAGE = list(pages.blocks(ROOT / "docs" / "trading.md"))


def example(language: str, text: str) -> str:
    """Returns the block of the page that has a text."""
    [code] = [block.code for block in PAGE if block.language == language and text in block.code]
    return code


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project() as created:
        created.config.write_text(CONFIG[: CONFIG.index("providers:")] + example("yaml", "quoter"))
        (created.folder / "quoter.py").write_text(example("python", "Quoter"))
        yield created


def risk(
    project: Project, *arguments: str, gateway: Gateway | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command on the project's database, and perhaps its gateway."""
    where = ["--url", gateway.address] if gateway is not None else ["--url", "http://127.0.0.1:9"]
    return run("risk", *arguments, "--home", str(project.home), *where)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
    )


def orders(gateway: Gateway, *states: str) -> list[dict[str, Any]]:
    """Returns the orders of the lambda in these states."""
    query = "&".join(f"states={state}" for state in states)
    status, shown = gateway.get(f"/strategy/instances/quoter/orders?{query}")
    assert status == 200, shown
    return shown["orders"]


def query(project: Project, statement: str) -> list[tuple[Any, ...]]:
    """Runs a query on the project's database."""
    with psycopg.connect(EmbeddedPostgres(project.home).dsn, options="-c search_path=meltica") as connection:
        return connection.execute(statement.encode()).fetchall()


def test_a_halt_cancels_orders_and_a_resume_lets_them_leave_again(project: Project) -> None:
    with project.serving() as gateway:
        assert wait_until(lambda: bool(orders(gateway, "ACK")), PATIENCE), gateway.tail()
        done = risk(
            project, "halt", "instance:quoter", "--reason", "too hot", "--by", "alice", gateway=gateway
        )
        assert (done.returncode, done.stdout) == (0, "instance:quoter is halted\n"), done.stderr
        assert wait_until(lambda: not orders(gateway, "ACK", "PENDING"), PATIENCE)
        assert orders(gateway, "CANCELLED")
        shown = risk(project, "status", gateway=gateway)
        assert shown.returncode == 3
        assert shown.stdout.startswith("instance:quoter: halted by first start (token ")
        assert shown.stdout.endswith(": too hot (by alice)\n")
        again = risk(project, "halt", "instance:quoter", "--json", gateway=gateway)
        assert json.loads(again.stdout) == {
            "scope": "instance:quoter",
            "state": "halted",
            "changed": False,
            "confirmed": True,
        }
        done = risk(project, "resume", "instance:quoter", "--by", "bob", gateway=gateway)
        assert (done.returncode, done.stdout) == (0, "instance:quoter is resumed\n"), done.stderr
        assert wait_until(lambda: bool(orders(gateway, "ACK")), PATIENCE)
        assert json.loads(risk(project, "status", "--json", gateway=gateway).stdout)["halts"] == []
        recorded = query(project, "select action, acted_by, reason from operator_actions order by id")
        assert [(action, reason) for action, _, reason in recorded] == [
            ("halt", "too hot (by alice)"),
            ("resume", "none given"),
        ]
        assert recorded[0][1].startswith("first start (token ")
        assert recorded[1][1] == "bob"


def test_an_offline_halt_stops_a_gateway_that_hangs(project: Project) -> None:
    with project.serving() as gateway:
        assert wait_until(lambda: bool(orders(gateway, "ACK")), PATIENCE), gateway.tail()
        gateway.signal(signal.SIGSTOP)
        try:
            done = risk(project, "halt", "--offline", "--reason", "it hangs")
        finally:
            gateway.signal(signal.SIGCONT)
        assert (done.returncode, done.stdout) == (0, "global is halted\n"), done.stderr
        assert wait_until(lambda: not orders(gateway, "ACK", "PENDING"), PATIENCE)
        late = "select count(*) from orders, halts where sent_at > extract(epoch from halted_at) * 1e9"
        assert query(project, late) == [(0,)]
        assert risk(project, "resume", gateway=gateway).returncode == 0
        assert wait_until(lambda: bool(orders(gateway, "ACK")), PATIENCE)
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0


@pytest.mark.parametrize("outage", ["unreachable", "hangs"])
def test_a_halt_needs_no_database(outage: str, project: Project) -> None:
    with project.serving() as gateway:
        assert wait_until(lambda: bool(orders(gateway, "ACK")), PATIENCE), gateway.tail()
        server = read_pid_file(project.home / "data")
        assert server is not None
        if outage == "hangs":
            with frozen(server.pid):
                done = risk(project, "halt", "--reason", "too hot", gateway=gateway)
            assert (done.returncode, done.stdout) == (3, "global is halted\n"), done.stderr
            assert done.stderr.startswith("Error: not recorded yet: ")
        else:
            away = ["--token-folder", str(project.home / "access"), "--dsn", "postgresql://127.0.0.1:9/away"]
            done = run("risk", "halt", "--reason", "too hot", *away, "--url", gateway.address)
            assert (done.returncode, done.stdout, done.stderr) == (0, "global is halted\n", "")
            refused = run("risk", "halt", "instance:mine", *away, "--url", gateway.address)
            assert (refused.returncode, refused.stdout) == (3, "")
            assert "instance `mine` does not exist" in refused.stderr
        assert wait_until(lambda: not orders(gateway, "ACK", "PENDING"), PATIENCE)
        assert query(project, "select action, reason from operator_actions") == [("halt", "too hot")]


def test_the_database_is_enough_without_a_gateway(project: Project) -> None:
    misspelt = str(project.folder / "misspelt")
    for command in (
        "risk halt --offline",
        "risk resume",
        "audit verify",
        "tokens list --offline",
        "secrets rotate",
    ):
        refused = run(*command.split(), "--home", misspelt)
        assert (refused.returncode, refused.stdout) == (5, ""), refused.stderr
        assert refused.stderr.startswith(f"Error: {misspelt} has no database: expected the home of a gateway")
        assert not (project.folder / "misspelt").exists()
    with project.serving() as gateway:
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
    shown = risk(project, "status", "--offline")
    assert (shown.returncode, shown.stdout) == (0, "nothing is halted\n"), shown.stderr
    done = risk(project, "halt", "provider:calm")
    assert (done.returncode, done.stdout) == (3, "provider:calm is halted\n")
    assert "not confirmed by a gateway at http://127.0.0.1:9" in done.stderr
    shown = risk(project, "status", "--offline", "--json")
    [halt] = json.loads(shown.stdout)["halts"]
    assert (shown.returncode, halt["scope"], halt["rule"]) == (3, "provider:calm", "operator")
    online = risk(project, "status")
    assert online.returncode == 9
    assert "no gateway responded at http://127.0.0.1:9" in online.stderr
    with project.serving() as gateway:
        assert gateway.get("/risk/status")[1]["halts"][0]["scope"] == "provider:calm"


@pytest.mark.parametrize("scope", ["provider", "provider:", "global:x", "lambda:a", ""])
def test_a_scope_that_does_not_exist_is_refused(project: Project, scope: str) -> None:
    refused = risk(project, "halt", "--offline", scope)
    assert refused.returncode == 2
    assert "expected `global`, `provider:NAME` or `instance:ID`" in refused.stderr
