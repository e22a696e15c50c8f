"""The modules of a backup: checked, and compared with those that are stored."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from meltica.api.backup import BackupModule
from meltica.api.strategies import Strategy
from meltica.lambdas import shipped
from meltica.lambdas.modules.directory import MAX_SOURCE
from meltica.lambdas.modules.names import canonical_hash, name_fault, tag_fault
from meltica.persistence.stores.context import StoredRevision
from meltica.persistence.stores.modules import LATEST, TagRow
from meltica.validation.models import Loc, dotted

MODULES: Final = "modules"

Found = list[tuple[Loc, str]]


class ModulesOfBackup(NamedTuple):
    """What a backup has of modules."""

    revisions: list[StoredRevision]
    tags: list[TagRow]


def read_modules(given: Sequence[Any], found: Found) -> ModulesOfBackup:
    """Returns the modules of a backup; adds every fault."""
    revisions: dict[str, StoredRevision] = {}
    tags: dict[tuple[str, str], TagRow] = {}
    for number, value in enumerate(given):
        loc: Loc = (MODULES, number)
        try:
            entry = msgspec.convert(value, BackupModule)
            msgspec.convert(entry.metadata, Strategy)
        except msgspec.ValidationError as error:
            found.append((loc, f"`{dotted(loc)}`: {error}"))
            continue
        source, faults = _source(entry), _faults(entry)
        if source is None or entry.hash != f"sha256:{hashlib.sha256(source).hexdigest()}":
            faults.append("its source does not have its hash: the file is damaged or was edited")
        elif len(source) > MAX_SOURCE:
            faults.append(f"its source has more than {MAX_SOURCE:,} bytes")
        for tag in entry.tags:
            key = (entry.name, tag.lower())
            if tags.setdefault(key, TagRow(entry.name, tag, entry.hash)).hash != entry.hash:
                faults.append(f"the tag `{tag}` selects two revisions")
        if entry.hash in revisions:
            faults.append("the revision is there twice")
        found += [(loc, f"`{dotted(loc)}`: {text}") for text in faults]
        if not faults and source is not None:
            revisions[entry.hash] = _revision(entry, source)
    return ModulesOfBackup(list(revisions.values()), list(tags.values()))


def latest_faults(revisions: Sequence[StoredRevision], tags: Sequence[TagRow]) -> Found:
    """Returns the modules that nothing would have the tag `latest` of."""
    having = {tag.name for tag in tags if tag.tag.lower() == LATEST}
    missing = sorted({each.name for each in revisions} - having)
    return [((MODULES,), f"`modules`: no revision of `{name}` has the tag `{LATEST}`") for name in missing]


def _faults(entry: BackupModule) -> list[str]:
    faults = [text for text in (name_fault(entry.name), *map(tag_fault, entry.tags)) if text is not None]
    if canonical_hash(entry.hash) != entry.hash:
        faults.append(f"the hash {entry.hash[:80]!r} is not valid: expected `sha256:` and 64 hex digits")
    if shipped.find(entry.name) is not None:
        faults.append(f"the name `{entry.name}` is that of a shipped strategy")
    if not 0 <= entry.created_at < 1 << 42:
        faults.append("`createdAt` is not a time in milliseconds")
    return faults


def _source(entry: BackupModule) -> bytes | None:
    """Returns the source of a revision; None if it is not there, or there twice."""
    try:
        if entry.source is not UNSET:
            return entry.source.encode() if entry.source_base64 is UNSET else None
        return None if entry.source_base64 is UNSET else base64.b64decode(entry.source_base64, validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        return None


def _revision(entry: BackupModule, source: bytes) -> StoredRevision:
    return StoredRevision(
        hash=entry.hash,
        name=entry.name,
        version=None if entry.version is UNSET else entry.version,
        source=source,
        metadata=entry.metadata,
        created_at=datetime.fromtimestamp(entry.created_at / 1000, UTC),
    )
