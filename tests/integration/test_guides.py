"""The guides of clients and authors: each command runs against a gateway, and prints what the page shows."""

import re
from pathlib import Path

import pytest

from tests.support import pages, sessions
from tests.support.paths import ROOT
from tests.support.serving import project


@pytest.mark.parametrize("page", ["lambdas-api.md", "strategy-guide.md"])
def test_the_commands_of_a_guide_print_what_it_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sessions.commands(tmp_path).items():
        monkeypatch.setenv(name, value)
    with project() as created:
        monkeypatch.setenv("MELTICA_HOME", str(created.home))
        created.config.write_text((ROOT / "config" / "default.yaml").read_text())
        with created.serving("--port", "0") as gateway:
            gateway.wait_ready()
            for block in pages.blocks(ROOT / "docs" / page):
                for name, value in re.findall(r"^([a-z]+)=(\S+)$", block.code, re.MULTILINE):
                    here = {"api": gateway.address, "auth": f"@{created.home}/access/header"}
                    monkeypatch.setenv(name, here.get(name, value))
                if block.language == "python":
                    pages.Reader(created.folder).follow(block)
                for command, expected in sessions.steps(block):
                    sessions.follow(command, expected, created.folder)
