"""Exports of the audit: a file proves itself, and after a prune the rest is still proven."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from meltica.cli import cli
from meltica.errors import DatabaseError
from meltica.persistence.database import Database
from meltica.persistence.stores.audit import BATCH, AuditEntry, AuditLog, Verification, append
from meltica.persistence.stores.audit_export import AuditFileError, export_audit, prune_audit, verify_file
from tests.integration.test_audit import edit, entries


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url) as database:
        yield database


async def run(*command: str) -> Result:
    """Runs a command, which has an event loop of its own."""
    return await asyncio.to_thread(
        lambda: CliRunner().invoke(cli, ["audit", *command], standalone_mode=False)
    )


async def test_a_pruned_audit_is_proven_from_the_stated_hash_on(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    before = Verification()
    for number in range(3):
        await entries(database, "one", "two")
        file = tmp_path / f"{number}.jsonl"
        before = await AuditLog(database).verify()
        done = await run("export", str(file), "--prune", "--dsn", database_url, "--json")
        assert done.return_value == 0, done.output
        shown = json.loads(done.stdout)
        assert shown["pruned"]
        assert (shown["last"], shown["hash"]) == (before.last, before.hash.hex())
        [row] = await AuditLog(database).latest(10)
        assert (row.action, row.id) == ("audit.prune", before.last + 1)
        assert row.after == {
            "through": before.last,
            "hash": before.hash.hex(),
            "rows": before.rows,
            "file": file.name,
        }
        after = await AuditLog(database).verify()
        assert (after.rows, after.fault) == (1, None)
        assert (after.pruned, after.pruned_hash) == (before.last, before.hash)
        # The file proves the rows, and ends where the database begins.
        assert verify_file(file) == replace(before, pruned=before.pruned)
    done = await run("verify", "--dsn", database_url)
    assert done.stdout.startswith(
        f"1 rows verified after row {before.last} with the hash {before.hash.hex()}"
    )
    edit(database_url, "delete from audit where id <= 9")
    assert (await AuditLog(database).verify()).fault == "rows 1 to 9 are missing"


async def test_without_its_row_a_removal_is_found(database: Database, database_url: str) -> None:
    await entries(database, "one", "two")
    edit(database_url, "delete from audit where id = 1")
    assert (await AuditLog(database).verify()).fault == "rows 1 to 1 are missing"


async def test_only_the_rows_up_to_an_age_are_exported(database: Database, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for hours in (9, 5, 1, 8):  # the last was written late
        async with database.transaction() as connection:
            entry = AuditEntry(actor="a", action="x", subject="s", acted_at=now - timedelta(hours=hours))
            await append(connection, entry)
    done = await export_audit(database, tmp_path / "a", now - timedelta(hours=3))
    assert (done.rows, done.last) == (2, 2)
    await prune_audit(database, done, "me", "a")
    verified = await AuditLog(database).verify()
    assert (verified.rows, verified.pruned, verified.fault) == (3, 2, None)
    nothing = await export_audit(database, tmp_path / "b", now - timedelta(hours=10))
    assert (nothing.rows, nothing.last, nothing.hash) == (0, 2, done.hash)
    assert verify_file(tmp_path / "b").fault is None


async def test_rows_that_are_written_meanwhile_remain(database: Database, tmp_path: Path) -> None:
    await entries(database, "one")
    first = await export_audit(database, tmp_path / "a")
    await entries(database, "two")
    await prune_audit(database, first, "me", "a")
    assert [row.action for row in await AuditLog(database).latest(10)] == ["audit.prune", "two"]
    assert (await AuditLog(database).verify()).fault is None
    with pytest.raises(DatabaseError, match="row 1 is not the exported one"):
        await prune_audit(database, first, "me", "a")
    assert (await AuditLog(database).verify()).last == 3


async def test_an_edited_audit_is_neither_exported_nor_pruned(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await entries(database, "one", "two", "three")
    done = await export_audit(database, tmp_path / "before")
    edit(database_url, "update audit set actor = 'b' where id = 2")
    refused = await run("export", str(tmp_path / "a"), "--prune", "--dsn", database_url)
    assert "row 2 was changed" in str(refused.exception)
    assert getattr(refused.exception, "exit_code", None) == 3
    assert not (tmp_path / "a").exists()
    edit(database_url, "delete from audit where id = 2")
    with pytest.raises(DatabaseError, match="expected 3 rows up to row 3, saw 2"):
        await prune_audit(database, done, "me", "before")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from audit").fetchone() == (2,)


async def test_a_file_is_not_overwritten(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("mine")
    with pytest.raises(AuditFileError, match="cannot be created"):
        await export_audit(database, file)
    assert file.read_text() == "mine"


async def test_edits_of_a_file_are_found(database: Database, database_url: str, tmp_path: Path) -> None:
    async with database.transaction() as connection:
        for number in range(BATCH + 3):
            await append(connection, AuditEntry(actor="é", action=f"{number}", subject='"\n'))
    file = tmp_path / "a"
    await export_audit(database, file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert verify_file(file) == await AuditLog(database).verify()
    lines = file.read_text().splitlines(keepends=True)
    for edited in (
        [],
        lines[1:],
        lines[:-1],
        [*lines, lines[-1]],
        lines[:5] + lines[6:],
        [lines[0], *lines[2:]],
        [*lines[:-2], lines[-1]],
        [*lines[:4], lines[5], lines[4], *lines[6:]],
        [*lines[:4], lines[4].replace("é", "e"), *lines[5:]],
        [*lines[:4], "[]\n", *lines[5:]],
        [*lines[:4], '{"hash":"' + "0" * 64 + '","row":[1]}\n', *lines[5:]],
        [*lines[:-1], lines[-1].rstrip("\n")],
    ):
        file.write_text("".join(edited))
        assert verify_file(file).fault is not None
    shown = await run("verify", str(file), "--json")
    assert shown.return_value == 3
    file.write_text("".join(lines))
    assert (await run("verify", str(file))).stdout.startswith(
        f"{BATCH + 3} rows verified; row {BATCH + 3} has"
    )
    file.write_bytes(b"\xff")
    with pytest.raises(AuditFileError, match="cannot be read"):
        verify_file(file)
