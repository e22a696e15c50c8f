"""Recordings on disk: found, opened, recognised, and refused with one clear line."""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.adapters.replay.events import Pacer, parse
from meltica.adapters.replay.files import Recording, find, identify
from meltica.errors import ReplayError

LINES = b"".join(b'%d {"n":%d}\n' % (1000 + i, i) for i in range(20_000))


EVENT = b'{"provider":"fake","symbol":"A-B","type":"Trade","ingestTs":"2025-01-01T00:00:00Z"}'
"""As much as tells a recorded event from a frame without a time."""


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def content(recording: Recording) -> bytes:
    out = io.BytesIO()
    try:
        while chunk := recording.read(10_000):
            out.write(chunk)
    finally:
        recording.close()
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.gz", "a.txt"])
@pytest.mark.parametrize("packed", [True, False])
def test_gzip_is_identified_by_content(tmp_path: Path, name: str, packed: bool) -> None:
    recording = Recording(write(tmp_path / name, gzip.compress(LINES) if packed else LINES))
    assert recording.form == "frames"
    assert content(recording) == LINES


def test_lines_are_whole_however_they_are_read(tmp_path: Path) -> None:
    recording = Recording(write(tmp_path / "a", EVENT + b'\r\n\n  \n{"b":2}'))
    assert recording.form == "events"
    assert list(recording.lines()) == [(1, EVENT), (4, b'{"b":2}')]
    recording.close()


def test_a_long_line_is_cut_and_the_next_ones_are_whole(tmp_path: Path) -> None:
    long = EVENT + b"x" * 500_000
    recording = Recording(write(tmp_path / "a", b"\n".join([long, b"b", long, b"c"])))
    assert [(n, len(line)) for n, line in recording.lines(1000)] == [(1, 1001), (2, 1), (3, 1001), (4, 1)]
    recording.close()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (bz2.compress(LINES), "bzip2"),
        (lzma.compress(LINES), "xz"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "zstd"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_another_compression_is_named(tmp_path: Path, content: bytes, name: str) -> None:
    with pytest.raises(ReplayError, match=f"it is compressed by {name}; decompress it, or use gzip"):
        Recording(write(tmp_path / "a", content))


def test_a_truncated_gzip_is_read_up_to_its_end(tmp_path: Path) -> None:
    packed = gzip.compress(LINES)
    recording = Recording(write(tmp_path / "a.gz", packed[: len(packed) // 2]))
    seen = b""
    with pytest.raises(ReplayError, match="truncated"):
        while True:
            seen += recording.read(4096)
    assert LINES.startswith(seen)
    assert len(seen) > len(LINES) // 4
    recording.close()


def test_a_damaged_gzip_is_reported(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(LINES))
    packed[-6] ^= 0xFF  # the checksum
    with pytest.raises(ReplayError, match="is damaged"):
        content(Recording(write(tmp_path / "a.gz", bytes(packed))))


@given(at=st.integers(0, 10**9), bit=st.integers(0, 7), few=st.booleans())
def test_good_lines_before_any_damage_are_read(at: int, bit: int, few: bool) -> None:
    """Whatever byte is wrong, what comes before it in the file is read, and the damage is an error."""
    lines = LINES[:200] if few else LINES
    packed = bytearray(gzip.compress(lines, mtime=0))
    # The first ten bytes are the header, of which some have no meaning.
    place = 10 + at % (len(packed) - 10)
    packed[place] ^= 1 << bit
    expected = zlib.decompressobj(31).decompress(packed[:place])
    recording = Recording(Path("x"), bytes(packed)) if b"\n" in expected else None
    if recording is None:
        return
    seen = b""
    with pytest.raises(ReplayError, match=r"damaged|truncated"):
        while chunk := recording.read(10_000):
            seen += chunk
    assert seen.startswith(expected)


@pytest.mark.parametrize(
    "rest", [b"garbage", b"\x1f", b"\x00\x00x", gzip.compress(b"5 {}\n", mtime=0)[:-3], LINES[:20]]
)
def test_what_follows_a_gzip_loses_no_line(rest: bytes) -> None:
    recording = Recording(Path("x"), gzip.compress(LINES[:100]) + rest)
    seen = b""
    with pytest.raises(ReplayError, match=r"damaged|truncated"):
        while chunk := recording.read(30):
            seen += chunk
    assert seen.startswith(LINES[:100])


def test_members_and_padding_are_one_file() -> None:
    packed = gzip.compress(LINES) + gzip.compress(LINES) + b"\0" * 200_000
    assert content(Recording(Path("x"), packed)) == LINES + LINES


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (b"1 {}", "frames"),
        (b"1.5: {}", "frames"),
        (b'{"e":"trade"}', "frames"),
        (b"[1,2]", "frames"),
        (EVENT, "events"),
    ],
)
def test_the_form_follows_from_the_first_line(line: bytes, form: str) -> None:
    recording = Recording(Path("x"), line)
    assert recording.form == form
    recording.close()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "saw an empty file"),
        (b"\n \n", "saw an empty file"),
        (gzip.compress(b"", mtime=0), "saw an empty file"),
        (b"hello world\n", "expected lines of `<receive ns> <frame>`"),
        (b"\x1f\x8bnot gzip at all", "damaged"),
        (b"\x89PNG\r\n", "expected lines of"),
    ],
)
def test_a_file_that_is_not_a_recording_is_refused(tmp_path: Path, data: bytes, text: str) -> None:
    with pytest.raises(ReplayError) as caught:
        Recording(write(tmp_path / "x", data))
    assert text in str(caught.value)
    assert str(tmp_path / "x") in str(caught.value)


def test_paths_are_files_directories_and_globs(tmp_path: Path) -> None:
    names = [write(tmp_path / name, LINES) for name in ("b.log", "a.log", "c.txt")]
    write(tmp_path / ".hidden", b"x")
    assert find([tmp_path]) == sorted(names)
    assert find([tmp_path / "*.log"]) == sorted(names[:2])
    assert find([names[0], names[1], names[0]]) == names[:2]


def test_every_path_without_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReplayError) as caught:
        find([tmp_path / "no", tmp_path / "empty", tmp_path / "*.log"])
    for part in ("/no: expected a file", "/empty: expected recordings", "*.log: expected a file"):
        assert part in str(caught.value)


def test_frames_and_events_do_not_mix(tmp_path: Path) -> None:
    write(tmp_path / "a", LINES)
    write(tmp_path / "b", EVENT)
    with pytest.raises(ReplayError, match="expected all frames or all events"):
        identify([tmp_path])


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b'{"type":"Trad"}', b'{"type":"Trade","payload":3}'])
def test_a_line_that_is_not_an_event_is_named(line: bytes) -> None:
    with pytest.raises(ReplayError, match=r"^x\.jsonl, line 7: not a recorded event: "):
        parse(line, Path("x.jsonl"), 7)


def test_the_pacer_follows_the_recorded_time() -> None:
    clock = [0]
    pacer = Pacer(2.0, lambda: clock[0])
    assert pacer.wait_for(1_000_000_000) == 0
    assert pacer.wait_for(3_000_000_000) == pytest.approx(1.0)
    clock[0] = 1_500_000_000
    assert pacer.wait_for(3_000_000_000) == 0
    assert Pacer(None).wait_for(5) == 0
