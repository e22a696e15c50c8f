"""`/strategy/instances/{id}/logs` and `meltica logs`."""

import json
import logging
from typing import Any

import pytest
from click.testing import CliRunner

from meltica.cli import cli
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running

PATH = "/strategy/instances/watcher/logs"


@pytest.fixture(name="lines", scope="module")
def _lines(control: Running) -> list[Any]:
    """Lines of every level, the last with an exception."""
    log = logging.getLogger("meltica.lambda.watcher")
    log.setLevel(logging.DEBUG)
    for level in ("debug", "info", "warning"):
        getattr(log, level)("a line of %s", level, extra={"instance": "watcher"})
    log.error("failed", exc_info=KeyError("x"), extra={"instance": "watcher"})
    return ok(control.client.get(PATH))["lines"][-4:]


def test_lines_are_selected_by_level_number_and_limit(control: Running, lines: list[Any]) -> None:
    def get(**parameters: Any) -> Any:
        return ok(control.client.get(PATH, params=parameters))

    assert [each["level"] for each in lines] == ["debug", "info", "warning", "error"]
    assert (lines[0]["message"], lines[3]["traceback"]) == ("a line of debug", ["KeyError: 'x'"])
    assert get(level="warning", after=lines[1]["number"]) == {"lines": lines[2:], "count": 2}
    assert get(limit=1)["lines"] == lines[-1:]
    assert get(after=lines[-1]["number"]) == {"lines": [], "count": 0}
    assert ok(control.client.get("/strategy/instances/slow/logs")) == {"lines": [], "count": 0}
    failure(control.client.get("/strategy/instances/zzz/logs"), 404, "not_found")
    failure(control.client.get(PATH, params={"level": "warn"}), 400, "invalid_parameter")
    failure(control.client.get(PATH, params={"limit": 0}), 400, "invalid_parameter")


def test_a_viewer_gets_no_traceback(control: Running, lines: list[Any]) -> None:
    token = ok(control.client.post("/tokens", json={"name": "v", "scope": "viewer"}), 201)["secret"]
    shown = ok(control.client.get(PATH, headers={"authorization": f"Bearer {token}"}))["lines"]
    assert shown[-1] == {key: value for key, value in lines[-1].items() if key != "traceback"}


def test_the_command_prints_lines(control: Running, lines: list[Any]) -> None:
    def run(*arguments: str) -> str:
        environment = {"MELTICA_TOKEN": control.authorization["authorization"].removeprefix("Bearer ")}
        return CliRunner().invoke(cli, ["logs", *arguments, "--url", control.url], env=environment).output

    printed = run("watcher", "--limit", "2").splitlines()
    assert [line.split(maxsplit=2)[2] for line in printed[:2]] == [
        "warning  a line of warning",
        "error    failed",
    ]
    assert printed[2:] == ["    KeyError: 'x'"]
    assert json.loads(run("watcher", "--level", "error", "--json").splitlines()[-1]) == lines[-1]
    assert "did you mean `watcher`" in run("wotcher")
