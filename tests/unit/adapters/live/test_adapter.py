"""A whole live adapter against a scripted venue: the wire form of `fake`."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from meltica._core import BookSnapshot, InstrumentUpdate, Trade
from meltica.adapters import Codec, Message, VenueMessage, whole
from meltica.adapters.fake.settings import FakeSettings
from meltica.errors import (
    Unauthenticated,
    VenueError,
    VenueUnavailable,
)
from meltica.testing import Rig
from tests.support.scripted import HANG, Stream, error, until
from tests.support.scripted_venue import INSTRUMENT, Wire, running, venue


async def test_a_book_gets_its_snapshot_and_another_after_a_gap() -> None:
    async with venue() as fake, running(fake, key=None) as rig:
        await asyncio.to_thread(rig.subscribe, ("BookSnapshot", "BTC-USDT"))
        books = lambda: [cast(BookSnapshot, e).last_update_id for e in rig.since(0, "BookSnapshot")]  # noqa: E731
        await until(lambda: books() == [10], "a quiet market's book")
        await fake.diff(11, 12)
        await until(lambda: books() == [10, 12], "a change")
        fake.last = 20
        await fake.diff(15, 20)
        await until(lambda: books() == [10, 12, 20], "the book after the gap")
        assert len(rig.since(0, "BookGap")) == 1
        assert fake.count("/v1/depth") == 2
        assert rig.producers["fake"].unsynced() == []


class NoCodec(Wire):
    """Decodes market data in Python."""

    def codec(self) -> None:  # type: ignore[override]
        return None

    def market_message(self, message: VenueMessage) -> None:
        if message.get("type") == "trade":
            trade = {"tradeId": message["id"], "price": message["price"], "quantity": message["quantity"]}
            self.producer.publish("Trade", message["symbol"], trade)


async def test_an_adapter_without_a_codec_gets_every_frame() -> None:
    async with venue() as fake, running(fake, key=None, of=NoCodec) as rig:
        await asyncio.to_thread(rig.subscribe, ("Trade", "BTC-USDT"))
        trade = {"type": "trade", "symbol": "BTC-USDT", "id": 7, "price": "100", "quantity": "2"}
        await fake.stream.send(b"[nonsense", trade)
        await until(lambda: rig.since(0, "Trade"), "a trade")
        assert [cast(Trade, event).trade_id for event in rig.since(0, "Trade")] == ["7"]
        assert rig.producers["fake"].stats()["frames"] == 0


class Pongs(Wire):
    """Declares a text that is not JSON."""

    def codec(self) -> Codec:
        pong = Message(name="pong", role="Control", matches=(whole("pong"),))
        declared = super().codec()
        return replace(declared, messages=(*declared.messages, pong))


async def test_a_declared_text_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with venue() as fake, running(fake, key=None, of=Pongs) as rig:
        await asyncio.to_thread(rig.subscribe, ("Trade", "BTC-USDT"))
        trade = {"type": "trade", "symbol": "BTC-USDT", "time": 1, "id": 7, "side": "buy"}
        await fake.stream.send(b"pong", {**trade, "price": "100", "quantity": "2"})
        await until(lambda: rig.since(0, "Trade"), "a trade")
        stats = rig.producers["fake"].stats()
        assert (stats["control"] > 0, stats["errors"]) == (True, {})
        assert "not valid JSON" not in caplog.text


async def test_a_snapshot_that_is_too_old_is_requested_again() -> None:
    async with venue() as fake, running(fake, key=None) as rig:
        await asyncio.to_thread(rig.subscribe, ("BookSnapshot", "BTC-USDT"))
        await until(lambda: rig.since(0, "BookSnapshot"), "a book")
        await fake.diff(15, 20)
        # The venue's snapshots are behind its stream, for a while.
        await until(lambda: fake.count("/v1/depth") >= 4, "more attempts")
        assert rig.producers["fake"].unsynced() == ["BTC-USDT"]
        fake.last = 20
        await until(lambda: rig.producers["fake"].unsynced() == [], "a book")


async def test_a_reconnect_marks_books_stale_and_refreshes_instruments() -> None:
    async with venue() as fake, running(fake, key=None) as rig:
        await asyncio.to_thread(rig.subscribe, ("BookSnapshot", "BTC-USDT"))
        await until(lambda: rig.since(0, "BookSnapshot"), "a book")
        fake.instruments = [{**INSTRUMENT, "minNotional": "10"}]
        mark = len(rig.events)
        await fake.market.close(1012)
        await until(lambda: rig.since(mark, "MarketStale"), "a stale book")
        # The venue restarted, and so did its ids.
        fake.last = 3
        await until(lambda: rig.since(mark, "BookSnapshot"), "another book")
        await until(lambda: rig.since(mark, "InstrumentUpdate"), "the instrument that has changed")
        assert rig.adapter.instruments() == fake.instruments
        fake.instruments = []
        mark = len(rig.events)
        await fake.market.close(1012)
        await until(lambda: rig.since(mark, "InstrumentUpdate"), "the instrument that is no longer listed")
        [update] = rig.since(mark, "InstrumentUpdate")
        assert cast(InstrumentUpdate, update).instrument["halted"] is True


async def test_a_route_of_all_symbols_includes_new_listings(caplog: pytest.LogCaptureFixture) -> None:
    async with venue() as fake, running(fake, key=None) as rig:
        await asyncio.to_thread(rig.subscribe, ("BookSnapshot", None))
        fake.instruments = [INSTRUMENT, {**INSTRUMENT, "symbol": "ETH-USDT", "baseCurrency": "ETH"}]
        subscribed = lambda: [c for m in fake.stream.received for c in m.get("channels", ())]  # noqa: E731
        await fake.market.close(1012)
        await until(lambda: "depth:ETH-USDT" in subscribed(), "the subscription of the new symbol's book")
        assert "Traceback" not in caplog.text
        fake.instruments = [{"type": "spot"}]
        await fake.market.close(1012)
        await until(lambda: "Traceback" in caplog.text, "the logged traceback")


async def test_a_snapshot_in_flight_during_a_disconnect_is_discarded() -> None:
    async with venue() as fake, running(fake, key=None) as rig:
        late = asyncio.Event()
        fake.http.answer = lambda request: (
            replace(fake.answer(request), after=late) if "depth" in request.target else fake.answer(request)
        )
        await asyncio.to_thread(rig.subscribe, ("BookSnapshot", "BTC-USDT"))
        await until(lambda: fake.count("/v1/depth") == 1, "a request for the book")
        await fake.market.close(1012)
        # The venue restarts, with lower ids.
        fake.last = 3
        # Long before the time-out of the first.
        await until(lambda: fake.count("/v1/depth") == 2, "another request, while the first waits", 5)
        late.set()
        await until(lambda: rig.since(0, "BookSnapshot"), "the book")
        await fake.diff(4, 4)
        await until(lambda: len(rig.since(0, "BookSnapshot")) == 2, "a change")
        assert [cast(Any, e).last_update_id for e in rig.since(0, "BookSnapshot")] == [3, 4]


async def test_a_refused_route_is_reported() -> None:
    async with venue() as fake, running(fake, key=None) as rig:

        async def refuse(stream: Stream, message: dict[str, Any]) -> None:
            refusal = {"op": "error", "id": message["id"], "error": "no such", "code": "unknown_symbol"}
            await stream.send(
                refusal if "trade:NO-USDT" in message["channels"] else {"op": "done", "id": message["id"]}
            )

        fake.stream.script = refuse
        with pytest.raises(VenueError, match="trade:NO-USDT: no such"):
            await asyncio.to_thread(rig.subscribe, ("Trade", "NO-USDT"), ("Trade", "BTC-USDT"))
        await asyncio.to_thread(rig.subscribe, ("Ticker", "BTC-USDT"))
        await asyncio.to_thread(rig.unsubscribe, ("Trade", "NO-USDT"))


async def test_a_start_fails_without_a_venue_or_with_a_wrong_key() -> None:
    async with venue() as fake:
        fake.http.answer = lambda request: (
            error(401, "bad_signature") if "balances" in request.target else fake.answer(request)
        )
        with pytest.raises(Unauthenticated):
            async with running(fake):
                pass
    with pytest.raises(VenueUnavailable):
        async with running(fake):
            pass


async def test_stop_is_quick_from_any_thread_in_any_state() -> None:
    async with venue() as fake:
        # Never started; started and never run; twice.
        for started in (False, True):
            adapter = Wire(FakeSettings(), fake.http.endpoint)
            rig = Rig(adapter)
            if started:
                await asyncio.to_thread(adapter.start, rig.producers)
            adapter.stop()
            adapter.stop()
            await asyncio.to_thread(adapter.run)
            await asyncio.to_thread(rig.close)
        # While it starts.
        fake.http.answer = lambda _: HANG
        adapter = Wire(FakeSettings(), fake.http.endpoint)
        rig = Rig(adapter)
        fake.http.arrived.clear()
        starting = asyncio.create_task(asyncio.to_thread(adapter.start, rig.producers))
        await fake.http.arrived.wait()
        adapter.stop()
        with pytest.raises(VenueUnavailable):
            await starting
        await asyncio.to_thread(rig.close)
