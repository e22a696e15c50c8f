"""Writes the dashboards of `boards.py` as JSON for Grafana: `python docs/dashboards/make.py [FOLDER]`."""

import json
import sys
from pathlib import Path
from typing import Any

from boards import BOARDS
from panels import Board, Panel

FOLDER = Path(__file__).parent
COLUMNS = 24
HEIGHTS = {"stat": 4, "timeseries": 8}
WIDTHS = {"stat": 4, "timeseries": 12}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
MATCHERS = 'job="$job", instance=~"$instance"'


def expression(query: str) -> str:
    """Returns a query of the table with the variables of the dashboard."""
    return query.replace("@", MATCHERS).replace("[~]", "[$__rate_interval]")


def panel(shown: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    """Returns a panel as Grafana stores it."""
    targets = [
        {"refId": chr(ord("A") + index), "expr": expression(query), "legendFormat": legend}
        for index, (legend, query) in enumerate(shown.queries.items())
    ]
    return {
        "id": number,
        "type": shown.kind,
        "title": shown.title,
        "description": shown.text,
        "datasource": DATASOURCE,
        "gridPos": {"h": HEIGHTS[shown.kind], "w": WIDTHS[shown.kind], "x": x, "y": y},
        "fieldConfig": {"defaults": {"unit": shown.unit}, "overrides": []},
        "targets": [{"datasource": DATASOURCE} | target for target in targets],
    }


def panels(board: Board) -> list[dict[str, Any]]:
    """Returns the rows and panels of a dashboard with their positions."""
    made: list[dict[str, Any]] = []
    y = 0
    for title, row in board.rows.items():
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        made.append({"id": len(made) + 1, "type": "row", "title": title, "gridPos": place, "panels": []})
        x, y, height = 0, y + 1, 0
        for shown in row:
            if x + WIDTHS[shown.kind] > COLUMNS:
                x, y, height = 0, y + height, 0
            made.append(panel(shown, len(made) + 1, x, y))
            x, height = x + WIDTHS[shown.kind], max(height, HEIGHTS[shown.kind])
        y += height
    return made


def variable(name: str, query: str, **options: object) -> dict[str, Any]:
    """Returns a variable that the user selects from the values of a label."""
    source = {"type": "query", "datasource": DATASOURCE, "refresh": 2, "sort": 1}
    return {"name": name, "label": name, "query": query, "definition": query} | source | options


def dashboard(board: Board) -> dict[str, Any]:
    """Returns a dashboard as Grafana imports it."""
    instances = 'label_values(meltica_build_info{job="$job"}, instance)'
    return {
        "uid": board.uid,
        "title": f"Meltica: {board.title}",
        "tags": ["meltica"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "tags": ["meltica"],
                "title": "Meltica",
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "templating": {
            "list": [
                {"name": "datasource", "label": "datasource", "type": "datasource", "query": "prometheus"},
                variable("job", "label_values(meltica_build_info, job)"),
                variable("instance", instances, multi=True, includeAll=True, allValue=".+"),
            ]
        },
        "panels": panels(board),
    }


def main(folder: Path) -> None:
    """Writes each dashboard into a folder."""
    for board in BOARDS:
        (folder / f"{board.uid}.json").write_text(json.dumps(dashboard(board), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
