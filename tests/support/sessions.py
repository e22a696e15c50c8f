"""Sessions of pages: commands on a terminal, run one after another, and what each of them prints."""

import doctest
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import pages
from tests.support.serving import PATIENCE

READS = re.compile(
    r"meltica (?:why|status|(?:orders|positions) list|logs|instances show|api GET) |curl (?!.*(?: -d | -X ))"
)
"""Commands that a reader repeats until they show what he waits for."""
FILTERS = re.compile(r"(?:sed|python3) ")
"""Programs of `sh` blocks that are run: they edit the files of the page."""
MATCH = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def steps(block: pages.Block) -> Iterator[tuple[str, str]]:
    """Yields the commands of a session, each with the output that the page shows."""
    if block.language == "sh":
        yield from ((line, "") for line in block.code.splitlines() if FILTERS.match(line))
    elif block.language == "console":
        for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            yield command, output


def follow(command: str, expected: str, folder: Path) -> None:
    """Runs a command until it prints what is expected; one that changes something is run once."""
    checker, until = doctest.OutputChecker(), time.monotonic() + PATIENCE
    while not checker.check_output(_flat(expected), _flat(printed := run(command, folder)), MATCH):
        assert READS.match(command), f"$ {command}\n{printed}"
        assert time.monotonic() < until, f"$ {command}\n{printed}"


def run(command: str, folder: Path) -> str:
    """Returns what a command prints."""
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.stdout + done.stderr


def commands(folder: Path) -> dict[str, str]:
    """Returns the variables of a shell with this `meltica`, in which `curl` shows no progress."""
    (folder / "meltica").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m meltica "$@"\n')
    (folder / "meltica").chmod(0o755)
    (folder / ".curlrc").write_text("silent\nshow-error\n")
    return {"PATH": f"{folder}:{os.environ['PATH']}", "CURL_HOME": str(folder)}


def _flat(text: str) -> str:
    """Returns a text without the spaces and line breaks by which a page wraps JSON."""
    return re.sub(r"(?:(?<=[{\[,:])|(?<=\.\.\.))\s+", "", text.strip())
