"""Commands that use the database directly, when it refuses a statement: one line, and the exit code 6."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from meltica.cli import cli


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("audit verify", 'relation "audit" does not exist'),
        ("audit export audit.jsonl", 'relation "audit" does not exist'),
        ("tokens list --offline", 'relation "tokens" does not exist'),
        ("tokens create a --offline", 'relation "tokens" does not exist'),
        ("tokens revoke 0123456789ab --offline", 'relation "tokens" does not exist'),
        ("risk halt --offline --reason x", 'relation "audit" does not exist'),
        ("secrets rotate", 'relation "audit" does not exist'),
    ],
)
def test_a_missing_table_is_a_refusal(
    command: str, text: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("drop table meltica.audit, meltica.tokens cascade")
    _expect_refusal(command, text, database_url, tmp_path, monkeypatch)
    assert not (tmp_path / "audit.jsonl").exists()


@pytest.mark.parametrize("command", ["tokens create a --offline", "risk halt --offline --reason x"])
def test_a_read_only_database_is_a_refusal(
    command: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_conninfo(database_url, options="-c default_transaction_read_only=on")
    _expect_refusal(command, "read-only transaction", url, tmp_path, monkeypatch)


def _expect_refusal(command: str, text: str, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    where = ["--token-folder", str(folder / "access")] if command.startswith("secrets") else []
    done = CliRunner().invoke(cli, [*command.split(), "--dsn", url, *where])
    assert done.exit_code == 6, (done.output, done.exception)
    assert done.stderr.startswith("Error: the database refused a statement: ")
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
