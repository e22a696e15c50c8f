"""Exports of the audit: files that prove themselves, and the removal of exported rows.

Each line of a file is JSON. The first has the number and the hash of the row before, the last those of the
last row, so a file that was cut is found. The others have the hash of a row and the row as the hash covers
it: number, time in microseconds, actor, action, subject, before, after.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import msgspec
from psycopg import AsyncConnection

from meltica.errors import DatabaseError, MelticaError, one_line
from meltica.persistence.database import Database
from meltica.persistence.stores.audit import (
    PRUNED,
    AuditChain,
    AuditEntry,
    Verification,
    append,
    audit_rows,
    verify_audit,
)

_ROW: Final = re.compile(r'\{"hash":"([0-9a-f]{64})","row":(\[.*\])\}\n')
_Row = tuple[int, int, str, str, str, dict[str, Any] | None, dict[str, Any] | None]
Line = TypeVar("Line", bound=msgspec.Struct)


class _Start(msgspec.Struct, frozen=True, tag_field="format", tag="meltica-audit"):
    after: int
    hash: str


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: int
    last: int
    hash: str


class AuditFileError(MelticaError):
    """An exported file exists already, or cannot be written or read."""


class AuditBroken(MelticaError):
    """The chain of the audit has a fault, so it is neither exported nor pruned."""


@dataclass(frozen=True)
class Export:
    """What was exported."""

    rows: int
    last: int
    """The number of the last exported row, or of the row before if none was exported."""
    hash: bytes
    """The hash of that row."""


async def export_audit(database: Database, path: Path, older_than: datetime | None = None) -> Export:
    """Writes the rows of the audit to a new file; with `older_than`, only the first ones up to that time.

    Raises AuditBroken, DatabaseError, and AuditFileError if the file exists or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise AuditFileError(f"audit not exported: {path} cannot be created: {one_line(error)}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            export = await _write(database, file, older_than)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except BaseException as error:
        path.unlink()
        if isinstance(error, OSError):
            raise AuditFileError(f"audit not exported: {path}: {one_line(error)}") from error
        raise
    return export


async def prune_audit(database: Database, export: Export, actor: str, file: str) -> None:
    """Removes exported rows, and appends a row that has the number and the hash of the last of them.

    Raises DatabaseError, without a change, unless exactly the exported rows are removed.
    """
    async with database.transaction() as connection:
        await connection.execute("set local meltica.prune_audit = 'on'")
        found = await connection.execute("select hash from audit where id = %s", [export.last])
        if (row := await found.fetchone()) is None or row[0] != export.hash:
            raise DatabaseError(f"audit not pruned: row {export.last} is not the exported one; export again")
        deleted = await connection.execute("delete from audit where id <= %s", [export.last])
        if deleted.rowcount != export.rows:
            text = f"expected {export.rows} rows up to row {export.last}, saw {deleted.rowcount}"
            raise DatabaseError(f"audit not pruned: {text}; export again")
        after = {"through": export.last, "hash": export.hash.hex(), "rows": export.rows, "file": file}
        # The last statement, because other writers of the audit wait for its transaction.
        await append(connection, AuditEntry(actor=actor, action=PRUNED, subject="audit", after=after))


def verify_file(path: Path) -> Verification:
    """Recomputes the chain of an exported file. Raises AuditFileError if it cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            return _verify(file)
    except (OSError, UnicodeDecodeError) as error:
        raise AuditFileError(f"audit not verified: {path} cannot be read: {one_line(error)}") from error


async def _write(database: Database, file: IO[str], older_than: datetime | None) -> Export:
    async with database.connection() as connection, connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        verified = await verify_audit(connection)
        if verified.fault is not None:
            raise AuditBroken(f"audit not exported: it is not complete: {verified.fault}")
        through = await _through(connection, verified, older_than)
        rows, last, hash = 0, verified.pruned, verified.pruned_hash
        file.write(_line(_Start(last, hash.hex())))
        async for row in audit_rows(connection):
            if row.id > through:
                break
            file.write(f'{{"hash":"{row.hash.hex()}","row":{row.text}}}\n')
            rows, last, hash = rows + 1, row.id, row.hash
        file.write(_line(_End(rows, last, hash.hex())))
        return Export(rows, last, hash)


async def _through(connection: AsyncConnection, verified: Verification, older_than: datetime | None) -> int:
    """Returns the number of the last row to export: all rows up to it are older."""
    if older_than is None:
        return verified.last
    newer = await connection.execute("select min(id) from audit where acted_at >= %s", [older_than])
    row = await newer.fetchone()
    return verified.last if row is None or row[0] is None else int(row[0]) - 1


def _verify(lines: Iterable[str]) -> Verification:
    found = iter(lines)
    start = _decoded(next(found, ""), _Start)
    if start is None or not re.fullmatch("[0-9a-f]{64}", start.hash):
        return Verification(fault="line 1 is not the first line of an exported audit")
    chain = AuditChain(start.after, bytes.fromhex(start.hash))
    end: _End | None = None
    for number, line in enumerate(found, start=2):
        if end is not None:
            return chain.verification(f"line {number} follows the end")
        match = _ROW.fullmatch(line)
        if match is None:
            end = _decoded(line, _End)
            if end is None:
                return chain.verification(f"line {number} is not a row")
            continue
        try:
            id, _, _, action, _, _, after = msgspec.json.decode(match[2], type=_Row)
        except msgspec.DecodeError:
            return chain.verification(f"line {number} is not a row")
        if id != chain.last + 1:
            return chain.verification(f"line {number} has row {id}; expected row {chain.last + 1}")
        chain.add(id, action, after, chain.hash, bytes.fromhex(match[1]), match[2])
        if chain.fault is not None:
            return chain.verification()
    complete = end == _End(chain.rows, chain.last, chain.hash.hex())
    return chain.verification(None if complete else "the end of the file is missing")


def _decoded(line: str, kind: type[Line]) -> Line | None:
    try:
        return msgspec.json.decode(line, type=kind) if line.endswith("\n") else None
    except msgspec.DecodeError:
        return None


def _line(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode() + "\n"


def _sync_folder(folder: Path) -> None:
    """Makes a new name in a folder last, also if the machine loses its power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
