"""The guide of operations: its session runs against `meltica serve`, and its runbook has every fault."""

import contextlib
import re
from pathlib import Path

import pytest

from meltica.gateway.resources import NAMES
from meltica.trading.effects import FaultCode
from meltica.trading.faults import FaultKind
from tests.support import pages, sessions
from tests.support.paths import ROOT
from tests.support.serving import Project, project

PAGE = ROOT / "docs" / "operations.md"


def test_the_session_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sessions.commands(tmp_path).items():
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as gateways:
        first = gateways.enter_context(project())
        second = Project(first.folder)
        second.home = first.folder / "second"
        first.config.write_text((ROOT / "python/meltica/config/default.yaml").read_text())
        monkeypatch.setenv("MELTICA_HOME", str(first.home))
        reader = pages.Reader(first.folder)
        for block in pages.blocks(PAGE):
            reader.follow(block)
            if block.code.startswith("meltica serve"):
                served = second if "--home second" in block.code else first
                gateways.enter_context(served.serving("--port", "0"))
            for command, expected in sessions.steps(block):
                sessions.follow(command, expected, first.folder)


def test_the_runbook_has_every_fault() -> None:
    rows = set(re.findall(r"^\| `([^`]+)`", PAGE.read_text(), re.MULTILINE))
    assert rows >= {kind.value for kind in FaultKind} | {code.value for code in FaultCode}
    assert rows >= set(NAMES)
    source = (ROOT / "python/meltica/gateway/readiness.py").read_text()
    parts = set(re.findall(r'faults\[f?"([a-z ]+?)(?: \{[^}]*\})?"\]', source)) | {"database", "lock"}
    assert {re.sub(r" (NAME|ID)$", "", row) for row in rows} >= parts


def test_the_commands_of_the_runbook_are_complete(tmp_path: Path) -> None:
    page = tmp_path / "runbook.md"
    text = PAGE.read_text().partition("## Runbook\n")[2]
    page.write_text(text)
    found = [*pages.inline_commands(page)]
    found += [line.split() for line in re.findall(r"^    meltica (.*)$", text, re.MULTILINE)]
    assert len(found) > 20
    for words in found:
        pages.parse(words)
