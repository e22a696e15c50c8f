"""The first steps of the README, on a real gateway: as many as before requests needed a token."""

import shlex
import subprocess
from collections.abc import Generator

import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support import pages
from tests.support.paths import ROOT
from tests.support.serving import PATIENCE, PROGRAM, Gateway, Project, environment, project

STEPS = 4
"""The start, two reads and a change."""


@pytest.fixture(name="served", scope="module")
def _served() -> Generator[tuple[Project, Gateway]]:
    with project() as created:
        # The config that `meltica serve` has by default.
        created.config.write_text((ROOT / "config" / "default.yaml").read_text())
        with created.serving("--port", "0") as gateway:
            yield created, gateway


def run(
    served: tuple[Project, Gateway], *words: str, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command as in another terminal, which knows only the home."""
    created, _ = served
    return subprocess.run(
        words,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**environment(), "MELTICA_HOME": str(created.home), "MELTICA_TOKEN": token or ""},
    )


def test_the_steps_of_the_readme_work_and_are_not_more_than_before(served: tuple[Project, Gateway]) -> None:
    shell = [block.code for block in pages.blocks(ROOT / "README.md") if block.language == "sh"][:2]
    start, *requests = [line for code in shell for line in code.splitlines()]
    assert start.endswith("&& meltica serve")
    assert len(requests) + 1 == STEPS
    for line in requests:
        program, *words = shlex.split(line)
        assert program == ".venv/bin/meltica"
        done = run(served, *PROGRAM, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("{\n")


def test_the_command_of_the_ready_line_works_as_pasted(served: tuple[Project, Gateway]) -> None:
    _, gateway = served
    [ready] = [line["message"] for line in gateway.lines() if line["message"].startswith("ready at ")]
    command = ready.partition("; try: ")[2]
    assert command.startswith("curl -H @")
    done = run(served, "sh", "-c", command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('{"providers":[')


def test_status_is_one_screen_and_one_exit_code(served: tuple[Project, Gateway]) -> None:
    _, gateway = served
    gateway.wait_ready()
    done = run(served, *PROGRAM, "status")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.startswith(f"Meltica 0.1.0 (dev) at {gateway.address}\nproviders:\n  fake")
    assert done.stdout.endswith("halts: none\nfaults: none\n")
    assert run(served, *PROGRAM, "risk", "halt", "--reason", "a test").returncode == 0
    assert wait_until(lambda: run(served, *PROGRAM, "status").returncode == 3, PATIENCE)
    assert "global  by " in run(served, *PROGRAM, "status").stdout
    assert run(served, *PROGRAM, "risk", "resume").returncode == 0


def test_exit_codes_say_what_is_missing(served: tuple[Project, Gateway]) -> None:
    refused = run(served, *PROGRAM, "api", "POST", "/providers/nope/start")
    assert (refused.returncode, '"code": "not_found"' in refused.stdout) == (3, True)
    away = run(served, *PROGRAM, "api", "GET", "/providers", "--url", "http://127.0.0.1:9")
    assert away.returncode == 9
    assert away.stderr.startswith("Error: no gateway responded at http://127.0.0.1:9: ")
    viewer = run(served, *PROGRAM, "tokens", "create", "a viewer")
    assert viewer.returncode == 0, viewer.stderr
    token = viewer.stdout.strip()
    assert run(served, *PROGRAM, "api", "GET", "/providers", token=token).returncode == 0
    denied = run(served, *PROGRAM, "tokens", "list", token=token)
    assert denied.returncode == 10
    assert "it needs the scope admin, and its token has the scope viewer" in denied.stderr
    denied = run(served, *PROGRAM, "status", token="x")
    assert denied.returncode == 10
    assert "`meltica tokens create --offline` creates one" in denied.stderr
