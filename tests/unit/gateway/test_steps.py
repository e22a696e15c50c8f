import pytest

from meltica.gateway.steps import ShutdownStep, _reserves  # pyright: ignore[reportPrivateUsage]


async def stop() -> None: ...


@pytest.mark.parametrize("timeout", [0.5, 5.0, 15.0, 60.0])
@pytest.mark.parametrize("shares", [[1.0], [3.0, 0.1, 0.5], [1.0] * 40, [0.1, 100.0, 0.1]])
def test_each_step_keeps_its_share_of_a_stop(shares: list[float], timeout: float) -> None:
    steps = [ShutdownStep("step", stop, share) for share in shares]
    reserves = _reserves(steps, timeout)
    scale = min(1.0, timeout / sum(shares))
    left = timeout
    for share, reserved in reversed(list(zip(shares, reserves, strict=True))):
        # The steps stopped before this one took all they had.
        assert left - reserved >= share * scale - 1e-9
        left = reserved
    assert left == 0
