"""A gateway for the tests of the control plane, and the lock of one for those of trading."""

from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.trading import desk, state_machine
from tests.support import gateway, venue
from tests.support.provider_world import policy, script, world

__all__ = ["policy", "script", "world"]

CONFIG = """
environment: ci
log: {file: gateway.log}
supervision:
  backoff: {min: 10ms, max: 20ms}
  budget: {restarts: 1}
providers:
  demo:
    adapter: replay
    settings: {sample: true, speed: 1, loop: true}
  main:
    adapter: test-venue
    settings: {api_key: hunter2, region: "${TEST_REGION}"}
  refusing:
    adapter: test-venue
    enabled: false
    settings: {refuses: true}
  spare:
    adapter: test-venue
    enabled: false
    risk: {maxOrderSize: "2.50", maxFeedLag: 500ms}
lambdas:
  - id: large-trades
    strategy: large-trades
    config: {notional: 1}
    scope: {demo: "*"}
  - id: watcher
    strategy: strategies.py:Watcher
    config: {token: hunter2, threshold: 3}
    scope: {main: [BTC-USDT, ETH-USDT], spare: [BTC-USDT]}
    host: shared
  - id: unloaded
    strategy: strategies.py:Unloaded
    scope: {main: [BTC-USDT]}
    enabled: false
    risk: {maxDailyLoss: 100, maxDrawdownPercent: 2.5, capital: 1000}
  - id: slow
    strategy: strategies.py:Slow
    scope: {main: [BTC-USDT]}
    enabled: false
  - id: slowly
    strategy: strategies.py:Slowly
    scope: {main: [BTC-USDT, ETH-USDT]}
    bufferSize: 1
  - id: failing
    strategy: strategies.py:Failing
    scope: {main: [BTC-USDT]}
    enabled: false
"""

STRATEGIES = '''
import meltica
from tests.support import venue


class Watcher(meltica.Lambda):
    """Watches trades.

    And this is not shown.
    """

    version = "1.2.0"

    class Config(meltica.LambdaConfig):
        threshold: int
        """From when it matters."""
        token: str = "none"
        note: str | None = None

    def on_trade(self, trade):
        if trade.price < self.config.threshold:
            raise ValueError("too low")
        self.emit("seen", {})


class Unloaded(meltica.Lambda):
    def on_trade(self, trade):
        pass


class Slow(meltica.Lambda):
    def on_start(self):
        venue.GATE.wait(30)

    def on_trade(self, trade):
        pass


class Slowly(meltica.Lambda):
    needs = {"Ticker"}

    def on_trade(self, trade):
        venue.GATE.wait(30)

    def on_book_snapshot(self, book):
        pass


class Failing(meltica.Lambda):
    def on_start(self):
        raise RuntimeError("no luck")

    def on_trade(self, trade):
        pass
'''


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A config file with two adapters and several lambdas, valid and invalid ones."""
    folder = tmp_path_factory.mktemp("control")
    (folder / "meltica.yaml").write_text(CONFIG)
    (folder / "strategies.py").write_text(STRATEGIES)
    with venue.installed(folder):
        yield folder / "meltica.yaml"


@pytest.fixture(scope="module")
def control(config: Path, cluster: EmbeddedPostgres) -> Generator[gateway.Running]:
    """A gateway that is shared by the tests of a module."""
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        yield running


@pytest.fixture(name="lock")
async def _lock(database_url: str) -> AsyncGenerator[GatewayLock]:
    """The lock of a gateway, held."""
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    yield lock
    await lock.release()


@pytest.fixture(autouse=True)
def _orders_may_leave_late(request: pytest.FixtureRequest) -> Generator[None]:
    """Raises the age up to which orders leave, because a busy machine delays them; see `max_age`."""
    with pytest.MonkeyPatch.context() as patch:
        if "max_age" not in request.fixturenames:
            for module in (desk, state_machine):
                patch.setattr(module, "MAX_AGE", 100 * 10**9)
        yield


@pytest.fixture(name="max_age")
def _max_age() -> int:
    """The age up to which orders leave, in nanoseconds, for tests of what is too late."""
    return state_machine.MAX_AGE
