"""`Desk` and its line: one account at a market in this process, and what happens to requests on their way."""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from meltica._core import Core, SyntheticMarket
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.errors import OrderRefused, OutcomeUnknown, VenueUnavailable
from meltica.model.account import Holding, NewOrder
from meltica.model.enums import Side
from meltica.simulator.desk import Desk, Line
from meltica.simulator.settings import MarketSettings

SETTINGS = {"symbols": ["BTC-USDT"], "start": "2026-01-01T00:00:00Z"}
SECOND = 1_000_000_000


class Counter:
    """A simulated account at a frozen market. Records sleeps, and runs `meanwhile` in them."""

    def __init__(self, speed: float | None = 1.0, **behavior: object) -> None:
        settings = MarketSettings.model_validate({**SETTINGS, "venue_behavior": behavior})
        listings = settings.listings(SyntheticMarket.TAKERS)
        self.market = SyntheticMarket(None, settings.options(), listings, {"main": settings.funds()})
        self.market.advance(self.market.now + 60 * SECOND)
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.desk = Desk(self.market, Line(self.market, speed, self._sleep), {"BTC-USDT"}, "main")

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()


def order(id: str = "a", price: str | None = "30000", **fields: Any) -> NewOrder:
    limit = None if price is None else Decimal(price)
    known: dict[str, Any] = {"symbol": "BTC-USDT", "side": Side.BUY, "quantity": Decimal("0.5"), **fields}
    return NewOrder(client_order_id=id, price=limit, **known)


async def test_an_order_from_its_sending_to_its_end() -> None:
    desk = Counter().desk
    sent = await desk.submit(order())
    assert (sent.state, sent.quantity, sent.filled, sent.price) == ("ACK", Decimal("0.5"), 0, 30000)
    assert (sent.client_order_id, sent.symbol, sent.side, sent.reason) == ("a", "BTC-USDT", Side.BUY, None)
    assert sent.venue_order_id
    assert await desk.open_orders() == [sent]
    assert (await desk.balances())["USDT"] == Holding(Decimal(1_000_000), Decimal(984_985))
    await desk.amend("BTC-USDT", "a", quantity=Decimal("0.25"))
    known = await desk.order("BTC-USDT", "a")
    assert known is not None
    assert (known.quantity, known.price) == (Decimal("0.25"), 30000)
    await desk.amend("BTC-USDT", "a", price=Decimal(29000))
    await desk.cancel("BTC-USDT", "a")
    known = await desk.order("BTC-USDT", "a")
    assert known is not None
    assert (known.state, known.price) == ("CANCELLED", 29000)
    assert await desk.open_orders() == []
    assert await desk.order("BTC-USDT", "b") is None
    assert [await desk.submit(order(id)) for id in "xyz"]
    assert await desk.cancel_all() == ["x", "y", "z"]


async def test_fills_are_told_from_a_time_on() -> None:
    counter = Counter()
    desk, market = counter.desk, counter.market
    first = await desk.submit(order("a", None, side=Side.SELL))
    assert (first.state, first.filled, first.price) == ("FILLED", Decimal("0.5"), None)
    market.advance(market.now + SECOND)
    now = market.now
    await desk.submit(order("b", None))
    fills = await desk.fills_since()
    assert {fill.client_order_id for fill in fills} == {"a", "b"}
    assert len({fill.execution_id for fill in fills}) == len(fills)
    later = await desk.fills_since(now)
    assert later == [fill for fill in fills if fill.client_order_id == "b"]
    assert {(fill.time, fill.side, fill.maker, fill.fee_currency) for fill in later} == {
        (now, Side.BUY, False, "USDT")
    }
    paid = sum(fill.fee for fill in later)
    assert paid == sum(fill.price * fill.quantity for fill in later) * Decimal("0.002")
    assert await desk.fills_since(now + 1) == []


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (order(symbol="XYZ-USDT"), "unknown_symbol"),
        (order(price="0", side=Side.SELL), "invalid_price"),
        (order(price="-1"), "invalid_price"),
        (order(price="1.001"), "tick_size"),
        (order(quantity=Decimal(900)), "insufficient_funds"),
        (order(post_only=True, price="90000"), "would_cross"),
        (order(time_in_force="FOK"), "unfillable"),
    ],
)
async def test_what_the_venue_refuses_changes_nothing(asked: NewOrder, reason: str) -> None:
    desk = Counter().desk
    before = await desk.balances()
    with pytest.raises(OrderRefused) as refused:
        await desk.submit(asked)
    assert refused.value.reason == reason
    assert await desk.balances() == before
    for asking in (desk.cancel("BTC-USDT", "none"), desk.amend("BTC-USDT", "none", price=Decimal(1))):
        with pytest.raises(OrderRefused) as refused:
            await asking
        assert refused.value.reason == "unknown_order"


