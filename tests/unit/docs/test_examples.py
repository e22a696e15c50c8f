"""Every example of the pages runs as it is, and every command in them exists."""

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
NOT_RUN = {"docs/fake.md": 1}
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@each_page
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("MELTICA_HOME", str(tmp_path / "home"))
    if page.parent.name == "project":
        CliRunner().invoke(cli, ["init", str(tmp_path)], catch_exceptions=False)
    reader = pages.Reader(tmp_path)
    for block in pages.blocks(page):
        if not block.skipped:
            reader.follow(block)


def test_few_examples_are_not_run() -> None:
    skipped = {
        page.relative_to(ROOT).as_posix(): sum(block.skipped for block in pages.blocks(page))
        for page in PAGES
    }
    assert {page: count for page, count in skipped.items() if count} == NOT_RUN


@each_page
def test_every_block_has_a_language(page: Path) -> None:
    fences = re.findall(r"^```.*$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * sum(1 for _ in pages.blocks(page))


@each_page
def test_commands_in_the_text_exist(page: Path) -> None:
    for words in pages.inline_commands(page):
        pages.check_names(words)
