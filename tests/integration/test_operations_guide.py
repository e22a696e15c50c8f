"""The guide of operations: its session runs against `meltica serve`, and its runbook has every fault."""

import contextlib
import doctest
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meltica.gateway.resources import NAMES
from meltica.trading.faults import FaultKind
from tests.support import pages
from tests.support.paths import ROOT
from tests.support.serving import PATIENCE, Project, project

PAGE = ROOT / "docs" / "operations.md"
READS = ("meltica why ", "meltica status", "meltica orders list ")
"""Commands that an operator repeats until they show what he waits for."""
MATCH = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def steps(block: pages.Block) -> Iterator[tuple[str, str]]:
    """Yields the commands of a session, each with the output that the page shows."""
    if block.code.startswith("sed "):
        yield block.code, ""
    elif block.language == "console":
        for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def follow(command: str, expected: str, folder: Path) -> None:
    """Runs a command until it prints what is expected; one that changes something is run once."""
    checker, until = doctest.OutputChecker(), time.monotonic() + PATIENCE
    while not checker.check_output(expected, printed := run(command, folder), MATCH):
        assert command.startswith(READS), f"$ {command}\n{printed}"
        assert time.monotonic() < until, f"$ {command}\n{printed}"


def run(command: str, folder: Path) -> str:
    """Returns what a command prints."""
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.stdout + done.stderr


def test_the_session_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "meltica").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m meltica "$@"\n')
    (commands / "meltica").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
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
            for command, expected in steps(block):
                follow(command, expected, first.folder)


def test_the_runbook_has_every_fault() -> None:
    rows = set(re.findall(r"^\| `([^`]+)`", PAGE.read_text(), re.MULTILINE))
    assert rows >= {kind.value for kind in FaultKind}
    assert rows >= set(NAMES)
    source = (ROOT / "python/meltica/gateway/readiness.py").read_text()
    parts = set(re.findall(r'faults\[f?"([a-z ]+?)(?: \{[^}]*\})?"\]', source)) | {"database", "lock"}
    assert {re.sub(r" (NAME|ID)$", "", row) for row in rows} >= parts