async def test_a_request_takes_its_time_at_the_markets_speed() -> None:
    slow = {"latency_min": "20ms", "latency_max": "20ms"}
    for speed, seconds in ((1.0, [0.02]), (10.0, [0.002]), (None, [])):
        counter = Counter(speed, **slow)
        await counter.desk.balances()
        assert counter.slept == pytest.approx(seconds)
    counter = Counter()
    await counter.desk.balances()
    assert counter.slept == []
    counter = Counter(latency_min="1ms", latency_max="9ms")
    for _ in range(50):
        await counter.desk.balances()
    assert all(0.001 <= seconds <= 0.009 for seconds in counter.slept)
    assert max(counter.slept) - min(counter.slept) > 0.004


async def test_it_arrives_when_its_time_is_over() -> None:
    counter = Counter(latency_min="20ms", latency_max="20ms")
    counter.meanwhile = lambda: counter.market.advance(counter.market.now + SECOND)
    sent = counter.market.now
    await counter.desk.submit(order())
    record = counter.desk.record("a")
    assert record is not None
    assert record["time"] == sent + SECOND


async def test_a_disconnect_on_the_way_is_one() -> None:
    counter = Counter(latency_min="20ms", latency_max="20ms")
    counter.meanwhile = counter.market.disconnect
    with pytest.raises(VenueUnavailable, match="disconnected, and nothing was done"):
        await counter.desk.submit(order())
    assert counter.desk.record("a") is None
    counter.meanwhile = lambda: None
    for asking in every_request(counter.desk):
        with pytest.raises(VenueUnavailable):
            await asking
    counter.market.advance(counter.market.now + 5 * SECOND)
    assert (await counter.desk.submit(order())).state == "ACK"


async def test_what_fails_after_it_was_done_is_unknown() -> None:
    counter = Counter(transient_error=1)
    done: dict[str, bool] = {}
    for number in range(50):
        with pytest.raises((VenueUnavailable, OutcomeUnknown)) as error:
            await counter.desk.submit(order(f"o{number}", quantity=Decimal("0.001")))
        done[f"o{number}"] = isinstance(error.value, OutcomeUnknown)
    assert {id for id, was in done.items() if was} == {
        record["clientOrderId"] for record in counter.desk.open_records()
    }
    assert set(done.values()) == {True, False}


async def test_a_refusal_whose_answer_is_lost_is_unknown_as_well() -> None:
    counter = Counter(transient_error=1)
    seen: set[type[Exception]] = set()
    for _ in range(50):
        with pytest.raises((VenueUnavailable, OutcomeUnknown)) as error:
            await counter.desk.submit(order(price="1.001"))
        seen.add(type(error.value))
    assert seen == {VenueUnavailable, OutcomeUnknown}


async def test_a_query_is_never_unknown() -> None:
    counter = Counter(transient_error=1)
    for _ in range(20):
        desk = counter.desk
        for query in (desk.balances(), desk.open_orders(), desk.order("BTC-USDT", "a"), desk.fills_since()):
            with pytest.raises(VenueUnavailable) as error:
                await query
            assert error.value.code == "unavailable"


async def test_a_venue_that_rejects_keeps_the_order_as_rejected() -> None:
    counter = Counter(reject=1)
    with pytest.raises(OrderRefused) as refused:
        await counter.desk.submit(order())
    assert refused.value.reason == "venue_rejected"
    known = await counter.desk.order("BTC-USDT", "a")
    assert known is not None
    assert known.state == "REJECTED"
    assert known.reason


async def test_fake_in_process_has_an_account_once_it_has_started() -> None:
    settings = {
        **SETTINGS,
        "rate": "max",
        "balances": {"USDT": 500},
        "venue_behavior": {"disconnect_for": "1s"},
    }
    adapter = FakeAdapter.configure(settings)
    assert isinstance(adapter, FakeAdapter)
    before = adapter.account
    assert before is None
    adapter.start({"fake": Core().producer("fake")})
    desk = adapter.account
    assert desk is not None
    assert (await desk.submit(order(quantity=Decimal("0.001")))).state == "ACK"
    assert adapter.market.open_orders()[0]["clientOrderId"] == "a"
    assert (await desk.balances())["USDT"].total == 500
    adapter.market.disconnect()
    with pytest.raises(VenueUnavailable):
        await desk.balances()
    adapter.market.advance(adapter.market.now + SECOND)
    assert [known.client_order_id for known in await desk.open_orders()] == ["a"]


def every_request(desk: Desk) -> list[Awaitable[object]]:
    return [
        desk.submit(order()),
        desk.cancel("BTC-USDT", "a"),
        desk.cancel_all(),
        desk.amend("BTC-USDT", "a", price=Decimal(1)),
        desk.order("BTC-USDT", "a"),
        desk.open_orders(),
        desk.fills_since(),
        desk.balances(),
    ]
