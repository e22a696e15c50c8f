"""The processors of the process, and the default of `hosts.spin` that follows from them."""

import os
from datetime import timedelta
from pathlib import Path

from meltica.gateway.processors import SPIN, default_spin, processors


def machine(folder: Path, quotas: dict[str, str]) -> tuple[Path, Path]:
    """Writes the files of a process in the group /outer/inner, whose groups have `quotas`."""
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text("0::/outer/inner\n")
    (cgroups / "outer" / "inner").mkdir(parents=True)
    for group, quota in quotas.items():
        (cgroups / group / "cpu.max").write_text(quota)
    return proc, cgroups


def test_the_tightest_quota_of_all_groups_limits_the_processors(tmp_path: Path) -> None:
    own = len(os.sched_getaffinity(0))
    quotas = {"outer/inner": "max 100000\n", "outer": "50000 100000\n", ".": "80000 100000\n"}
    assert processors(*machine(tmp_path / "limited", quotas)) == 0.5
    assert processors(*machine(tmp_path / "free", {"outer": "max 100000\n"})) == own
    assert processors(*machine(tmp_path / "wide", {"outer": "99900000 100000\n"})) == own
    assert processors(*machine(tmp_path / "damaged", {"outer": "much\n"})) == own
    assert processors(tmp_path / "missing", tmp_path) == own


def test_the_affinity_limits_the_processors(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert processors(*machine(tmp_path, {})) == 1
    finally:
        os.sched_setaffinity(0, before)


def test_hosts_spin_only_with_more_than_two_processors() -> None:
    assert [default_spin(count) for count in (0.5, 1, 2, 2.5, 64)] == [timedelta()] * 3 + [SPIN] * 2
