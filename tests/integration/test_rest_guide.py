"""The guide to the REST API: its requests run against `meltica serve`, and print what the page shows."""

import re
from pathlib import Path

import pytest

from tests.support import pages, sessions
from tests.support.paths import ROOT
from tests.support.serving import project

PAGE = ROOT / "docs" / "lambdas-api.md"


def test_the_requests_of_the_guide_have_the_answers_that_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sessions.commands(tmp_path).items():
        monkeypatch.setenv(name, value)
    with project() as created:
        created.config.write_text((ROOT / "config" / "default.yaml").read_text())
        with created.serving("--port", "0") as gateway:
            gateway.wait_ready()
            for block in pages.blocks(PAGE):
                for name, value in re.findall(r"^([a-z]+)=(\S+)$", block.code, re.MULTILINE):
                    here = {"api": gateway.address, "auth": f"@{created.home}/access/header"}
                    monkeypatch.setenv(name, here.get(name, value))
                if block.language == "python":
                    pages.Reader(created.folder).follow(block)
                for command, expected in sessions.steps(block):
                    sessions.follow(command, expected, created.folder)
