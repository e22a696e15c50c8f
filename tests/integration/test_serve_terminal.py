"""`meltica serve` on a terminal: a banner, a human-readable log, and a status line below it."""

import signal
from collections.abc import Generator

import pytest

from tests.support.serving import Project, project
from tests.support.terminal import ESCAPES, Terminal


def serve(project: Project, database: str, *, width: int = 150) -> Terminal:
    """A gateway on a terminal."""
    return Terminal([word for word in project.command(database=database) if word != "--json"], width=width)


@pytest.fixture(name="terminal")
def _terminal(database_url: str) -> Generator[Terminal]:
    with project() as created:
        terminal = serve(created, database_url)
        yield terminal
        terminal.close()


def test_a_run_on_a_terminal(terminal: Terminal) -> None:
    banner = terminal.read_until(r"Meltica \S+\r\n(  .*\r\n){4}")
    names = [line.split()[0] for line in banner.splitlines()[1:]]
    assert names == ["config", "address", "data", "stop"]
    terminal.read_until(r"\d\d:\d\d:\d\d info    gateway          ready at http://127.0.0.1:\d+ after ")
    line = terminal.read_until(
        r"[1-9][\d,]* events/s \| p99 <[\d.]+ \S+ \| lambdas 2 running, 1 pending \| "
        r"providers 1 running, 1 pending \| dropped 0 \| database up \| up 0:00:\d\d"
    )
    assert "\n" not in line
    assert terminal.end(signal.SIGINT) == 0
    shown = ESCAPES.sub("", terminal.raw)
    assert "gateway          stopped" in shown
    assert '{"' not in shown, "no JSON for people"
    # The line below the log is erased at the end, and the cursor is back.
    assert terminal.raw.rpartition("events/s")[2].endswith("\x1b[1A\x1b[2K")
    assert terminal.raw.rfind("\x1b[?25h") > terminal.raw.rfind("\x1b[?25l")


def test_the_status_line_is_cut_to_a_narrow_terminal(database_url: str) -> None:
    with project() as created:
        terminal = serve(created, database_url, width=40)
        line = terminal.read_until(r"[1-9][\d,]* events/s \| p99 [^\r\n]*…")
        assert len(line) <= 40
        assert terminal.end(signal.SIGTERM) == 0
        terminal.close()


def test_closing_the_terminal_stops_the_gateway(terminal: Terminal) -> None:
    terminal.read_until("events/s")
    terminal.hang_up()
    assert terminal.process.wait(60) == 0
