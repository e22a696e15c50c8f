"""A venue as a process: faults on demand, as a client of an account sees them."""

from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any, cast

import httpx
import pytest

from meltica import BalanceUpdate
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.errors import OutcomeUnknown, VenueUnavailable
from meltica.model.enums import Side
from meltica.model.fills import START
from meltica.model.orders import NewOrder
from meltica.testing import Rig
from tests.support.venues import CONFIG, Frame, Stream, Venue, serving

ACCOUNTS = """
accounts:
  main: {key: main, secret: main-secret}
  rich: {key: rich, secret: rich-secret}
  idle: {key: idle, secret: idle-secret}
"""
RICH: Any = {"key": "rich", "secret": "rich-secret"}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Generator[Venue]:
    with serving(tmp_path_factory.mktemp("venue"), config=CONFIG + ACCOUNTS) as venue:
        yield venue
        venue.process.terminate()
        assert venue.ended() == 0


@pytest.fixture
def venue(process: Venue) -> Generator[Venue]:
    """A venue without background trades, with a bid inside the spread free, and with its ledger checked."""
    process.fault(quiet=True)
    yield process
    fees = {"maker": "0.001", "taker": "0.002"}
    process.fault(quiet=False, mute=False, withholdFills=False, fillsAfterEnd=False, fees=fees)
    process.done("DELETE", "/v1/orders")
    process.done("DELETE", "/v1/orders", **RICH)
    assert set(process.get("/v1/ledger")["sums"].values()) == {"0"}


def account(stream: Stream) -> None:
    assert stream.log_in()["account"] == "main"
    stream.subscribe("account")


def refused(answer: httpx.Response, status: int, code: str) -> str:
    failure = answer.json()
    assert (answer.status_code, failure["code"]) == (status, code), failure
    return failure["error"]


def post(venue: Venue, path: str, **body: object) -> httpx.Response:
    return venue.client.post(path, json=body)


def rests_best(venue: Venue, id: str, quantity: str = "0.4") -> None:
    """Rests a buy order of `main` as the best bid, in place of the best asks."""
    book = venue.get("/v1/depth?symbol=BTC-USDT&limit=5")
    bid, ask = (Decimal(book[side][0][0]) for side in ("bids", "asks"))
    while ask <= bid + Decimal("0.01"):
        best = venue.get("/v1/depth?symbol=BTC-USDT&limit=1")["asks"][0]
        venue.order("clears", price=best[0], quantity=best[1], timeInForce="IOC", **RICH)
        ask = Decimal(venue.get("/v1/depth?symbol=BTC-USDT&limit=1")["asks"][0][0])
    answer = venue.order(id, price=str(bid + Decimal("0.01")), quantity=quantity, postOnly=True)
    assert answer.status_code == 201, answer.text


def sell(venue: Venue, quantity: str) -> Frame:
    """Sells to the best bid with the other account."""
    answer = venue.order("sells", orderType="market", side="sell", quantity=quantity, **RICH)
    assert answer.status_code == 201, answer.text
    return answer.json()


def of(id: str) -> Callable[[Frame], bool]:
    """Returns whether a frame is about an order."""

    def matches(frame: Frame) -> bool:
        return frame.get("clientOrderId") == id

    return matches


def fills_of(venue: Venue, id: str) -> list[Frame]:
    return [fill for fill in venue.done("GET", "/v1/fills")["fills"] if fill.get("clientOrderId") == id]


def test_fees_change_between_two_fills_of_an_order(venue: Venue) -> None:
    rests_best(venue, "fees")
    schedules: list[tuple[dict[str, str], str, str]] = [
        ({"maker": "0.001", "taker": "0.002"}, "USDT", "0.001"),
        ({"maker": "0.001", "taker": "0.002", "currency": "base"}, "BTC", "0.001"),
        ({"maker": "0.002", "taker": "0.002", "currency": "received"}, "BTC", "0.002"),
        ({"maker": "-0.001", "taker": "0.002", "currency": "ETH", "price": "2000"}, "ETH", "-0.001"),
    ]
    with venue.stream() as stream:
        account(stream)
        for number, (fees, currency, rate) in enumerate(schedules):
            assert venue.fault(fees=fees)["fees"] == {"currency": "quote", **fees}
            sell(venue, "0.1")
            frame = stream.next(lambda f: of("fees")(f) and "executionId" in f)
            assert frame["lastFeeCurrency"] == currency
            paid = Decimal(frame["lastPrice"]) * Decimal("0.1")
            amount = {"USDT": paid, "BTC": Decimal("0.1"), "ETH": paid / 2000}[currency]
            assert abs(Decimal(frame["lastFee"]) - amount * Decimal(rate)) <= Decimal("1e-8")
            # Amounts of different currencies have no sum.
            assert ("fee" in frame, "feeCurrency" in frame) == ((number == 0,) * 2)
    fills = fills_of(venue, "fees")
    assert [fill["feeCurrency"] for fill in fills] == ["USDT", "BTC", "BTC", "ETH"]
    order = venue.done("GET", "/v1/orders/fees")
    assert order["state"] == "FILLED"
    assert "fee" not in order
    words = refused(post(venue, "/v1/faults", fees={"maker": "1", "taker": "0"}), 400, "bad_request")
    assert "maker_fee" in words
    for wrong in ({"currency": "DOGE"}, {"currency": "DOGE", "price": "1"}, {"price": "1"}):
        answer = post(venue, "/v1/faults", fees={"maker": "0", "taker": "0", **wrong})
        assert "`fees`" in refused(answer, 400, "bad_request")


