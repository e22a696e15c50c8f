"""The dashboards: their files are what the script writes, and their metrics are documented."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
PAGES = [page for name in ("telemetry.md", "TELEMETRY_POINTS.md") if (page := ROOT / "docs" / name).exists()]
PROMETHEUS_OWN = {"up"}
_METRIC = re.compile(r"\b(\w+)\{")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")
_BY = re.compile(r"\bby \(([^)]*)\)")


def panels(file: Path) -> list[dict[str, Any]]:
    """Returns the panels of a dashboard, without the titles of its rows."""
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


def documented() -> dict[str, set[str]]:
    """Returns the labels of the documented metrics."""
    rows = re.findall(
        r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|[^|]*\|([^|]*)\|",
        "\n".join(page.read_text() for page in PAGES),
        re.MULTILINE,
    )
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    tool = str(FOLDER / "make.py")
    subprocess.run([sys.executable, "-B", tool, str(tmp_path)], check=True)
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {file.name: file.read_text() for file in FILES}


def test_each_file_is_linked_by_the_page() -> None:
    assert {file.name for file in FILES} == set(
        re.findall(r"\(([\w-]+\.json)\)", (FOLDER / "README.md").read_text())
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_metrics_and_labels_of_the_panels_are_documented(file: Path) -> None:
    metrics = documented()
    for panel in panels(file):
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            query, legend = target["expr"], target["legendFormat"]
            names = {_SUFFIX.sub("", name) for name in _METRIC.findall(query)} - PROMETHEUS_OWN
            assert names <= set(metrics), (panel["title"], names - set(metrics))
            assert "@" not in query, query
            assert "~]" not in query, query
            labels = {"job", "instance", "le"}.union(*(metrics[name] for name in names))
            used = {label.strip() for by in _BY.findall(query) for label in by.split(",")}
            shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
            assert used | shown <= labels, (panel["title"], (used | shown) - labels)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_panels_do_not_overlap(file: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(file.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
