"""`meltica config get`, `set` and `reset` against a running gateway."""

import json
from collections.abc import Generator

import pytest

from meltica.persistence.postgres.server import wait_until
from tests.integration.test_cli_resources import Run, shown
from tests.integration.test_cli_resources import _run as run_fixture  # pyright: ignore[reportPrivateUsage]
from tests.support.gateway import Running

__all__ = ["run_fixture"]


@pytest.fixture(autouse=True)
def _reset(run: Run) -> Generator[None]:
    yield
    run("config", "reset", "--all")


def table(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.removesuffix("  -").split()[1:] for line in text.splitlines()}


def test_settings_are_shown_changed_and_reset(run: Run, control: Running) -> None:
    assert wait_until(lambda: control.client.get("/health/ready").is_success, 20)
    settings = table(run("config", "get").output)
    assert settings["eventbus.bufferSize"] == ["1024", "default"]
    assert settings["supervision.backoff.min"] == ["10ms", "meltica.yaml:5"]
    planned = run("config", "set", "--plan", "eventbus.bufferSize=2048", "log.level=debug")
    assert table(planned.output)["eventbus.bufferSize"] == ["1024", "2048"]
    assert control.gateway.settings.log.level == "info"
    changed = table(run("config", "set", "eventbus.bufferSize=2048", "log.level=debug").output)
    assert changed["eventbus.bufferSize"] == ["2048", "set", "over", "REST", "restart", "required"]
    assert changed["log.level"] == ["debug", "set", "over", "REST"]
    assert set(table(run("config", "get", "log").output)) == {
        "key",
        "log.level",
        "log.format",
        "log.maxSize",
        "log.maxFiles",
    }
    assert shown(run("status", "--json"))["restartRequired"] == ["eventbus.bufferSize"]
    assert "restart required: eventbus.bufferSize" in run("status").output
    assert table(run("config", "reset", "--plan", "log").output)["log.level"] == ["debug", "info"]
    assert table(run("config", "reset", "log").output)["log.level"] == ["info", "default"]
    assert shown(run("config", "get", "--json"))["restartRequired"] == ["eventbus.bufferSize"]
    plan = shown(run("config", "reset", "--all", "--plan", "--json"))
    assert plan["changes"] == {"eventbus.bufferSize": {"before": 2048, "after": 1024}}
    assert shown(run("config", "reset", "--all", "--json"))["source"] == "file"
    assert "restart required" not in run("status").output


def test_values_are_json_or_text(run: Run) -> None:
    values = ['apiServer.hosts=["a.example"]', "telemetry.serviceName=desk", "risk.maxOpenOrders=7"]
    config = shown(run("config", "set", "--json", *values))["config"]
    assert (config["apiServer"]["hosts"], config["risk"]["maxOpenOrders"]) == (["a.example"], 7)
    removed = shown(run("config", "set", "--json", "risk.maxOpenOrders=null"))["config"]["risk"]
    assert "maxOpenOrders" not in removed


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("set", "log.level"), 2),
        (("set", "log=1", "log.level=debug"), 2),
        (("set", "log.level=debug", "log=1"), 2),
        (("reset",), 2),
        (("reset", "log.level", "--all"), 2),
        (("reset", "risk.maxOpenOrders"), 2),
        (("set", "log.level=loud"), 3),
        (("set", "database.maxConns=3"), 3),
        (("reset", "log.levl"), 3),
    ],
)
def test_what_is_refused_changes_nothing(run: Run, arguments: tuple[str, ...], code: int) -> None:
    before = json.loads(run("config", "get", "--json").output)
    run("config", *arguments, code=code)
    assert json.loads(run("config", "get", "--json").output) == before
