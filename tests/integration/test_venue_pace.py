"""A venue whose market cannot keep pace responds, logs that it lags, and stops on a signal."""

from pathlib import Path

from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE
from tests.support.venues import serving

CONFIG = """
market: {speed: 1000000, symbols: [BTC-USDT, ETH-USDT], trade_interval: 5ms}
"""


def test_a_market_that_falls_behind_logs_it(tmp_path: Path) -> None:
    with serving(tmp_path, config=CONFIG) as venue:
        assert wait_until(lambda: "cannot keep its pace" in venue.log.read_text(), PATIENCE)
        first = venue.get("/v1/time")["marketTime"]
        assert wait_until(lambda: venue.get("/v1/time")["marketTime"] > first, PATIENCE)
        venue.process.terminate()
        assert venue.ended() == 0
