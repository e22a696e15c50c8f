"""Reads gzip files up to their damage: every byte that can be decompressed comes before the error."""

import contextlib
import zlib
from collections.abc import Callable
from typing import BinaryIO

from meltica.errors import ReplayError

MAGIC = b"\x1f\x8b"
_BLOCK = 1 << 16


class Gzip:
    """A gzip file of one or several members."""

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self._raw = raw
        self._name = name
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._saved = (self._member, b"", 0)
        """The member before the latest block, the block, and how many bytes were decompressed since."""
        self._input = b""
        self._output = b""
        self._fault: str | None = None

    def read(self, size: int, /) -> bytes:
        """Returns at most `size` bytes, none at the end. Raises ReplayError at the damage."""
        while not self._output and self._step(size):
            pass
        part, self._output = self._output[:size], self._output[size:]
        if not part and self._fault is not None:
            raise ReplayError(f"{self._name}: {self._fault}; everything before was replayed")
        return part

    def _step(self, size: int) -> bool:
        """Decompresses at most `size` bytes of the file; False at its end or damage."""
        if self._fault is not None:
            return False
        data, self._input = self._input, b""
        is_new = not data
        if is_new and not (data := self._raw.read(_BLOCK)):
            if not self._member.eof:
                self._fault = "the compressed file is truncated"
            return False
        if self._member.eof:
            # Zeros may follow a member, to fill a block of the medium.
            data = data.lstrip(b"\0")
            if not data:
                return True
            if len(data) < len(MAGIC):
                data += self._raw.read(len(MAGIC))
            if not data.startswith(MAGIC):
                self._fault = "the compressed file is damaged: other data follows its end"
                return False
            self._member, is_new = zlib.decompressobj(zlib.MAX_WBITS | 16), True
        if is_new:
            self._saved = (self._member.copy(), data, 0)
        member, block, count = self._saved
        try:
            self._output = self._member.decompress(data, size)
            self._input = self._member.unconsumed_tail or self._member.unused_data
            self._saved = (member, block, count + len(self._output))
        except zlib.error as error:
            self._output = _salvage(member.decompress, block)[count:]
            self._fault = f"the compressed file is damaged: {error}"
        return True


def _salvage(decompress: Callable[[bytes], bytes], damaged: bytes) -> bytes:
    """Returns what can be decompressed before the damage, byte by byte."""
    output = bytearray()
    with contextlib.suppress(zlib.error):
        for at in range(len(damaged)):
            output += decompress(damaged[at : at + 1])
    return bytes(output)
