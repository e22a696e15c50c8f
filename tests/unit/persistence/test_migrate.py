"""Migration files: their discovery, numbering and pairing; every fault is reported."""

from pathlib import Path

import pytest

from meltica.errors import MigrationError
from meltica.persistence import migrate
from tests.support.paths import ROOT


def test_the_migrations_of_the_project_are_complete() -> None:
    for migration in migrate.load():
        assert migration.down is not None, migration
    # The installed files may be copies.
    at_top = {path.name: path.read_text() for path in (ROOT / "migrations").glob("*.sql")}
    assert at_top == {path.name: path.read_text() for path in migrate.FOLDER.glob("*.sql")} != {}


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
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
        "0005_five.up.sql: expected number 0004, because numbers have no gaps",
        "6_six.up.sql: expected NNNN_name.up.sql or NNNN_name.down.sql",
    ):
        assert text in str(failure.value)


def test_the_checksum_is_independent_of_line_endings() -> None:
    unix = migrate.Migration(1, "a", b"a;\nb;\n", None)
    assert unix.checksum == migrate.Migration(1, "a", b"a;\r\nb;\r\n", None).checksum
    assert unix.checksum != migrate.Migration(1, "a", b"a;\nc;\n", None).checksum
