"""`meltica strategies`, `instances` and `providers` against a running gateway."""

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meltica.cli import cli
from tests.integration.test_control_modules import EXAMPLE, SECOND
from tests.support.gateway import Running

Run = Callable[..., Result]


@pytest.fixture(name="run")
def _run(control: Running) -> Generator[Run]:
    token = control.authorization["authorization"].removeprefix("Bearer ")

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(
            cli, [*arguments, "--url", control.url], env={"MELTICA_TOKEN": token}, standalone_mode=False
        )
        found = result.return_value if isinstance(result.return_value, int) else result.exit_code
        if isinstance(result.exception, Exception):
            found = getattr(result.exception, "exit_code", None)
        assert found == code, (result.output, result.exception)
        return result

    yield run
    if "g" in control.gateway.instances:
        run("instances", "delete", "g")
    if "grid" in run("strategies", "list").output:
        run("strategies", "delete", "grid")


@pytest.fixture(name="grid")
def _grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.py"
    path.write_text(EXAMPLE)
    return path


def shown(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_body_of_api_is_read_from_a_file(run: Run, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"instances": {"nope": {}}}')
    refused = run("api", "PUT", "/risk/limits", "--data", f"@{body}", code=3)
    assert "nope" in refused.output
    assert refused.output == run("api", "PUT", "/risk/limits", "--data", body.read_text(), code=3).output
    missing = run("api", "PUT", "/risk/limits", "--data", f"@{tmp_path}/missing", code=2)
    assert "--data" in str(missing.exception)


def test_a_strategy_is_pushed_run_promoted_and_rolled_back(run: Run, grid: Path, control: Running) -> None:
    assert run("strategies", "list").output == "no module is stored\n"
    first = shown(run("strategies", "push", str(grid), "--json"))["module"]["hash"]
    assert run("strategies", "push", str(grid)).output == f"grid:1.0.0 is stored as {first}\n"
    assert run("strategies", "source", "grid").output == EXAMPLE

    create = ("instances", "create", "g", "--strategy", "grid", "--scope", "main=BTC-USDT")
    planned = run(*create, "--config", '{"step": 2}', "--plan")
    assert "effect:   create" in planned.output
    assert "g" not in control.gateway.instances
    refused = run(*create, "--live", code=3)
    assert "no account to trade on" in str(refused.exception)
    assert shown(run(*create, "--config", '{"step": 2}', "--json"))["strategy"]["config"] == {"step": 2}
    assert run("instances", "start", "g").output == "g is running\n"
    listed = run("strategies", "list").output.splitlines()
    assert [line.split() for line in listed] == [
        ["module", "revision", "tags", "running"],
        ["grid", first[:19], "1.0.0,", "latest", "g"],
    ]

    grid.write_text(SECOND)
    run("strategies", "push", str(grid), "--no-promote")
    assert shown(run("instances", "show", "g", "--json"))["strategy"]["hash"] == first
    promoted = run("strategies", "promote", "grid:2.0.0").output
    assert f"before {first}" in promoted
    assert "refreshed" in promoted
    assert shown(run("instances", "show", "g", "--json"))["strategy"]["version"] == "2.0.0"
    run("strategies", "promote", f"grid@{first}")
    assert shown(run("instances", "show", "g", "--json"))["strategy"]["hash"] == first
    assert run("strategies", "refresh", "grid").output.splitlines()[0] == "partial_refresh"

    planned = run("instances", "update", "g", "--config", '{"step": 3}', "--plan").output
    assert "effect:   update" in planned
    assert "step:  3" in run("instances", "update", "g", "--config", '{"step": 3}').output
    assert run("instances", "restart", "g").output == "g is running\n"
    assert run("instances", "stop", "g").output == "g is stopped\n"
    used = run("strategies", "delete", "grid", code=3)
    assert "in use" in str(used.exception)
    assert run("instances", "delete", "g").output == "g is deleted\n"
    assert run("strategies", "delete", "grid").output == "grid is deleted\n"


def test_a_revision_that_does_not_start_is_named_with_its_cause(run: Run, grid: Path) -> None:
    run("strategies", "push", str(grid))
    run("instances", "create", "g", "--strategy", "grid", "--scope", "main=BTC-USDT")
    run("instances", "start", "g")
    body = "    def on_start(self):\n        raise RuntimeError('no licence')\n"
    grid.write_text(SECOND.rstrip() + "\n\n" + body)
    run("strategies", "push", str(grid), "--no-promote")
    result = run("strategies", "promote", "grid:2.0.0", code=3)
    assert "failed" in result.output
    assert "no licence" in result.output
    assert "running" in run("instances", "list").output


def test_faults_of_a_module_are_printed_with_their_places(run: Run, grid: Path) -> None:
    grid.write_text("import meltica\nclass Grid(meltica.Lambda:\n    pass\n")
    result = run("strategies", "push", str(grid), code=3)
    assert f"Error: {grid}:2:" in result.stderr
    assert result.stdout == ""
    found = shown(run("strategies", "push", str(grid), "--json", code=3))
    assert found["code"] == "strategy_validation_failed"
    assert found["diagnostics"][0]["line"] == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--scope", "main"), "expected PROVIDER=SYMBOL"),
        (("--scope", "main=BTC-USDT", "--scope", "main=ETH-USDT"), "given twice"),
        (("--scope", "main=BTC-USDT", "--config", "{"), "not JSON"),
        (("--scope", "main=BTC-USDT", "--config", "[]"), "expected an object"),
        (("--scope", "main=BTC-USDT", "--config", "@/nowhere.json"), "No such file"),
    ],
)
def test_invalid_options_are_named(run: Run, options: tuple[str, ...], expected: str) -> None:
    result = run("instances", "create", "g", "--strategy", "grid", *options, code=2)
    assert expected in str(result.exception)


