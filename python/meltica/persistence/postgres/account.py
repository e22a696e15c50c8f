"""Who runs the embedded server: whoever runs Meltica, but never root, which PostgreSQL refuses."""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meltica.errors import DatabaseUnavailable
from meltica.persistence.postgres import launch

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """A user of the system; `drops` when it is another than the one that runs Meltica, which then is root."""

    uid: int
    gid: int
    drops: bool

    @property
    def name(self) -> str:
        """The user's name."""
        return user(self.uid)

    def barrier(self, path: Path) -> Path | None:
        """Returns the first directory on the way to `path` that the account cannot enter, or None."""
        if not self.drops:
            return None
        for directory in reversed(path.resolve().parents):
            try:
                known = directory.stat()
            except FileNotFoundError:
                return None
            if known.st_uid == self.uid:
                bit = stat.S_IXUSR
            else:
                bit = stat.S_IXGRP if known.st_gid == self.gid else stat.S_IXOTH
            if not known.st_mode & bit:
                return directory
        return None

    def own(self, target: int | Path) -> None:
        """Gives a file or directory that root has just made to the account; never what a link leads to."""
        known = os.fstat(target) if isinstance(target, int) else target.lstat()
        if not self.drops or known.st_uid != 0:
            return
        if isinstance(target, int):
            os.fchown(target, self.uid, self.gid)
        else:
            os.lchown(target, self.uid, self.gid)

    def command(self, program: str, *arguments: str) -> list[str]:
        """Returns what starts a program as this account, bound to the life of the thread that starts it."""
        uid, gid = (self.uid, self.gid) if self.drops else (-1, -1)
        owner = [str(uid), str(gid), str(os.getpid())]
        return [sys.executable, "-I", "-S", launch.__file__, *owner, program, *arguments]

    def run(
        self, program: str, *arguments: str, cwd: Path, timeout: float, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program. Raises DatabaseUnavailable when it does not end within `timeout` seconds."""
        try:
            return subprocess.run(
                self.command(program, *arguments),
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=cwd,
                env=environment(),
                timeout=timeout,
                input=stdin,
            )
        except subprocess.TimeoutExpired:
            raise DatabaseUnavailable(f"{program} did not end within {timeout:g} s") from None


def server_account(data: Path) -> Account:
    """Returns who runs the server on a data directory: its owner, or for a new one `postgres`, else `nobody`.

    Raises DatabaseUnavailable when the directory belongs to somebody else, or root has nobody to turn into.
    """
    try:
        known = data.stat()
    except FileNotFoundError:
        known = None
    me = os.geteuid()
    if me != 0:
        if known is not None and known.st_uid != me:
            raise DatabaseUnavailable(
                f"{data}: expected a directory of user {user(me)}, it belongs to {user(known.st_uid)}; "
                "run Meltica as that user, or choose another directory with --home"
            )
        return Account(me, os.getegid(), drops=False)
    if known is not None:
        if known.st_uid == 0:
            raise DatabaseUnavailable(
                f"{data} belongs to root, which PostgreSQL refuses; give it to another user: "
                f"chown -R postgres {data}"
            )
        return Account(known.st_uid, known.st_gid, drops=True)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, drops=True)
    raise DatabaseUnavailable(
        f"PostgreSQL refuses to run as root, and there is no user {' or '.join(CANDIDATES)} to run it as; "
        "run Meltica as an ordinary user, or add one: useradd --system postgres"
    )


def user(uid: int) -> str:
    """Returns a user's name, or its number when it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def environment() -> dict[str, str]:
    """Returns the environment for PostgreSQL's programs: ours without what would steer them."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**known, "LC_ALL": "C"}


def complaint(output: str, marks: Sequence[str] = ("PANIC:", "FATAL:", "ERROR:", "error:", "HINT:")) -> str:
    """Returns the lines of a program's output that say what went wrong, in one line; else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    chosen = [line for line in lines if any(mark in line for mark in marks)]
    return "; ".join(chosen[-3:] or lines[-1:]) or "it said nothing"
