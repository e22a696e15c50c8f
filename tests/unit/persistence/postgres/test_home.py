"""The default home directory of the embedded server."""

from pathlib import Path

import pytest

from meltica.persistence.postgres.home import default_home


def test_the_environment_sets_the_default_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MELTICA_HOME", str(tmp_path))
    assert default_home() == tmp_path
    monkeypatch.setenv("MELTICA_HOME", "")
    assert default_home() != tmp_path
