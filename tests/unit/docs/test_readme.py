"""The README and the docs speak of what is there."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

import meltica
from meltica._core import FILTER_FIELDS
from meltica.adapters import LiveAccount, LiveAdapter
from meltica.adapters.replay.adapter import ReplaySettings
from meltica.lambdas.definition import KINDS
from meltica.model.enums import OrderState, OverflowPolicy
from meltica.simulator.settings import MarketSettings
from meltica.strategies import large_trades
from meltica.testing import Stage
from tests.support.paths import ROOT


def test_the_lambda_of_the_readme_is_the_shipped_one() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks == [Path(large_trades.__file__).read_text()]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            linked = page.parent / target if target else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name}: {target}#{anchor}"


def layers(page: str) -> list[set[str]]:
    """The layers of packages that a page lists."""
    rows = re.findall(r"^\| \d+ \| (.*) \|$", page, re.MULTILINE)
    return [set(re.findall(r"`(\w+)`", row)) for row in rows]


def test_contributing_lists_the_packages_and_layers_that_there_are() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = (path for path in (ROOT / "python" / "meltica").iterdir() if path.is_dir())
    packages = {path.name for path in folders if not path.name.startswith("_")}
    table = page.split("Python, `python/meltica`:")[1].split("may import only")[0]
    named = re.findall(r"`([\w/.]+)`", "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))
    assert {name for name in named if "/" not in name and "." not in name} == packages
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    declared = [re.sub(r"\(\w+\)", "", layer) for layer in contracts[0]["layers"]]
    assert layers(page) == [set(re.findall(r"\w+", layer)) for layer in declared]
    for path in re.findall(r"`((?:python|crates)[\w/.-]*)`", page):
        assert (ROOT / path).exists(), path


def test_the_fields_to_filter_on_are_those_of_the_core() -> None:
    page = (ROOT / "docs" / "lambdas.md").read_text()
    table = page.split("These fields can be filtered on:")[1].split("## ")[0]
    rows = [[*re.findall(r"`(\w+)`", line)] for line in table.splitlines() if "`" in line]
    assert {row[0]: tuple(row[1:]) for row in rows} == {
        kind: FILTER_FIELDS[kind] for kind in KINDS if FILTER_FIELDS[kind]
    }


def test_the_pages_name_what_there_is() -> None:
    names = {
        "adapters.md": [*public(Stage), *abstract(LiveAccount), *abstract(LiveAdapter)],
        "fake.md": [*settings(MarketSettings)],
        "lambdas.md": [*public(meltica.Lambda), *OverflowPolicy],
        "orders.md": [*reported(), *OrderState],
        "replay.md": [*ReplaySettings.model_fields],
    }
    missing = {
        page: [
            name
            for name in expected
            if not re.search(rf"\b{re.escape(name)}\b", (ROOT / "docs" / page).read_text())
        ]
        for page, expected in names.items()
    }
    assert not {page: absent for page, absent in missing.items() if absent}


def public(cls: type) -> list[str]:
    """The public names of a class."""
    return [name for name in vars(cls) if not name.startswith("_") and name != "cannot"]


def abstract(cls: type) -> list[str]:
    """The methods that an adapter's author writes."""
    return sorted(getattr(cls, "__abstractmethods__"))  # noqa: B009


def settings(cls: type[BaseModel]) -> Iterator[str]:
    """The names of settings, with dots between those of nested models."""
    for name, field in cls.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and name != "venue_behavior":
            yield from (f"{name}.{below}" for below in settings(inner))
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner)
        else:
            yield name


def reported() -> list[str]:
    """The attributes of an order report."""
    own = set(dir(meltica.ExecReport)) - set(dir(meltica.Event))
    return sorted(name for name in own if not name.endswith("_decimal"))
