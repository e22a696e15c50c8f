"""Names the process that listens on a port, from /proc; a system without it names none."""

import contextlib
import re
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import takewhile
from pathlib import Path

PROC = Path("/proc")
SHOWN = 120
"""Maximum length of a command line in a message, in characters."""

_LISTENING = "0A"
_OPTION = re.compile(r"^-|=|://")


def port_holder(host: str, port: int) -> str | None:
    """Returns the processes that listen where `host`:`port` would, such as `process 4711 (python x.py)`.

    Names the user if the processes are those of another one, whose files cannot be read. Returns None if the
    system does not show who listens.
    """
    try:
        users = dict(_listeners(host, port))
        if not users:
            return None
        found = [_shown(process) for process in _processes(set(users))]
    except OSError:
        return None
    return " and ".join(found) or f"a process of user {_user(min(users.values()))}"


def _listeners(host: str, port: int) -> Iterator[tuple[str, int]]:
    """Yields inode and user id of each socket that listens on a port, at an address or at all of them."""
    wanted = {address[4][0] for address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    for table in ("tcp", "tcp6"):
        path = PROC / "net" / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            address, _, number = fields[1].partition(":")
            at = _address(address)
            if (
                fields[3] == _LISTENING
                and int(number, 16) == port
                and (at in wanted or at in ("0.0.0.0", "::"))
            ):
                yield fields[9], int(fields[7])


def _address(text: str) -> str:
    """Returns an address of the table, whose 32-bit words are in the byte order of the machine."""
    raw = bytes.fromhex(text)
    words = [raw[i : i + 4] for i in range(0, len(raw), 4)]
    address = ip_address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _processes(inodes: set[str]) -> Iterator[int]:
    """Yields the processes that have one of some sockets."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for folder in sorted(PROC.glob("[0-9]*"), key=lambda folder: int(folder.name)):
        # A process may end, or close a file, at any time; those of other users cannot be read.
        with contextlib.suppress(OSError):
            if any(_target(link) in wanted for link in (folder / "fd").iterdir()):
                yield int(folder.name)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def _shown(process: int) -> str:
    try:
        words = (PROC / str(process) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {process}"
    # Options may have secrets as values.
    command = takewhile(lambda word: word == "-m" or not _OPTION.search(word), words)
    # Printable: a command line may contain anything, also line breaks.
    text = "".join(char if char.isprintable() else "?" for char in " ".join(command).strip())
    return f"process {process} ({text[:SHOWN]}{'...' if len(text) > SHOWN else ''})"


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