def test_names_that_do_not_exist_are_refused_with_the_gateways_text(run: Run) -> None:
    for arguments in (
        ("instances", "show", "nothing"),
        ("instances", "start", "a/b?c"),
        ("providers", "show", "nothing"),
        ("strategies", "show", "nothing"),
        ("strategies", "source", "nothing"),
        ("strategies", "promote", "nothing:1"),
        ("strategies", "delete", "nothing"),
    ):
        result = run(*arguments, code=3)
        assert "not" in str(result.exception), arguments


def test_providers_are_listed_stopped_and_started(run: Run) -> None:
    listed = [line.split()[:3] for line in run("providers", "list").output.splitlines()]
    assert ["main", "test-venue", "running"] in listed
    assert "adapter:" in run("providers", "show", "main").output
    assert shown(run("providers", "show", "main", "--json"))["adapter"]["identifier"] == "test-venue"
    run("providers", "stop", "main")
    started = run("providers", "start", "main").output
    assert started in ("main is starting\n", "main is running\n")


def test_a_provider_is_created_changed_and_deleted(run: Run, control: Running) -> None:
    create = ("providers", "create", "extra", "--adapter", "fake", "--disabled")
    assert "effect:   create" in run(*create, "--settings", '{"seed": 7}', "--plan").output
    assert "extra" not in control.gateway.providers
    assert run(*create, "--settings", '{"seed": 7}').output == "extra is pending\n"
    planned = run("providers", "update", "extra", "--settings", '{"seed": 8}', "--plan").output
    assert "before:" in planned
    run("providers", "update", "extra", "--settings", '{"seed": 8}')
    assert shown(run("providers", "show", "extra", "--json"))["settings"]["seed"] == 8
    refused = run("providers", "update", "extra", "--settings", '{"sed": 8}', code=3)
    assert "seed" in str(refused.exception)
    assert run("providers", "delete", "extra").output == "extra is deleted\n"
    assert "extra" not in control.gateway.providers


def test_limits_are_shown_changed_and_removed(run: Run) -> None:
    change = ("risk", "limit", "provider:main")
    planned = run(*change, "maxOrderSize=0.1234567890123456789", "--plan").output
    assert [line.split() for line in planned.splitlines()] == [
        ["scope", "limit", "before", "after"],
        ["provider:main", "maxOrderSize", "-", "0.1234567890123456789"],
    ]
    assert "provider:main" not in run("risk", "limits").output
    changed = shown(run(*change, "maxOrderSize=0.1234567890123456789", "maxOpenOrders=7", "--json"))
    assert changed["providers"]["main"]["maxOrderSize"] == "0.1234567890123456789"
    assert changed["providers"]["main"]["maxOpenOrders"] == 7
    row = ["provider:main", "maxOpenOrders", "7"]
    assert row in [line.split() for line in run("risk", "limits").output.splitlines()]
    run(*change, "maxOrderSize=", "maxOpenOrders=")
    assert "provider:main" not in run("risk", "limits").output
    faulty = run("risk", "limit", "global", "maxOrderSiz=1", code=3)
    assert "maxOrderSize" in str(faulty.exception)
    for arguments in (("everything", "a=1"), ("provider:", "a=1"), ("global", "a"), ("global", "=1")):
        run("risk", "limit", *arguments, code=2)
