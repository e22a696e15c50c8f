"""Tests of events: names, order, validity, subscriptions, books and gaps."""

import json
import threading
from collections import Counter
from typing import cast

import pytest

from meltica._core import BookSnapshot, Event, Ticker, Trade
from meltica.adapters import registry
from meltica.errors import ConfigError
from meltica.model.symbols import canonical
from meltica.testing.rig import Rig
from meltica.testing.stage import Stage


class DataContract:
    """The contract of every adapter, including recordings."""

    def test_metadata_has_the_shape_of_the_control_plane(self, stage: Stage) -> None:
        adapter = stage.adapter()
        metadata = json.loads(json.dumps(adapter.metadata()))
        assert {"identifier", "displayName", "venue", "capabilities", "settingsSchema"} <= set(metadata)
        assert metadata["identifier"] == registry.adapter(metadata["identifier"]).identifier
        for row in metadata["settingsSchema"]:
            assert {"name", "type", "required"} <= set(row) <= {"name", "type", "required", "default"}

    def test_unknown_settings_are_refused_with_the_nearest(self, stage: Stage) -> None:
        adapter = registry.adapter(stage.adapter().identifier)
        name = next(iter(adapter.Settings.model_fields))
        with pytest.raises(ConfigError, match=rf"`{name}s` is unknown; did you mean `{name}`\?"):
            adapter.configure({f"{name}s": 1})

    def test_a_stop_before_the_run_ends_it(self, stage: Stage) -> None:
        adapter = stage.adapter()
        rig = Rig(adapter)
        adapter.start(rig.producers)
        adapter.stop()
        thread = threading.Thread(target=adapter.run, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        rig.close()

    def test_events_have_the_providers_name_and_ascending_numbers(self, stage: Stage) -> None:
        adapter = stage.adapter()
        expected = {"a-name-of-mine"}
        try:
            adapter.bind_name(*expected)
        except ConfigError:
            # Recorded events have provider names of their own.
            expected = set(adapter.providers())
        with Rig(adapter) as rig:
            for kind in stage.kinds:
                rig.subscribe((kind, None))
            for kind in stage.kinds:
                rig.comes(kind, mark=0)
        assert {event.provider for event in rig.events} == expected
        assert [event.seq for event in rig.events] == sorted({event.seq for event in rig.events})
        counts: Counter[tuple[str, str]] = Counter()
        for event in rig.events:
            assert event.received_time > 0
            counts[event.kind, event.symbol] += 1
            assert event.provider_seq == counts[event.kind, event.symbol]

    def test_events_are_valid(self, stage: Stage) -> None:
        with Rig(stage.adapter()) as rig:
            listed = {str(instrument["symbol"]) for instrument in rig.adapter.instruments()}
            rig.subscribe(*((kind, symbol) for kind in stage.kinds for symbol in stage.symbols))
            for symbol in stage.symbols:
                for kind in stage.kinds:
                    rig.comes(kind, symbol, mark=0)
        assert listed == set() or set(stage.symbols) <= listed
        for event in rig.events:
            if event.kind in stage.kinds:
                assert canonical(event.symbol) == event.symbol
                check_event(event)

    def test_subscriptions_follow_the_routes(self, stage: Stage) -> None:
        first, second = stage.symbols[:2]
        with Rig(stage.adapter()) as rig:
            stage.subscriptions()
            rig.subscribe(("Trade", first), ("Ticker", second))
            assert stage.subscriptions() == {("Trade", first), ("Ticker", second)}
            rig.comes("Trade", first)
            rig.comes("Ticker", second)
            rig.subscribe(("BookSnapshot", first))
            rig.adapter.route([], [])
            rig.comes("BookSnapshot", first)
            rig.unsubscribe(("Trade", first), ("Ticker", second))
            assert stage.subscriptions() == {("BookSnapshot", first)}
            mark = len(rig.events)
            for _ in range(3):
                rig.comes("BookSnapshot", first)
            # Events in flight during the confirmation arrive before these.
            assert {event.symbol for event in rig.events[mark:]} == {first}
            rig.unsubscribe(("BookSnapshot", first))
            rig.subscribe(("BookSnapshot", first))
            rig.comes("BookSnapshot", first)
            assert stage.subscriptions() == {("BookSnapshot", first)}

    def test_a_route_of_all_symbols_subscribes_each(self, stage: Stage) -> None:
        with Rig(stage.adapter()) as rig:
            rig.subscribe(("Trade", None))
            for symbol in stage.symbols:
                rig.comes("Trade", symbol, mark=0)
            stage.subscriptions()
            rig.unsubscribe(("Trade", None))
            assert stage.subscriptions() == set()

    def test_books_equal_the_venues(self, stage: Stage) -> None:
        with Rig(stage.adapter()) as rig:
            stage.book(stage.symbols[0])
            rig.subscribe(*(("BookSnapshot", symbol) for symbol in stage.symbols))
            for _ in range(3):
                mark = len(rig.events)
                for symbol in stage.symbols:
                    rig.agrees(stage, symbol, mark)
            assert not rig.since(0, "BookGap")

    def test_a_gap_is_reported_and_resyncs_only_that_book(self, stage: Stage) -> None:
        first, second = stage.symbols[:2]
        with Rig(stage.adapter()) as rig:
            rig.subscribe(("BookSnapshot", first), ("BookSnapshot", second))
            rig.agrees(stage, first)
            rig.agrees(stage, second)
            for _ in range(3):
                mark = len(rig.events)
                stage.lose_depth(first)
                gap = rig.comes("BookGap", first, mark)
                stale = rig.comes("MarketStale", first, mark)
                good = rig.comes("BookSnapshot", first, rig.events.index(stale))
                assert gap.seq < stale.seq < good.seq
                rig.agrees(stage, first, rig.events.index(good))
                assert not rig.since(mark, "MarketStale", second)
            assert len(rig.since(0, "BookGap", first)) == 3
            assert rig.producers[rig.name].stats()["gaps"] == 3


def check_event(event: Event) -> None:
    """Fails for an event that would be wrong for any venue."""
    if isinstance(event, Trade):
        assert event.price_decimal > 0
        assert event.quantity_decimal > 0
        assert event.trade_id
    elif isinstance(event, Ticker):
        bid, ask = event.bid_decimal, event.ask_decimal
        assert bid is None or ask is None or bid < ask
    elif event.kind == "BookSnapshot":
        book = cast(BookSnapshot, event)
        bids, asks = ([level.price_decimal for level in side] for side in (book.bids, book.asks))
        assert bids == sorted(set(bids), reverse=True)
        assert asks == sorted(set(asks))
        assert not bids or not asks or bids[0] < asks[0]
        assert all(level.quantity_decimal > 0 for level in (*book.bids, *book.asks))
