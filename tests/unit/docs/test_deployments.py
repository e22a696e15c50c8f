"""The examples of `deployments`, checked by the programs that read them."""

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.prometheus import promtool

FOLDER = ROOT / "deployments"


def test_the_configuration_of_prometheus_is_valid(tmp_path: Path) -> None:
    text = (FOLDER / "prometheus.yml").read_text()
    config = FOLDER / "prometheus.yml"
    promtool("check", "config", "--syntax-only", str(config))
    broken = tmp_path / "broken.yml"
    broken.write_text(text.replace("job_name", "job-name"))
    with pytest.raises(AssertionError, match="job-name"):
        promtool("check", "config", "--syntax-only", str(broken))
