"""The guide of operations: its runbook has every fault, and its commands are complete."""

import re
from pathlib import Path

from meltica.gateway.resources import NAMES
from meltica.trading.effects import FaultCode
from meltica.trading.faults import FaultKind
from tests.support import pages
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "operations.md"


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
    assert len(found) > 20
    for words in found:
        pages.parse(words)
