"""docs/risk.md names every rule and every limit, in the order of the checks."""

import re

from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.rules import BREACHES, Rule
from meltica.validation.models import keys
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "risk.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_has_every_rule_once_and_whether_it_is_a_breach() -> None:
    named = {
        name: cells[-1] == "yes"
        for cells in rows("Order of the checks")
        for name in re.findall(r"`(\w+)`", cells[0])
    }
    assert named == {rule.value: rule in BREACHES for rule in Rule}


def test_the_page_has_every_limit() -> None:
    named = {name for cells in rows("Limits") for name in re.findall(r"`(\w+)`", cells[0])}
    assert named == set(keys(InstanceRiskLimits))
