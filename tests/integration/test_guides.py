"""The guides of clients and authors: each command runs against a gateway, and prints what the page shows."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import pages, sessions
from tests.support.paths import ROOT
from tests.support.serving import Project, project


@pytest.fixture(name="served")
def _served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    for name, value in sessions.commands(tmp_path).items():
        monkeypatch.setenv(name, value)
    with project() as created:
        monkeypatch.setenv("MELTICA_HOME", str(created.home))
        created.config.write_text((ROOT / "config" / "default.yaml").read_text())
        yield created


@pytest.mark.parametrize("page", ["lambdas-api.md", "strategy-guide.md"])
def test_the_commands_of_a_guide_print_what_it_shows(
    page: str, served: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served.serving("--port", "0") as gateway:
        gateway.wait_ready()
        for block in pages.blocks(ROOT / "docs" / page):
            for name, value in re.findall(r"^([a-z]+)=(\S+)$", block.code, re.MULTILINE):
                here = {"api": gateway.address, "auth": f"@{served.home}/access/header"}
                monkeypatch.setenv(name, here.get(name, value))
            if block.language == "python":
                pages.Reader(served.folder).follow(block)
            for command, expected in sessions.steps(block):
                sessions.follow(command, expected, served.folder)


def test_the_commands_of_the_page_about_security_succeed(served: Project) -> None:
    blocks = [each for each in pages.blocks(ROOT / "docs/security.md") if each.language == "sh"]
    lines = [line for block in blocks for line in block.code.splitlines()]
    offline = "meltica secrets rotate"
    assert offline in lines
    with served.serving("--port", "0") as gateway:
        gateway.wait_ready()
        token = sessions.run("meltica tokens create leaver --json", served.folder)
        [id] = re.findall(r'"id": ?"(\w+)"', token)
        for line in lines:
            if line != offline:
                printed = sessions.run(f"{line.replace('0123456789ab', id)} && echo succeeded", served.folder)
                assert printed.endswith("succeeded\n"), (line, printed)
    printed = sessions.run(f"{offline} && echo succeeded", served.folder)
    assert printed.endswith("succeeded\n"), printed
