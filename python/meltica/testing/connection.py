"""Tests of connections: lost, restored, never established."""

import threading
import time

import pytest

from meltica.errors import VenueUnavailable
from meltica.testing.rig import Rig
from meltica.testing.stage import Stage


class ConnectionContract:
    """The contract of an adapter whose venue disconnects."""

    def test_subscriptions_are_restored_after_a_disconnect(self, stage: Stage) -> None:
        first, second = stage.symbols[:2]
        with Rig(stage.adapter()) as rig:
            rig.subscribe(("BookSnapshot", first), ("BookSnapshot", second), ("Trade", first))
            for symbol in (first, second):
                rig.agrees(stage, symbol)
            for _ in range(3):
                mark = len(rig.events)
                stage.disconnect(0.2)
                for symbol in (first, second):
                    stale = rig.comes("MarketStale", symbol, mark)
                    assert getattr(stale, "reason", None) == "disconnected"
                for symbol in (first, second):
                    rig.agrees(stage, symbol, mark)
                rig.comes("Trade", first)
            assert {event.kind for event in rig.events} <= {
                *("BookSnapshot", "Trade", "MarketStale", "InstrumentUpdate", "BalanceUpdate", "ExecReport"),
                # Sent by an adapter in this process, which sends everything.
                *("Ticker", "KlineSummary"),
            }

    def test_trades_are_stale_after_a_disconnect(self, stage: Stage) -> None:
        first = stage.symbols[0]
        with Rig(stage.adapter(), kinds=["Trade"]) as rig:
            rig.subscribe(("Trade", first))
            for _ in range(2):
                rig.comes("Trade", first)
                mark = len(rig.events)
                stage.disconnect(0.2)
                stale = rig.comes("MarketStale", first, mark)
                assert getattr(stale, "reason", None) == "disconnected"
            rig.comes("Trade", first)
            assert len(rig.since(0, "MarketStale", first)) == 2, "one notice for each disconnect"

    def test_routes_changed_during_a_disconnect_apply_after_it(self, stage: Stage) -> None:
        first, second = stage.symbols[:2]
        with Rig(stage.adapter()) as rig:
            rig.subscribe(("BookSnapshot", first))
            rig.agrees(stage, first)
            stage.disconnect(0.5)
            mark = len(rig.events)
            deadline = time.monotonic() + 20
            while True:
                # The gateway retries after an error.
                try:
                    rig.subscribe(("BookSnapshot", second))
                    break
                except VenueUnavailable:
                    assert time.monotonic() < deadline
                    threading.Event().wait(0.05)
            for symbol in (first, second):
                rig.agrees(stage, symbol, mark)

    def test_stop_works_during_a_disconnect(self, stage: Stage) -> None:
        with Rig(stage.adapter()) as rig:
            rig.subscribe(("BookSnapshot", stage.symbols[0]))
            rig.comes("BookSnapshot", mark=0)
            mark = len(rig.events)
            stage.disconnect(60)
            rig.comes("MarketStale", mark=mark)
            began = time.monotonic()
            rig.close()
            assert time.monotonic() - began < 10

    def test_an_unavailable_venue_fails_the_start(self, stage: Stage) -> None:
        stage.subscriptions()
        stage.disconnect(60)
        began = time.monotonic()
        with pytest.raises(VenueUnavailable), Rig(stage.adapter()):
            pass
        assert time.monotonic() - began < 20