@pytest.mark.parametrize("carried_out", ["0s", "400ms", "never"])
def test_the_answer_to_an_order_is_lost(venue: Venue, carried_out: str) -> None:
    id = f"lost{carried_out}"
    faults = venue.fault(loseAnswers={"method": "POST", "carriedOut": carried_out})
    assert faults["lostAnswers"] == {"POST": 1, "PATCH": 0, "DELETE": 0}
    with venue.stream() as stream:
        account(stream)
        sent = venue.get("/v1/ledger")["time"]
        refused(venue.order(id), 504, "timeout")
        assert venue.get("/v1/faults")["lostAnswers"]["POST"] == 0
        if carried_out == "0s":
            assert venue.done("GET", f"/v1/orders/{id}")["state"] == "ACK"
        if carried_out == "never":
            # A later order is reported first.
            venue.order("after")
            assert stream.next(lambda f: f["type"] == "order")["clientOrderId"] == "after"
            refused(venue.ask("GET", f"/v1/orders/{id}"), 404, "unknown_order")
        else:
            assert stream.next(of(id))["state"] == "ACK"
            order = venue.done("GET", f"/v1/orders/{id}")
            assert order["state"] == "ACK"
            assert order["time"] - sent >= (400_000_000 if carried_out == "400ms" else 0)


def test_the_answer_to_a_cancel_is_lost_three_times(venue: Venue) -> None:
    venue.order("wish")
    venue.fault(loseAnswers={"method": "DELETE", "count": 3, "carriedOut": "never"})
    for _ in range(3):
        refused(venue.ask("DELETE", "/v1/orders/wish"), 504, "timeout")
        assert venue.done("GET", "/v1/orders/wish")["state"] == "ACK"
    assert venue.done("DELETE", "/v1/orders/wish")["state"] == "CANCELLED"
    venue.order("amended")
    venue.fault(loseAnswers={"method": "PATCH"})
    refused(venue.ask("PATCH", "/v1/orders/amended", {"quantity": "0.02"}), 504, "timeout")
    assert venue.done("GET", "/v1/orders/amended")["quantity"] == "0.0200"
    words = refused(
        post(venue, "/v1/faults", loseAnswers={"method": "POST", "carriedOut": "11s"}), 400, "bad_request"
    )
    assert "at most 10s" in words


def test_a_mute_stream_stays_connected_and_sends_nothing(venue: Venue) -> None:
    with venue.stream() as stream:
        account(stream)
        assert venue.fault(mute=True)["mute"]
        venue.order("unheard")
        post(venue, "/v1/accounts/main/transfers", currency="USDT", amount="5")
        assert stream.op("ping")["op"] == "pong"
        venue.fault(mute=False)
        venue.order("heard")
        frames: list[Frame] = []
        while not frames or not of("heard")(frames[-1]):
            frames.append(stream.next(lambda f: True))
        assert not [frame for frame in frames if of("unheard")(frame) or "transferId" in frame]


def test_a_fill_is_reported_after_the_cancel(venue: Venue) -> None:
    rests_best(venue, "late")
    with venue.stream() as stream:
        account(stream)
        assert venue.fault(fillsAfterEnd=True)["fillsAfterEnd"]
        sell(venue, "0.1")
        assert len(fills_of(venue, "late")) == 1
        venue.done("DELETE", "/v1/orders/late")
        end, fill = (stream.next(of("late")) for _ in range(2))
        assert (end["state"], end["filledQuantity"], "executionId" in end) == ("CANCELLED", "0.1000", False)
        assert (fill["state"], fill["lastQuantity"]) == ("PARTIAL", "0.1000")
        assert fill["time"] < end["time"]


