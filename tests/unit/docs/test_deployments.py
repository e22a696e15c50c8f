"""The examples of `deployments`, checked by the programs that read them, and by the runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.prometheus import programs, promtool

FOLDER = ROOT / "deployments"
RUNBOOK = ROOT / "docs" / "runbook.md"


def rules() -> list[dict[str, Any]]:
    """Returns the alert rules."""
    return yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]


def test_the_configuration_of_prometheus_is_valid(tmp_path: Path) -> None:
    config = FOLDER / "prometheus.yml"
    promtool("check", "config", "--syntax-only", str(config))
    broken = tmp_path / "broken.yml"
    broken.write_text(config.read_text().replace("job_name", "job-name"))
    with pytest.raises(AssertionError, match="job-name"):
        promtool("check", "config", "--syntax-only", str(broken))


def test_the_configuration_of_alertmanager_is_valid() -> None:
    tool = str(programs() / "usr/bin/amtool")
    subprocess.run([tool, "check-config", str(FOLDER / "alertmanager.yml")], check=True, cwd=programs())


def test_each_alert_fires_and_is_silent(tmp_path: Path) -> None:
    promtool("check", "rules", str(FOLDER / "alerts.yml"))
    promtool("test", "rules", str(FOLDER / "alerts.test.yml"))
    cases = (FOLDER / "alerts.test.yml").read_text()
    for rule in rules():
        assert f"name: {rule['alert']} fires" in cases
        assert f"name: {rule['alert']} is silent" in cases
    # A rule that always fires does not pass.
    for file in FOLDER.glob("*.yml"):
        text = file.read_text().replace("meltica_gateway_lock_held == 0", "meltica_gateway_lock_held >= 0")
        (tmp_path / file.name).write_text(text)
    with pytest.raises(AssertionError, match=r"MelticaLockLost[\s\S]*exp: nil"):
        promtool("test", "rules", str(tmp_path / "alerts.test.yml"))


def test_each_alert_has_a_section_in_the_runbook() -> None:
    sections = re.findall(r"^### (Meltica\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(rule["alert"] for rule in rules())
    for rule in rules():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}
