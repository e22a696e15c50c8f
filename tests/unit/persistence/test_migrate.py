"""The files of migrations: found, numbered, paired; every fault is listed."""

from pathlib import Path

import pytest

from meltica.errors import MigrationError
from meltica.persistence import migrate
from tests.support.paths import ROOT


def test_the_project_s_own_are_whole() -> None:
    for migration in migrate.load():
        assert migration.down is not None, migration
    # What is installed may be a copy.
    at_top = {path.name: path.read_text() for path in (ROOT / "migrations").glob("*.sql")}
    assert at_top == {path.name: path.read_text() for path in migrate.FOLDER.glob("*.sql")} != {}


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    for name in (
        "0001_one.up.sql",
        "0001_other.up.sql",
        "0002_two.down.sql",
        "0003_three.up.sql",
        "0003_thee.down.sql",
        "0005_five.up.sql",
        "6_six.up.sql",
    ):
        (tmp_path / name).write_text("select 1")
    with pytest.raises(MigrationError) as failure:
        migrate.load(tmp_path)
    for text in (
        "0001_other.up.sql and 0001_one.up.sql have the same number",
        "0002: expected a file 0002_name.up.sql, saw none",
        "0003_thee.down.sql: expected the name of 0003_three.up.sql",
        "0005_five.up.sql: expected number 0004 next, without a gap",
        "6_six.up.sql: expected NNNN_name.up.sql or NNNN_name.down.sql",
    ):
        assert text in str(failure.value)


def test_the_checksum_does_not_know_line_endings() -> None:
    unix = migrate.Migration(1, "a", b"a;\nb;\n", None)
    assert unix.checksum == migrate.Migration(1, "a", b"a;\r\nb;\r\n", None).checksum
    assert unix.checksum != migrate.Migration(1, "a", b"a;\nc;\n", None).checksum