def test_a_forgotten_order_is_unknown_and_not_open(venue: Venue) -> None:
    before = venue.amounts()
    venue.order("gone")
    assert venue.amounts() != before
    with venue.stream() as stream:
        account(stream)
        assert post(venue, "/v1/accounts/main/forget", clientOrderId="gone").status_code == 204
        refused(venue.ask("GET", "/v1/orders/gone"), 404, "unknown_order")
        refused(venue.ask("DELETE", "/v1/orders/gone"), 404, "unknown_order")
        assert venue.done("GET", "/v1/orders")["orders"] == []
        assert venue.amounts() == before
        venue.order("known")
        reports = [stream.next(lambda f: f["type"] == "order")]
        assert [frame["clientOrderId"] for frame in reports] == ["known"]
    refused(post(venue, "/v1/accounts/main/forget", clientOrderId="gone"), 404, "unknown_order")
    refused(post(venue, "/v1/accounts/none/forget", clientOrderId="a"), 404, "unknown_account")


def test_deposits_and_withdrawals_are_reported_with_an_id_and_an_amount(venue: Venue) -> None:
    total = Decimal(venue.amounts()["USDT"][0])
    with venue.stream() as stream:
        account(stream)
        ids: list[str] = []
        for amount, reason in (("12.5", "deposit"), ("-2.5", "withdrawal")):
            answer = post(venue, "/v1/accounts/main/transfers", currency="USDT", amount=amount)
            assert answer.status_code == 201, answer.text
            frame = stream.next(lambda f: "transferId" in f)
            total += Decimal(amount)
            assert (frame["type"], frame["currency"], Decimal(frame["total"])) == ("balance", "USDT", total)
            assert (Decimal(frame["change"]), frame["reason"]) == (Decimal(amount), reason)
            assert frame["transferId"] == answer.json()["transferId"]
            ids.append(frame["transferId"])
        assert len({*ids}) == 2
    assert Decimal(venue.amounts()["USDT"][0]) == total
    path = "/v1/accounts/main/transfers"
    refused(post(venue, path, currency="USDT", amount="-1000000000"), 422, "insufficient_funds")
    refused(post(venue, path, currency="DOGE", amount="1"), 400, "bad_request")
    refused(post(venue, path, currency="USDT", amount="much"), 400, "bad_request")


def test_orders_of_another_client_have_no_client_order_id(venue: Venue) -> None:
    with venue.stream() as stream:
        account(stream)
        limit = {"symbol": "BTC-USDT", "side": "buy", "orderType": "limit", "price": "30000"}
        placed = post(venue, "/v1/accounts/main/orders", **limit, quantity="0.1")
        assert placed.status_code == 201, placed.text
        id = placed.json()["venueOrderId"]
        [order] = venue.done("GET", "/v1/orders")["orders"]
        assert (order["venueOrderId"], "clientOrderId" in order) == (id, False)
        report = stream.next(lambda f: f["type"] == "order")
        assert (report["venueOrderId"], "clientOrderId" in report) == (id, False)
        assert venue.client.delete(f"/v1/accounts/main/orders/BTC-USDT/{id}").status_code == 204
        assert stream.next(lambda f: f["type"] == "order")["state"] == "CANCELLED"
        refused(venue.client.delete(f"/v1/accounts/main/orders/BTC-USDT/{id}"), 404, "unknown_order")
        market = {"symbol": "BTC-USDT", "side": "buy", "orderType": "market", "quantity": "0.1"}
        filled = post(venue, "/v1/accounts/main/orders", **market).json()["venueOrderId"]
        fill = stream.next(lambda f: "executionId" in f)
        assert (fill["venueOrderId"], "clientOrderId" in fill) == (filled, False)
    last = venue.done("GET", "/v1/fills")["fills"][-1]
    assert (last["venueOrderId"], "clientOrderId" in last) == (filled, False)


def test_a_withheld_fill_is_in_neither_stream_nor_list_but_in_the_balances(venue: Venue) -> None:
    rests_best(venue, "hidden", "0.2")
    before = venue.amounts()["BTC"]
    with venue.stream() as stream:
        account(stream)
        assert venue.fault(withholdFills=True)["withholdFills"]
        sell(venue, "0.2")
        balance = stream.next(lambda f: f["type"] == "balance" and f["currency"] == "BTC")
        assert Decimal(balance["total"]) == Decimal(before[0]) + Decimal("0.2")
        assert fills_of(venue, "hidden") == []
        assert venue.done("GET", "/v1/orders/hidden")["filledQuantity"] == "0.2000"
        venue.order("next")
        assert stream.next(lambda f: f["type"] == "order")["clientOrderId"] == "next"
        assert not venue.fault(withholdFills=False)["withholdFills"]
        [fill] = fills_of(venue, "hidden")
        assert fill["quantity"] == "0.2"


