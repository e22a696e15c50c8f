"""docs/trading.md names every fault and every reason that it explains."""

import re

from meltica.model.enums import FillRule
from meltica.trading.faults import FaultKind
from meltica.trading.transitions import TOO_LATE
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "trading.md").read_text(encoding="utf-8")


def test_the_page_has_every_fault() -> None:
    section = PAGE.split("## When orders do not leave\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.M) == [kind.value for kind in FaultKind]


def test_the_page_has_the_rules_of_paper_fills_and_the_reason_of_a_late_order() -> None:
    for name in (*(rule.value for rule in FillRule), TOO_LATE):
        assert f"`{name}`" in PAGE
