"""Finds recordings, opens them plain or compressed, and identifies their form by their content."""

import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from meltica.adapters.replay.gzip_file import MAGIC, Gzip
from meltica.errors import ReplayError

Form = Literal["frames", "events"]

_FRAME = re.compile(rb"\d{1,19}( |\.\d+: )|[{\[]")
_EVENT = tuple(re.compile(rb'"%s"\s*:' % key) for key in (b"provider", b"ingestTs"))
"""The keys that tell a recorded event from a frame without a receive time."""
_HEAD = 4096
MOST_BYTES = 64 << 20
"""Bytes of a line that `Recording.lines` keeps."""
_COMPRESSIONS = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}
"""Beginnings of files that have to be decompressed before."""


def find(paths: Iterable[Path]) -> list[Path]:
    """Returns the files of `paths`, which are files, directories or globs, each sorted by name.

    Raises ReplayError with every path that matches no file.
    """
    files: list[Path] = []
    faults: list[str] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
            fault = "expected recordings, saw an empty directory"
        elif path.exists():
            found, fault = [path], ""
        else:
            found = _matching(path)
            fault = "expected a file, a directory or a glob, saw nothing that matches"
        files.extend(found)
        if not found:
            faults.append(f"{path}: {fault}")
    if faults:
        raise ReplayError("; ".join(faults))
    return list(dict.fromkeys(files))


def _matching(pattern: Path) -> list[Path]:
    names = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))) if pattern.name else ()
    return sorted(name for name in names if name.is_file())


class Recording:
    """An open recording, from a file or from memory. `read` decompresses it; failures are ReplayErrors."""

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Opens a file, or `content` in place of the file."""
        self.path = path
        try:
            self._raw: BinaryIO = path.open("rb") if content is None else io.BytesIO(content)
            self.size = path.stat().st_size if content is None else len(content)
            magic = self._raw.read(2)
            self._raw.seek(0)
        except OSError as error:
            raise ReplayError(f"{path}: cannot be opened: {error.strerror}") from error
        self._file = Gzip(self._raw, str(path)) if magic == MAGIC else self._raw
        self._head = b""
        try:
            self.form: Form = self._sniff()
        except ReplayError:
            self.close()
            raise

    @property
    def position(self) -> int:
        """The bytes read so far, on disk."""
        return 0 if self._raw.closed else self._raw.tell()

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes, none at the end. Raises ReplayError when the file is damaged."""
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        try:
            return self._file.read(size)
        except OSError as error:
            raise ReplayError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def lines(self, most: int = MOST_BYTES) -> Iterator[tuple[int, bytes]]:
        """Yields the number and the content of each line that is not blank, without line ends.

        Of a line longer than `most` bytes, the first `most + 1` are yielded.
        """
        number, rest = 1, bytearray()
        while chunk := self.read(1 << 16):
            first, *others = chunk.split(b"\n")
            rest += first[: most + 1 - len(rest)]
            for each in others:
                if line := rest.strip():
                    yield number, bytes(line)
                number, rest = number + 1, bytearray(each[: most + 1])
        if line := rest.strip():
            yield number, bytes(line)

    def close(self) -> None:
        """Closes the file."""
        self._raw.close()

    def _sniff(self) -> Form:
        head = b""
        try:
            while len(head.lstrip()) < _HEAD and (chunk := self.read(_HEAD)):
                head += chunk
        except ReplayError:
            # The lines before the damage are replayed; the next read raises again.
            if not head.strip():
                raise
        self._head = head
        start = head.lstrip()
        if not start:
            raise ReplayError(f"{self.path}: expected a recording, saw an empty file")
        if start.startswith(b"{") and all(key.search(start) for key in _EVENT):
            return "events"
        if _FRAME.match(start):
            return "frames"
        for magic, name in _COMPRESSIONS.items():
            if head.startswith(magic):
                raise ReplayError(
                    f"{self.path}: cannot be read: it is compressed by {name}; decompress it, or use gzip"
                )
        first = start.split(b"\n", 1)[0][:60].decode("utf-8", "backslashreplace")
        raise ReplayError(
            f"{self.path}: expected lines of `<receive ns> <frame>`, frames or events as JSON, saw {first!r}"
        )


def identify(paths: Iterable[Path]) -> tuple[list[Path], Form]:
    """Returns the files of `paths` and their common form. Raises ReplayError."""
    files = find(paths)
    forms: dict[Form, Path] = {}
    for path in files:
        recording = Recording(path)
        recording.close()
        forms[recording.form] = path
    if len(forms) > 1:
        frames, events = forms["frames"], forms["events"]
        raise ReplayError(f"expected all frames or all events, saw frames in {frames} and events in {events}")
    return files, next(iter(forms))