def test_an_older_balance_is_sent_after_a_newer_fill(venue: Venue) -> None:
    with venue.stream() as stream:
        account(stream)
        for id in ("one", "two"):
            venue.order(id, orderType="market", quantity="0.1")
        first, second = (
            stream.next(lambda f: f["type"] == "balance" and f["currency"] == "BTC") for _ in range(2)
        )
        while second["time"] == first["time"]:
            second = stream.next(lambda f: f["type"] == "balance" and f["currency"] == "BTC")
        path = "/v1/accounts/main/older-balance"
        assert post(venue, path, currency="BTC").status_code == 204
        older = stream.next(lambda f: f["type"] == "balance" and f["time"] < second["time"])
        assert Decimal(older["total"]) < Decimal(second["total"])
        refused(post(venue, path, currency="DOGE"), 400, "bad_request")
        refused(post(venue, "/v1/accounts/idle/older-balance", currency="ETH"), 409, "no_older_balance")


def test_posts_are_counted_by_client_order_id_also_refused_ones(venue: Venue) -> None:
    venue.order("counted")
    venue.order("counted")
    venue.order("poor", quantity="1000")
    venue.order("signed", secret="wrong")
    venue.ask("POST", "/v1/orders", {"clientOrderId": "half"})
    venue.fault(loseAnswers={"method": "POST", "carriedOut": "never"})
    venue.order("never")
    counts = venue.get("/v1/requests")
    expected = {"counted": 2, "poor": 1, "signed": 1, "half": 1, "never": 1}
    assert {id: counts["posts"].get(id) for id in expected} == expected
    assert counts["total"] == sum(counts["posts"].values())
    assert counts["forgotten"] == 0
    twice = venue.get("/v1/requests?least=2")["posts"]
    assert "counted" in twice
    assert "poor" not in twice


def test_an_adapter_sees_other_clients_transfers_and_lost_orders(venue: Venue) -> None:
    settings = {"endpoint": venue.address, "key": "main", "secret": "main-secret"}
    with Rig(FakeAdapter.configure(settings)) as rig:
        account, symbol = rig.account, "BTC-USDT"
        rig.subscribe(("ExecReport", None), ("BalanceUpdate", None))
        rig.wait(lambda: account.reconciled, "the end of the reconciliation")
        path = "/v1/accounts/main"
        post(venue, f"{path}/orders", symbol=symbol, side="buy", orderType="market", quantity="0.1")
        limit = {"symbol": symbol, "side": "buy", "orderType": "limit", "price": "30000"}
        post(venue, f"{path}/orders", **limit, quantity="0.1")
        [foreign] = rig.do(account.open_orders())
        assert (foreign.client_order_id, foreign.price) == ("", 30000)
        filled = rig.wait(lambda: [r for r in rig.reports("") if r.state == "FILLED"], "the fill")
        [*_, last] = rig.do(account.fills_since({symbol: START}))
        assert (last.client_order_id, last.execution_id) == ("", filled[-1].execution_id)
        id = post(venue, f"{path}/transfers", currency="ETH", amount="-3").json()["transferId"]
        rig.wait(lambda: id in _transfers(rig), "the withdrawal")
        venue.fault(loseAnswers={"method": "POST", "carriedOut": "500ms"})
        order = NewOrder("lostlater", symbol, Side.BUY, Decimal("0.01"), Decimal(30000))
        with pytest.raises(OutcomeUnknown):
            rig.do(account.submit(order))
        with pytest.raises(VenueUnavailable) as unsettled:
            rig.do(account.order(symbol, "lostlater"))
        assert unsettled.value.code == "unsettled"
        rig.wait(lambda: rig.reports("lostlater"), "the report of the order that arrived late")
        cancelled = rig.do(account.cancel(symbol, "lostlater"))
        assert cancelled.state == "CANCELLED"
        rig.do(account.cancel_all())
        assert rig.do(account.open_orders()) == []


def _transfers(rig: Rig) -> list[str | None]:
    return [cast(BalanceUpdate, event).transfer_id for event in rig.since(0, "BalanceUpdate", "ETH")]
