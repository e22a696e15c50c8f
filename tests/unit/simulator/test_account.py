"""The simulated account and its network: an account at a market in this process, and the faults of
requests.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from meltica._core import Core, SyntheticMarket
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.errors import OrderRefused, OutcomeUnknown, VenueUnavailable
from meltica.model.balances import Balance
from meltica.model.enums import Liquidity, Side, TimeInForce
from meltica.model.fills import START, FillMark
from meltica.model.orders import NewOrder
from meltica.simulator.account import SimulatedAccount, SimulatedNetwork
from meltica.simulator.settings import MarketSettings

SETTINGS = {"symbols": ["BTC-USDT"], "start": "2026-01-01T00:00:00Z"}
SECOND = 1_000_000_000


class Harness:
    """A simulated account at a frozen market. Records sleeps, and calls `meanwhile` in each."""

    def __init__(self, speed: float | None = 1.0, **behavior: object) -> None:
        settings = MarketSettings.model_validate({**SETTINGS, "venue_behavior": behavior})
        listings = settings.listings(SyntheticMarket.TAKERS)
        self.market = SyntheticMarket(None, settings.options(), listings, {"main": settings.funds()})
        self.market.advance(self.market.now + 60 * SECOND)
        self.slept: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.account = SimulatedAccount(
            self.market, SimulatedNetwork(self.market, speed, self._sleep), {"BTC-USDT"}, "main"
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()


def order(id: str = "a", price: str | None = "30000", **fields: Any) -> NewOrder:
    limit = None if price is None else Decimal(price)
    values: dict[str, Any] = {"symbol": "BTC-USDT", "side": Side.BUY, "quantity": Decimal("0.5"), **fields}
    return NewOrder(client_order_id=id, price=limit, **values)


async def test_an_order_is_submitted_amended_and_cancelled() -> None:
    harness = Harness()
    account = harness.account
    sent = await account.submit(order())
    assert (sent.state, sent.quantity, sent.filled_quantity, sent.price) == ("ACK", Decimal("0.5"), 0, 30000)
    assert (sent.client_order_id, sent.symbol, sent.side, sent.reason) == ("a", "BTC-USDT", Side.BUY, None)
    assert sent.venue_order_id
    assert await account.open_orders() == [sent]
    held = Balance(Decimal(1_000_000), Decimal(984_985), harness.market.now)
    assert (await account.balances())["USDT"] == held
    amended = await account.amend("BTC-USDT", "a", quantity=Decimal("0.25"))
    assert (amended.quantity, amended.price) == (Decimal("0.25"), 30000)
    assert await account.order("BTC-USDT", "a") == amended
    await account.amend("BTC-USDT", "a", price=Decimal(29000))
    cancelled = await account.cancel("BTC-USDT", "a")
    assert (cancelled.state, cancelled.price) == ("CANCELLED", 29000)
    assert await account.order("BTC-USDT", "a") == cancelled
    assert await account.open_orders() == []
    assert await account.order("BTC-USDT", "b") is None
    assert [await account.submit(order(id)) for id in "xyz"]
    with pytest.raises(OrderRefused, match="ETH-USDT"):
        await account.cancel_all("ETH-USDT")
    assert len(await account.open_orders()) == 3
    await account.cancel_all()
    assert await account.open_orders() == []


async def test_the_venue_has_no_reduce_only() -> None:
    account = Harness().account
    with pytest.raises(OrderRefused) as refused:
        await account.submit(order(reduce_only=True))
    assert refused.value.reason == "reduce_only_unsupported"
    assert account.find("a") is None


async def test_fills_are_returned_from_a_mark_on() -> None:
    harness = Harness()
    account, market = harness.account, harness.market
    first = await account.submit(order("a", None, side=Side.SELL))
    assert (first.state, first.filled_quantity, first.price) == ("FILLED", Decimal("0.5"), None)
    market.advance(market.now + SECOND)
    now = market.now
    await account.submit(order("b", None))
    fills = await account.fills_since({"BTC-USDT": START})
    assert {fill.client_order_id for fill in fills} == {"a", "b"}
    assert len({fill.execution_id for fill in fills}) == len(fills)
    later = await account.fills_since({"BTC-USDT": FillMark(now)})
    assert later == [fill for fill in fills if fill.client_order_id == "b"]
    assert {(fill.time, fill.side, fill.liquidity, fill.fee_currency) for fill in later} == {
        (now, Side.BUY, Liquidity.TAKER, "USDT")
    }
    paid = sum(fill.fee for fill in later)
    assert paid == sum(fill.price * fill.quantity for fill in later) * Decimal("0.002")
    assert await account.fills_since({"BTC-USDT": FillMark(now + 1)}) == []
    assert await account.fills_since({"BTC-USDT": FillMark.at(fills[-1])}) == [fills[-1]]
    assert await account.fills_since({"ETH-USDT": START}) == []
    assert await account.fills_since({}) == ()


@pytest.mark.parametrize(
    ("refused_order", "reason"),
    [
        (order(symbol="XYZ-USDT"), "unknown_symbol"),
        (order(price="0", side=Side.SELL), "invalid_price"),
        (order(price="-1"), "invalid_price"),
        (order(price="1.001"), "tick_size"),
        (order(quantity=Decimal(900)), "insufficient_funds"),
        (order(post_only=True, price="90000"), "would_cross"),
        (order(time_in_force=TimeInForce.FOK), "unfillable"),
    ],
)
async def test_a_refused_order_changes_nothing(refused_order: NewOrder, reason: str) -> None:
    account = Harness().account
    before = await account.balances()  # the clock does not move
    with pytest.raises(OrderRefused) as refused:
        await account.submit(refused_order)
    assert refused.value.reason == reason
    assert await account.balances() == before
    for request in (account.cancel("BTC-USDT", "none"), account.amend("BTC-USDT", "none", price=Decimal(1))):
        with pytest.raises(OrderRefused) as refused:
            await request
        assert refused.value.reason == "unknown_order"


async def test_latency_scales_with_the_markets_speed() -> None:
    slow = {"latency_min": "20ms", "latency_max": "20ms"}
    for speed, seconds in ((1.0, [0.02]), (10.0, [0.002]), (None, [])):
        harness = Harness(speed, **slow)
        await harness.account.balances()
        assert harness.slept == pytest.approx(seconds)
    harness = Harness()
    await harness.account.balances()
    assert harness.slept == []
    harness = Harness(latency_min="1ms", latency_max="9ms")
    for _ in range(50):
        await harness.account.balances()
    assert all(0.001 <= seconds <= 0.009 for seconds in harness.slept)
    assert max(harness.slept) - min(harness.slept) > 0.004


async def test_a_request_arrives_after_its_latency() -> None:
    harness = Harness(latency_min="20ms", latency_max="20ms")
    harness.meanwhile = lambda: harness.market.advance(harness.market.now + SECOND)
    sent = harness.market.now
    await harness.account.submit(order())
    found = harness.account.find("a")
    assert found is not None
    assert found.time == sent + SECOND


async def test_a_disconnect_in_flight_fails_the_request() -> None:
    harness = Harness(latency_min="20ms", latency_max="20ms")
    harness.meanwhile = harness.market.operator.disconnect
    with pytest.raises(VenueUnavailable, match="disconnected; nothing was done"):
        await harness.account.submit(order())
    assert harness.account.find("a") is None
    harness.meanwhile = lambda: None
    for request in every_request(harness.account):
        with pytest.raises(VenueUnavailable):
            await request
    harness.market.advance(harness.market.now + 5 * SECOND)
    assert (await harness.account.submit(order())).state == "ACK"


async def test_a_request_whose_answer_is_lost_has_an_unknown_outcome() -> None:
    harness = Harness(transient_error=1)
    done: dict[str, bool] = {}
    for number in range(50):
        with pytest.raises((VenueUnavailable, OutcomeUnknown)) as error:
            await harness.account.submit(order(f"o{number}", quantity=Decimal("0.001")))
        done[f"o{number}"] = isinstance(error.value, OutcomeUnknown)
    assert {id for id, was in done.items() if was} == {
        order.client_order_id for order in harness.account.list_open()
    }
    assert set(done.values()) == {True, False}


async def test_a_refusal_whose_answer_is_lost_has_an_unknown_outcome() -> None:
    harness = Harness(transient_error=1)
    errors: set[type[Exception]] = set()
    for _ in range(50):
        with pytest.raises((VenueUnavailable, OutcomeUnknown)) as error:
            await harness.account.submit(order(price="1.001"))
        errors.add(type(error.value))
    assert errors == {VenueUnavailable, OutcomeUnknown}


async def test_a_query_never_has_an_unknown_outcome() -> None:
    harness = Harness(transient_error=1)
    for _ in range(20):
        account = harness.account
        for query in (
            account.balances(),
            account.open_orders(),
            account.order("BTC-USDT", "a"),
            account.fills_since({"BTC-USDT": START}),
        ):
            with pytest.raises(VenueUnavailable) as error:
                await query
            assert error.value.code == "unavailable"


async def test_a_venue_that_rejects_keeps_the_order_as_rejected() -> None:
    harness = Harness(reject=1)
    with pytest.raises(OrderRefused) as refused:
        await harness.account.submit(order())
    assert refused.value.reason == "venue_rejected"
    found = await harness.account.order("BTC-USDT", "a")
    assert found is not None
    assert found.state == "REJECTED"
    assert found.reason


async def test_fake_has_an_account_after_its_start() -> None:
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
    account = adapter.account
    assert account is not None
    assert (await account.submit(order(quantity=Decimal("0.001")))).state == "ACK"
    assert adapter.market.open_orders()[0]["clientOrderId"] == "a"
    assert (await account.balances())["USDT"].total == 500
    adapter.market.operator.disconnect()
    with pytest.raises(VenueUnavailable):
        await account.balances()
    adapter.market.advance(adapter.market.now + SECOND)
    assert [found.client_order_id for found in await account.open_orders()] == ["a"]


def every_request(account: SimulatedAccount) -> list[Awaitable[object]]:
    return [
        account.submit(order()),
        account.cancel("BTC-USDT", "a"),
        account.cancel_all(),
        account.amend("BTC-USDT", "a", price=Decimal(1)),
        account.order("BTC-USDT", "a"),
        account.open_orders(),
        account.fills_since({"BTC-USDT": START}),
        account.balances(),
    ]
