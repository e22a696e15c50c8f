"""Samples of file descriptors, disks and memory, and the faults that they are."""

import errno
import os
import resource
import sys
from pathlib import Path

import pytest

from meltica.gateway import memory as module
from meltica.gateway.memory import Memory, memory
from meltica.gateway.resources import DATA_DISK, LOG_DISK, NAMES, Disk, ResourceWatch, Sample
from meltica.settings.model import ResourcesSettings
from tests.support.paths import ROOT
from tests.support.small_disk import fill, small_disk

MIB = 1 << 20
MEMINFO = (
    "MemTotal:       4096 kB\nMemFree:         10 kB\nMemAvailable:   2048 kB\nHugePages_Total:       0\n"
)


def watch(data: Path | None = None, log: Path | None = None, **limits: int) -> ResourceWatch:
    settings = {"min_free_descriptors": 0, "min_free_disk": 0, "min_free_memory": 0, **limits}
    return ResourceWatch(ResourcesSettings.model_validate(settings, by_name=True), data, log)


def test_each_shortage_is_a_fault_with_numbers_and_a_remedy() -> None:
    disk = Disk(Path("/data"), MIB, 4 * MIB)
    sample = Sample((3, 1024), Memory(MIB // 2, 2 * MIB, "the cgroup"), {DATA_DISK: disk, LOG_DISK: disk})
    faults = dict(sample.faults(ResourcesSettings()))
    assert faults == {
        "file descriptors": "are almost used up: 3 of 1,024 are free; raise the limit (ulimit -n)",
        "memory": "is almost used up: 0.5 MiB are free below the limit of the cgroup, 2.0 MiB;"
        " raise the limit, or lower pools.maxBytes",
        "data disk": "is almost full: 1.0 MiB of 4.0 MiB are free in /data;"
        " free disk space, or PostgreSQL and the log will fail",
        "log disk": "is almost full: 1.0 MiB of 4.0 MiB are free in /data;"
        " free disk space, or PostgreSQL and the log will fail",
    }
    page = (ROOT / "docs" / "gateway.md").read_text()
    assert all(f"| `{name}` |" in page for name in NAMES)
    assert dict(sample.faults(watch()._limits)) == {}  # pyright: ignore[reportPrivateUsage]
    assert dict(Sample().faults(ResourcesSettings())) == {}, "what cannot be read is not a fault"


def test_the_switch_interval_is_restored(caplog: pytest.LogCaptureFixture) -> None:
    before = sys.getswitchinterval()
    watched = ResourceWatch(watch()._limits, None, None, 0.0005)  # pyright: ignore[reportPrivateUsage]
    try:
        sys.setswitchinterval(0.0005)
        watched.check()
        assert caplog.messages == []
        sys.setswitchinterval(5)
        watched.check()
        assert sys.getswitchinterval() == 0.0005
    finally:
        sys.setswitchinterval(before)
    assert caplog.messages == [
        "code of a lambda or a library set the switch interval to 5 s; restored to 0.0005 s"
    ]


def test_a_full_disk_is_reported_until_it_has_space(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(tmp_path / "disk", "4m") as folder:
        watched = watch(log=folder, min_free_disk=MIB)
        watched.check()
        assert watched.faults == {}
        fill(folder / "ballast", leave=MIB // 2)
        for _ in range(3):
            watched.check()
            assert list(watched.faults) == [LOG_DISK]
        (folder / "ballast").unlink()
        watched.check()
        assert watched.faults == {}
    (first, second) = caplog.messages
    assert first.startswith(f"log disk is almost full: 0.5 MiB of 4.0 MiB are free in {folder}; ")
    assert second == "log disk: the shortage has ended"


def test_the_descriptors_of_this_process() -> None:
    watched = watch(min_free_descriptors=50)
    watched.check()
    before = watched.sample.descriptors
    assert before is not None
    assert watched.faults == {}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(10))
        watched.check()
        assert watched.sample.descriptors == (before[0] - 10, soft)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened) + 1, hard))
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        assert error.errno == errno.EMFILE
        watched.check()
        assert watched.sample.descriptors is not None
        assert watched.sample.descriptors[0] == 0
        assert watched.sample.memory is not None, "the last reading"
        assert "are almost used up: 0 of " in watched.faults["file descriptors"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in opened:
            os.close(descriptor)


def test_memory_is_that_of_the_tightest_limit(tmp_path: Path) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    group = root / "a" / "b"
    group.mkdir(parents=True)
    assert memory(proc, root) is None
    (proc / "meminfo").write_text(MEMINFO)
    assert memory(proc, root) == Memory(2 * MIB, 4 * MIB, "the machine")
    (proc / "self" / "cgroup").write_text("4:memory:/x\n0::/a/b\n")
    for folder, limit, used in ((group, "max", 0), (root / "a", str(3 * MIB), 5 * MIB // 2)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {MIB}\n")
    assert memory(proc, root) == Memory(3 * MIB // 2, 3 * MIB, "the cgroup")


def test_a_limit_of_the_address_space_counts() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * module.PAGE
    limit = used + 64 * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        found = memory()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert found is not None
    assert (found.limit, found.source) == (limit, "the address space (ulimit -v)")
    assert 32 * MIB < found.free <= 64 * MIB
