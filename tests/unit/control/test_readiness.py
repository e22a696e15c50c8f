"""The readiness check: shared by concurrent requests, and bounded in time."""

import asyncio

import pytest

from meltica.control import readiness
from meltica.control.readiness import NotReady, ReadinessCheck


async def test_concurrent_requests_share_one_check() -> None:
    release, started = asyncio.Event(), 0

    async def find_faults() -> dict[str, str]:
        nonlocal started
        started += 1
        await release.wait()
        return {"lock": "is not held"}

    check = ReadinessCheck(find_faults)
    requests = [asyncio.ensure_future(check.faults()) for _ in range(3)]
    await asyncio.sleep(0)
    release.set()
    assert await asyncio.gather(*requests) == [{"lock": "is not held"}] * 3
    assert started == 1
    await check.faults()
    assert started == 2


async def test_a_request_gets_the_result_of_its_own_check() -> None:
    later: list[asyncio.Future[dict[str, str]]] = []

    async def find_faults() -> dict[str, str]:
        await asyncio.sleep(0)
        if later:
            return {}
        # The next request begins after this check has ended, and before its request continues.
        later.append(asyncio.ensure_future(check.faults()))
        return {"lock": "is not held"}

    check = ReadinessCheck(find_faults)
    assert await check.faults() == {"lock": "is not held"}
    assert await later[0] == {}


async def test_a_check_that_hangs_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.01)
    release = asyncio.Event()

    async def find_faults() -> dict[str, str]:
        await release.wait()
        return {}

    check = ReadinessCheck(find_faults)
    assert await check.faults() == {"gateway": "did not report its state within 0.01 s"}
    release.set()
    monkeypatch.setattr(readiness, "READY_SECONDS", 10.0)
    assert await check.faults() == {}


def test_the_error_names_every_part() -> None:
    error = NotReady({"lock": "is not held", "database": "does not answer"})
    assert (error.status, error.code) == (503, "not_ready")
    assert str(error) == "lock is not held; database does not answer"
