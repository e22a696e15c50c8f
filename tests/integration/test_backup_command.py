"""`meltica backup` between two homes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meltica.cli import cli
from meltica.cli.backup import VARIABLE
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_backup import PASSPHRASE, fill, used
from tests.support.gateway import Running, database, running


def run(control: Running, *arguments: str, code: int = 0, passphrase: str | None = PASSPHRASE) -> Result:
    token = control.authorization["authorization"].removeprefix("Bearer ")
    result = CliRunner().invoke(
        cli,
        ["backup", *arguments, "--url", control.url],
        env={"MELTICA_TOKEN": token, VARIABLE: passphrase},
        input=f"{PASSPHRASE}\n{PASSPHRASE}\n",
        standalone_mode=False,
    )
    found = result.return_value if isinstance(result.return_value, int) else result.exit_code
    if isinstance(result.exception, Exception):
        found = getattr(result.exception, "exit_code", None)
    assert found == code, (result.output, result.exception)
    return result


def shown(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "backup.json"


def test_a_home_is_saved_and_restored_on_a_second_one(
    control: Running, config: Path, cluster: EmbeddedPostgres, file: Path
) -> None:
    fill(control)
    saved = shown(run(control, "save", str(file), "--json"))
    assert saved == {"file": str(file), "providers": 1, "lambdas": 1, "modules": 2, "secrets": True}
    assert file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    run(control, "save", str(file), code=2)
    run(control, "save", str(file), "--force", "--passphrase", passphrase=None)
    run(control, "save", str(file.parent / "missing" / "backup.json"), code=2)
    with database(cluster) as dsn, running(config, dsn) as other:
        plan = run(other, "restore", str(file), "--dry-run").output
        assert "provider:made: created\n" in plan
        assert "made" not in other.gateway.providers
        run(other, "restore", str(file), code=3, passphrase="not the passphrase")
        restored = shown(run(other, "restore", str(file), "--passphrase", "--json", passphrase=None))
        assert restored["changes"]["instance:grid"] == "created"
        assert (restored["started"], restored["missingSecrets"]) == ([], {})
        assert used(other)["api_key"] == "hunter2"
        assert run(other, "restore", str(file), "--dry-run").output == "nothing would change\n"


def test_a_restore_starts_only_on_named_accounts(control: Running, file: Path) -> None:
    if "made" not in control.gateway.providers:
        fill(control)
    control.client.post("/providers/made/start")
    assert control.client.post("/strategy/instances/grid/start").status_code == 200
    run(control, "save", str(file))
    assert control.client.post("/strategy/instances/grid/stop").status_code == 200
    refused = run(control, "restore", str(file), "--start", code=3)
    assert "repeat it with `accounts=made`" in str(refused.exception)
    started = shown(run(control, "restore", str(file), "--start", "--accounts", "made", "--json"))
    assert (started["started"], started["changes"]) == (["instance:grid"], {})
    assert control.gateway.instances.get("grid").running


def test_a_damaged_file_is_refused(control: Running, file: Path) -> None:
    run(control, "save", str(file), passphrase=None)
    file.write_bytes(file.read_bytes()[:-5])
    refused = run(control, "restore", str(file), code=3, passphrase=None)
    assert "the file is damaged or truncated" in str(refused.exception)
