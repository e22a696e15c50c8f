"""The Python of all pages runs, their files are valid, and every command in them exists.

tests/integration/test_guides.py runs the commands.
"""

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from meltica.cli import cli
from tests.support import pages
from tests.support.paths import ROOT

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "python/meltica/project").rglob("*.md")),
]
SENT = {"docs/rest.md": 4, "docs/venue.md": 4}
"""The bodies that tests/integration/test_guides.py and test_venue_orders.py send or compare."""


def name(page: Path) -> str:
    """Returns the path of a page."""
    return page.relative_to(ROOT).as_posix()


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


@each_page
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("MELTICA_HOME", str(tmp_path / "home"))
    if page.parent.name == "project":
        CliRunner().invoke(cli, ["init", str(tmp_path)], catch_exceptions=False)
    reader = pages.Reader(tmp_path)
    for block in pages.blocks(page):
        reader.follow(block)


def test_the_bodies_in_json_are_sent() -> None:
    counts = {name(page): sum(block.language == "json" for block in pages.blocks(page)) for page in PAGES}
    assert {page: count for page, count in counts.items() if count} == SENT


@each_page
def test_every_block_has_a_language(page: Path) -> None:
    fences = re.findall(r"^```.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * sum(1 for _ in pages.blocks(page))


@each_page
def test_commands_in_the_text_exist(page: Path) -> None:
    for words in pages.inline_commands(page):
        pages.check_names(words)
