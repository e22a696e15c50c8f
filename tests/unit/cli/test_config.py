"""The commands `meltica config` and `meltica init`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from meltica.cli import cli
from meltica.cli.init import FILES
from meltica.settings import shipped
from tests.support.paths import ROOT

HUSH = "hush-hush"


def invoke(*arguments: str | Path, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(
        cli, [str(argument) for argument in arguments], standalone_mode=False
    )


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def test_show_has_every_setting_and_its_source(file: Path) -> None:
    file.write_text("log:\n  level: error\nrisk: {orderBurst: 5}\n")
    result = invoke(
        "config", "show", "--config", file, DATABASE_URL=f"postgres://{HUSH}@h/d", MELTICA_LOG__FORMAT="json"
    )
    assert result.return_value == 0
    rows = {row[0]: row[1:] for row in (line.split() for line in result.stdout.splitlines())}
    assert rows["log.level"] == ["error", "config.yaml:2"]
    assert rows["log.format"] == ["json", "MELTICA_LOG__FORMAT"]
    assert rows["database.dsn"] == ["********", "DATABASE_URL"]
    assert rows["shutdown.timeout"] == ["15s", "default"]
    assert rows["risk.orderBurst"] == ["5", "config.yaml:3"]
    assert result.stderr == ""
    assert HUSH not in result.output


def test_show_as_json_has_the_form_of_the_file(file: Path) -> None:
    file.write_text(shipped("example").read_text())
    result = invoke("config", "show", "--config", file, "--json", MELTICA_CONFIG_PATH="not-used")
    shown = json.loads(result.stdout)
    assert (result.return_value, shown["path"], shown["warnings"]) == (0, str(file), [])
    assert shown["settings"]["lambdas"]["large-trades"]["scope"] == {"demo": ["BTC-USDT", "ETH-USDT"]}
    assert shown["settings"]["providers"]["demo"]["settings"]["speed"] == 1
    assert shown["sources"]["apiServer.addr"].startswith("config.yaml:")
    assert shown["sources"]["lambdas.large-trades.host"].startswith("config.yaml:")


@pytest.mark.parametrize("command", ["show", "check"])
def test_each_fault_is_one_line(file: Path, command: str) -> None:
    file.write_text("log: {levl: x}\nenvironment: nowhere\n")
    lines = [
        "`log.levl` (line 1) is unknown; did you mean `level`?",
        "`environment` (line 2): input should be 'dev', 'staging', 'prod' or 'ci', saw 'nowhere'",
    ]
    result = invoke("config", command, MELTICA_CONFIG_PATH=str(file))
    assert result.return_value == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [f"Error: {file}: 2 faults", *(f"  {line}" for line in lines)]
    as_json = invoke("config", command, "--config", file, "--json")
    assert as_json.return_value == 2
    assert json.loads(as_json.stdout) == {"path": str(file), "ok": False, "faults": lines, "warnings": []}


def test_check_loads_the_strategies(file: Path) -> None:
    providers = "providers: {p: {adapter: replay, settings: {sample: true}}}\n"
    entry = "lambdas: [{id: a, strategy: large-trades, scope: {p: '*'}, config: {notinal: 1}}]\n"
    file.write_text(providers + entry)
    result = invoke("config", "check", "--config", file)
    assert result.return_value == 2
    assert result.stderr.splitlines() == [
        f"Error: {file}: 1 fault",
        "  `lambdas[0].config.notinal` (line 2) is unknown; did you mean `notional`?",
    ]


def test_check_without_faults(file: Path) -> None:
    file.write_text("strategies: {requireRegistry: true}\n")
    warning = "`strategies.requireRegistry` (line 1) has no effect: strategies are files or entry points"
    result = invoke("config", "check", "--config", file)
    assert (result.return_value, result.stdout, result.stderr) == (
        0,
        f"{file}: no faults\n",
        f"Warning: {warning}\n",
    )
    shown = json.loads(invoke("config", "check", "--config", file, "--json").stdout)
    assert shown == {"path": str(file), "ok": True, "faults": [], "warnings": [warning]}


def test_a_missing_file_and_a_bad_variable() -> None:
    result = invoke("config", "check", "--config", "no.yaml")
    assert (result.return_value, result.stderr) == (
        2,
        "Error: no.yaml: 1 fault\n  cannot be read: No such file or directory\n",
    )
    result = invoke("config", "check", MELTICA_LOG__LEVL="x")
    assert result.return_value == 2
    assert "`MELTICA_LOG__LEVL` does not match any key; did you mean `MELTICA_LOG__LEVEL`?" in result.stderr


def test_init_writes_a_project_that_passes_its_own_test(tmp_path: Path) -> None:
    project = tmp_path / "deep" / "project"
    result = invoke("init", project)
    written = sorted(str(path.relative_to(project)) for path in project.rglob("*") if path.is_file())
    assert written == sorted(FILES.values())
    assert all(f"wrote {project / name}\n" in result.stdout for name in FILES.values())
    assert f"\nnext:\n  cd {project}\n  meltica config check --config config.yaml\n" in result.stdout
    checked = invoke("config", "check", "--config", project / "config.yaml")
    assert (checked.return_value, checked.stderr) == (0, "")
    assert (project / ".env.example").read_text() == (ROOT / ".env.example").read_text()
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout + tests.stderr
    assert "1 passed" in tests.stdout


def test_init_does_not_overwrite_files(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "lambdas").mkdir()
    result = CliRunner().invoke(cli, ["init", str(tmp_path)])
    assert result.exit_code == 2
    readme = tmp_path / "README.md"
    expected = f"Error: nothing was written: it would overwrite {readme}; choose another directory\n"
    assert result.output == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "lambdas"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_init_in_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(cli, ["init", str(tmp_path / "file" / "project")])
    assert result.exit_code == 2
    assert result.output.startswith(
        f"Error: {tmp_path / 'file' / 'project'}: cannot be written: Not a directory"
    )
    assert result.output.count("\n") == 1


def test_init_as_json(tmp_path: Path) -> None:
    result = invoke("init", tmp_path / "project", "--json")
    output = json.loads(result.stdout)
    assert output["directory"] == str(tmp_path / "project")
    assert [Path(name).is_file() for name in output["written"]] == [True] * len(FILES)
