"""The log file: rotation, reopening, and faults of the disk."""

from pathlib import Path

import pytest

from meltica.telemetry.log_file import RETRY_SECONDS, LogFile
from tests.support.small_disk import fill, small_disk

LINE = "x" * 99 + "\n"


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def log_file(path: Path, size: int = 1000, count: int = 3) -> tuple[LogFile, list[str], Clock]:
    """Returns a log file, the lines of its fallback, and its clock."""
    clock = Clock()
    file = LogFile(path, size, count, clock)
    lines: list[str] = []
    file.fallback = lines.append
    file.wake = lambda action: action()
    return file, lines, clock


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rotation_keeps_the_latest_lines_in_a_number_of_files(tmp_path: Path, count: int) -> None:
    file, fallback, _ = log_file(tmp_path / "log", count=count)
    for number in range(65):
        file.write(f"{number:099}\n")
    file.close()
    names = ["log", *(f"log.{number}" for number in range(1, count))]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == names
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)
    lines = [int(line) for name in reversed(names) for line in (tmp_path / name).read_text().splitlines()]
    assert lines == list(range(60 - 10 * (count - 1), 65))
    assert fallback == []


def test_a_restart_appends(tmp_path: Path) -> None:
    for _ in range(2):
        file, _, _ = log_file(tmp_path / "log")
        file.write("line\n")
        file.close()
    assert (tmp_path / "log").read_text() == "line\n" * 2


def test_a_line_longer_than_the_file_is_written(tmp_path: Path) -> None:
    file, fallback, _ = log_file(tmp_path / "log", size=10)
    file.write(LINE)
    file.write(LINE)
    assert (tmp_path / "log").read_text() == (tmp_path / "log.1").read_text() == LINE
    assert fallback == []


def test_reopening_follows_a_moved_file(tmp_path: Path) -> None:
    file, fallback, _ = log_file(tmp_path / "log")
    file.write("before\n")
    (tmp_path / "log").rename(tmp_path / "moved")
    file.write("still\n")
    file.reopen()
    assert (tmp_path / "log").exists(), "the file is there before the next line"
    file.write("after\n")
    assert (tmp_path / "moved").read_text() == "before\nstill\n"
    assert (tmp_path / "log").read_text() == "after\n"
    assert fallback == []


def test_a_file_that_cannot_be_opened_is_reported_once_and_retried(tmp_path: Path) -> None:
    file, fallback, clock = log_file(tmp_path / "later" / "log")
    for _ in range(3):
        clock.now += RETRY_SECONDS
        file.write(LINE)
    (tmp_path / "later").mkdir()
    file.write(LINE)
    clock.now += RETRY_SECONDS
    file.write("written\n")
    first, *lines, last = fallback
    assert first == (
        f"the log file {tmp_path}/later/log cannot be written: No such file or directory;"
        " lines go to stderr in the meantime\n"
    )
    assert lines == [LINE] * 4
    assert last == f"the log is written to {tmp_path}/later/log again\n"
    assert (tmp_path / "later" / "log").read_text() == "written\n"


def test_a_full_disk_leaves_whole_lines_and_is_reported_once(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        file, fallback, clock = log_file(disk / "log", size=1 << 20)
        file.write(LINE)
        fill(disk / "ballast")
        for number in range(100):
            clock.now = number * RETRY_SECONDS
            file.write(LINE)
        assert set((disk / "log").read_text().splitlines(keepends=True)) == {LINE}
        assert fallback.count(LINE) > 50
        assert len(fallback) == fallback.count(LINE) + 1
        assert "cannot be written: " in fallback[0]
        (disk / "ballast").unlink()
        clock.now += RETRY_SECONDS
        file.write("again\n")
        assert fallback[-1].endswith(" again\n")
        assert (disk / "log").read_text().endswith("again\n")
        file.close()
