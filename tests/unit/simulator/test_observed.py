"""The market in this process is observed like a venue: its steps are in the histogram of the dispatch."""

from typing import Any

from meltica import _core
from meltica.simulator.settings import MarketSettings

SETTINGS: dict[str, Any] = {"symbols": ["BTC-USDT"], "start": "2026-01-01T00:00:00Z"}


def test_the_steps_of_a_market_are_in_the_histogram_of_its_provider() -> None:
    core = _core.Core()
    producer, host = core.producer("fake"), core.host("thread")
    values = MarketSettings.model_validate(SETTINGS)
    listings = values.listings(_core.SyntheticMarket.TAKERS)
    market = _core.SyntheticMarket(producer, values.options(), listings, {"main": values.funds()})
    market.advance(market.now + 10**10)
    assert core.histograms()["fake"][2] == 0, "nothing was dispatched"
    instance = host.add("a", callbacks={"Trade": lambda _: None}, routes=[("fake", "Trade", "BTC-USDT")])
    instance.start()
    market.advance(market.now + 10**11)
    producer.drain()
    counts, total, number = core.histograms()["fake"]
    assert 0 < number <= instance.stats()["delivered"]["Trade"]
    assert total > 0
    assert counts[-1] == number
    assert host.stop()
