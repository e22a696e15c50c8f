"""The operator of a market in this process, as the market's account and its readers see it."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from meltica._core import SyntheticMarket
from meltica.errors import ConfigError, OrderRefused, OutcomeUnknown
from meltica.model.enums import Liquidity, Side
from meltica.model.fills import START
from meltica.model.orders import NewOrder
from meltica.simulator.account import LONGEST_DELAY, SimulatedAccount, SimulatedNetwork
from meltica.simulator.settings import MarketSettings
from meltica.testing import Rig
from tests.contract.stages import InProcess

SECOND = 1_000_000_000
SETTINGS: dict[str, Any] = {"symbols": ["BTC-USDT", "ETH-USDT"], "start": "2026-01-01T00:00:00Z"}


def buy(id: str, quantity: str = "0.01", price: str | None = "30000") -> NewOrder:
    limit = None if price is None else Decimal(price)
    return NewOrder(id, "BTC-USDT", Side.BUY, Decimal(quantity), limit)


class Harness:
    """An account at a frozen market without background trades."""

    def __init__(self, speed: float | None = 1.0, settings: Mapping[str, object] | None = None) -> None:
        values = MarketSettings.model_validate({**SETTINGS, **(settings or {})})
        listings = values.listings(SyntheticMarket.TAKERS)
        self.market = SyntheticMarket(None, values.options(), listings, {"main": values.funds()})
        values.set_fees(self.market)
        self.market.operator.rest(True)
        self.operator = self.market.operator
        symbols = {"BTC-USDT", "ETH-USDT"}
        self.account = SimulatedAccount(self.market, SimulatedNetwork(self.market, speed), symbols, "main")

    def pass_time(self, seconds: float) -> None:
        self.market.advance(self.market.now + int(seconds * SECOND))


async def test_an_order_arrives_after_its_answer_was_lost_or_never() -> None:
    harness = Harness()
    harness.operator.lose_answers("submit", 1, 8 * SECOND)
    with pytest.raises(OutcomeUnknown):
        await harness.account.submit(buy("late"))
    harness.pass_time(7.9)
    assert await harness.account.order("BTC-USDT", "late") is None
    harness.pass_time(0.1)
    assert [order.client_order_id for order in await harness.account.open_orders()] == ["late"]
    harness.operator.lose_answers("submit", 2)
    for id in ("a", "b"):
        with pytest.raises(OutcomeUnknown):
            await harness.account.submit(buy(id))
    assert (await harness.account.submit(buy("c"))).state == "ACK"
    harness.pass_time(LONGEST_DELAY)
    assert {order.client_order_id for order in await harness.account.open_orders()} == {"late", "c"}


async def test_a_late_cancel_and_a_late_amendment_are_carried_out() -> None:
    harness = Harness()
    for id in ("cancelled", "amended"):
        await harness.account.submit(buy(id))
    harness.operator.lose_answers("cancel", 1, SECOND)
    harness.operator.lose_answers("amend", 1, SECOND)
    with pytest.raises(OutcomeUnknown):
        await harness.account.cancel("BTC-USDT", "cancelled")
    with pytest.raises(OutcomeUnknown):
        await harness.account.amend("BTC-USDT", "amended", quantity=Decimal("0.02"))
    assert [order.quantity for order in await harness.account.open_orders()] == [Decimal("0.01")] * 2
    harness.pass_time(1)
    [order] = await harness.account.open_orders()
    assert (order.client_order_id, order.quantity) == ("amended", Decimal("0.02"))


def test_the_longest_delay_is_what_the_account_states() -> None:
    for speed, seconds in ((1.0, 10.0), (4.0, 2.5), (0.5, 20.0), (None, 10.0)):
        assert Harness(speed).account.arrives_within == seconds
    for delay in (-1, int(LONGEST_DELAY * SECOND) + 1):
        with pytest.raises(ConfigError, match="0 to 10 s"):
            Harness().operator.lose_answers("submit", 1, delay)
    with pytest.raises(ValueError, match="submit"):
        Harness().operator.lose_answers("steal")


@pytest.mark.parametrize(
    ("settings", "currency"),
    [
        ({"fee_currency": "base"}, "BTC"),
        ({"fee_currency": "received"}, "BTC"),
        ({"fee_currency": "ETH", "fee_price": "2000", "taker_fee": "-0.001"}, "ETH"),
    ],
)
async def test_fees_are_charged_in_the_currency_of_the_settings(
    settings: dict[str, str], currency: str
) -> None:
    harness = Harness(settings=settings)
    before = (await harness.account.balances())[currency].total
    filled = await harness.account.submit(buy("a", "0.5", None))
    fills = await harness.account.fills_since({"BTC-USDT": START})
    assert {fill.fee_currency for fill in fills} == {currency}
    assert filled.fee == sum(fill.fee for fill in fills)
    received = Decimal("0.5") if currency == "BTC" else Decimal(0)
    after = (await harness.account.balances())[currency].total
    assert after == before + received - sum(fill.fee for fill in fills)
    assert (filled.fee or 0) < 0 if "taker_fee" in settings else (filled.fee or 0) > 0
    assert {fill.liquidity for fill in fills} == {Liquidity.TAKER}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fee_currency": "DOGE"}, "expected quote, base, received or a currency of the symbols, saw DOGE"),
        ({"fee_currency": "ETH"}, "expected the price of ETH in quote, saw none"),
        ({"fee_price": "2"}, "expected none for fees in quote, saw 2"),
        ({"maker_fee": "-1"}, "greater than -1"),
    ],
)
def test_a_wrong_fee_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MarketSettings.model_validate({**SETTINGS, **settings})


async def test_an_order_of_another_client_is_cancelled_with_all_and_has_no_id() -> None:
    harness = Harness()
    venue_id = harness.market.submit("", "BTC-USDT", "buy", "0.01", "30000")
    await harness.account.submit(buy("mine"))
    orders = await harness.account.open_orders()
    assert (orders[0].client_order_id, orders[0].venue_order_id) == ("", venue_id)
    assert await harness.account.order("BTC-USDT", "") is None
    assert await harness.account.cancel_each("ETH-USDT") == []
    assert await harness.account.cancel_each() == ["mine"]
    assert await harness.account.open_orders() == []


def test_a_transfer_needs_funds_and_a_known_currency() -> None:
    operator = Harness(settings={"balances": {"USDT": 10}}).operator
    assert (operator.transfer("USDT", "1"), operator.transfer("USDT", "-11")) == ("1", "2")
    with pytest.raises(OrderRefused) as refused:
        operator.transfer("USDT", "-0.01")
    assert refused.value.reason == "insufficient_funds"
    with pytest.raises(ValueError, match="DOGE"):
        operator.transfer("DOGE", 1)
    with pytest.raises(ValueError, match="amount"):
        operator.transfer("USDT", "1e-12")


@pytest.fixture
def rig() -> Iterator[tuple[InProcess, Rig]]:
    with InProcess() as stage, Rig(stage.adapter()) as rig:
        yield stage, rig


def test_readers_see_a_transfer_and_nothing_while_the_account_is_mute(rig: tuple[InProcess, Rig]) -> None:
    stage, reader = rig
    operator = stage.market.operator
    operator.mute(True)
    operator.transfer("USDT", "3")
    operator.mute(False)
    id = operator.transfer("USDT", "-2")
    reader.wait(lambda: _transfers(reader), "the withdrawal")
    assert _transfers(reader) == [(id, "withdrawal", Decimal(-2))]
    assert operator.faults["muted"] is False


def _transfers(rig: Rig) -> list[tuple[str, str, Decimal]]:
    events: list[Any] = [*rig.since(0, "BalanceUpdate", "USDT")]
    return [(e.transfer_id, e.reason, e.change_decimal) for e in events if e.transfer_id is not None]
