"""The dumps in a home, and the way back to them from a damaged data directory."""

import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

TIME = "%Y%m%dT%H%M%SZ"
"""Format of the time in the name of a dump."""

_NAME = re.compile(r"(\d{4})-(\d{8}T\d{6}Z)\.sql\.gz")
_DAMAGE = re.compile(
    r"could not (open|read|access|find|stat) .*(No such file or directory|Input/output error|read \d+ of \d+)"
    r"|could not locate \w+ \w*\s?checkpoint record|invalid (page|magic number|checkpoint|primary checkpoint)"
    r"|could not open file .*pg_control|incorrect checksum in control file"
    r"|database files are incompatible with server|required WAL directory|is not a valid data directory"
)


@dataclass(frozen=True)
class Dump:
    """A dump that was written before an upgrade."""

    path: Path
    version: int
    """Number of the last migration that the dumped schema had."""
    written: datetime

    @property
    def lost(self) -> str:
        """What a restore of this dump loses."""
        return f"changes after {self.written:%Y-%m-%d %H:%M:%S} UTC are lost"


def dumps(home: Path) -> list[Dump]:
    """Returns the dumps in a home, the newest first."""
    found: list[Dump] = []
    for path in (home / "dumps").glob("*.sql.gz"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            written = datetime.strptime(match[2], TIME).replace(tzinfo=UTC)
            found.append(Dump(path, int(match[1]), written))
    return sorted(found, key=lambda dump: (dump.written, dump.version), reverse=True)


def into_new_home(home: Path) -> str:
    """Returns the remedy for damaged data: the command that restores the newest dump into a new home."""
    new = home.with_name(f"{home.name}-restored")
    while new.exists():
        new = new.with_name(f"{new.name}-again")
    command = f"restore a dump into a new home: meltica db restore --home {shlex.quote(str(new))}"
    newest = next(iter(dumps(home)), None)
    if newest is None:
        return f"{command} FILE, with a dump of yours, because {home / 'dumps'} has none"
    return f"{command} {shlex.quote(str(newest.path))} ({newest.lost})"


def if_damaged(home: Path, reason: str) -> str:
    """Returns the remedy, after a semicolon, if a PostgreSQL message reports damaged files; else nothing."""
    if _DAMAGE.search(reason) is None:
        return ""
    return f"; if files of {home / 'data'} are damaged, {into_new_home(home)}"
