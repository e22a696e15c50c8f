"""A gateway process whose disk or memory is almost used up."""

import resource
from pathlib import Path
from typing import Any

from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, Gateway, project
from tests.support.small_disk import fill, small_disk

MIB = 1 << 20


def faults(gateway: Gateway) -> dict[str, Any]:
    """Returns the faults of a gateway that is not ready."""
    status, body = gateway.get("/health/ready")
    return body["faults"] if status == 503 else {}


def shortage(gateway: Gateway, name: str) -> bool:
    return list(faults(gateway)) == [name]


def test_a_nearly_full_disk_is_a_fault_before_postgres_fails() -> None:
    with project() as created, small_disk(created.folder / "disk", "500m") as disk:
        created.home = disk / "pg"
        with created.serving("--set", "resources.checkInterval=100ms") as gateway:
            gateway.wait_ready()
            server = gateway.postgres()
            fill(disk / "ballast", leave=200 * MIB)
            assert wait_until(lambda: shortage(gateway, "data disk"), PATIENCE), faults(gateway)
            text = faults(gateway)["data disk"]
            assert text.startswith("is almost full: ")
            assert f" of 500.0 MiB are free in {disk}/pg; free disk space" in text
            assert gateway.postgres() == server
            assert created.states(), "the database answers"
            (disk / "ballast").unlink()
            gateway.wait_ready()
        messages = [line["message"] for line in gateway.lines()]
        assert sum("is almost full: " in message for message in messages) == 1
        assert "data disk: the shortage has ended" in messages


def test_memory_near_the_limit_of_the_process_is_a_fault(database_url: str) -> None:
    arguments = ("--set", "resources.checkInterval=100ms")
    with project() as created, created.serving(*arguments, database=database_url) as gateway:
        gateway.wait_ready()
        pid = gateway.process.pid
        used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.prlimit(pid, resource.RLIMIT_AS, (used + 32 * MIB, -1))
        assert wait_until(lambda: shortage(gateway, "memory"), PATIENCE), faults(gateway)
        text = faults(gateway)["memory"]
        assert "below the limit of the address space (ulimit -v), " in text
        assert text.endswith("; raise the limit, or lower pools.maxBytes")
        resource.prlimit(pid, resource.RLIMIT_AS, before)
        gateway.wait_ready()
