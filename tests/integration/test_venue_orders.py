"""A venue as a process: orders from their sending to their end, over REST and on the account's stream."""

import json
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.support import pages
from tests.support.paths import ROOT
from tests.support.venues import CONFIG, Frame, Signer, Stream, Venue, amounts, now_ms, serving, signature

ACCOUNTS = """
accounts:
  main: {key: main, secret: main-secret}
  poor: {key: poor, secret: poor-secret, balances: {USDT: 100}}
  rich: {key: rich, secret: rich-secret}
"""
FILL = ("executionId", "lastQuantity", "lastPrice", "lastFee", "lastFeeCurrency", "liquidity")
POOR: Signer = {"key": "poor", "secret": "poor-secret"}


@pytest.fixture(name="venue", scope="module")
def _venue(tmp_path_factory: pytest.TempPathFactory) -> Generator[Venue]:
    with serving(tmp_path_factory.mktemp("venue"), config=CONFIG + ACCOUNTS) as venue:
        yield venue


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """What an answer that refuses says."""
    failure = answer.json()
    assert (answer.status_code, failure["status"], failure["code"]) == (status, "error", code), failure
    return failure["error"]


def best(venue: Venue, side: str, symbol: str = "BTC-USDT") -> Decimal:
    return Decimal(venue.get(f"/v1/depth?symbol={symbol}&limit=1")[side][0][0])


def account(stream: Stream) -> None:
    assert stream.log_in()["account"] == "main"
    stream.subscribe("account")


def told(stream: Stream, id: str, state: str) -> Frame:
    """The next frame of an order that has come to a state, without what only a frame has."""
    frame = stream.next(
        lambda frame: frame["type"] == "order" and (frame["clientOrderId"], frame["state"]) == (id, state)
    )
    del frame["type"]
    return frame


def test_the_page_shows_an_order_a_fill_and_a_frame_as_they_are(venue: Venue) -> None:
    blocks = (block for block in pages.blocks(ROOT / "docs/venue.md") if block.language == "json")
    body, order, fill, frame = (json.loads(block.code) for block in blocks)
    crossing = {**body, "price": str(best(venue, "asks") * 2)}
    answer = venue.ask("POST", "/v1/orders", crossing)
    assert answer.status_code == 201, answer.text
    assert [*answer.json()] == [*order]
    assert [*venue.done("GET", "/v1/fills")["fills"][-1]] == [*fill]
    with venue.stream() as stream:
        stream.subscribe("depth:BTC-USDT")
        assert [*stream.next(lambda sent: sent["type"] == "depth")] == [*frame]


def test_an_order_rests_is_amended_and_cancelled(venue: Venue) -> None:
    with venue.stream() as stream:
        account(stream)
        answer = venue.order("rests", quantity="0.5")
        assert answer.status_code == 201
        order = answer.json()
        words = [order[key] for key in ("state", "side", "orderType", "symbol")]
        assert words == ["ACK", "buy", "limit", "BTC-USDT"]
        numbers = [
            Decimal(order[key]) for key in ("price", "quantity", "filledQuantity", "remainingQuantity")
        ]
        assert numbers == [30000, Decimal("0.5"), 0, Decimal("0.5")]
        assert "averagePrice" not in order
        assert told(stream, "rests", "ACK") == order
        balance = stream.next(lambda frame: frame["type"] == "balance" and frame["currency"] == "USDT")
        assert Decimal(balance["total"]) - Decimal(balance["available"]) == 15015, "the fee, too"
        assert order in venue.done("GET", "/v1/orders")["orders"]
        assert venue.done("GET", "/v1/orders/rests") == order

        amended = venue.done("PATCH", "/v1/orders/rests", {"quantity": "0.25", "price": "29000"})
        assert [Decimal(amended[key]) for key in ("price", "quantity")] == [29000, Decimal("0.25")]
        assert told(stream, "rests", "ACK") == amended

        cancelled = venue.done("DELETE", "/v1/orders/rests")
        assert cancelled["state"] == "CANCELLED"
        assert told(stream, "rests", "CANCELLED") == cancelled
        assert venue.done("GET", "/v1/orders/rests") == cancelled
        assert cancelled["clientOrderId"] not in [
            open_["clientOrderId"] for open_ in venue.done("GET", "/v1/orders")["orders"]
        ]
        assert "expected the client order id of an open order" in refused(
            venue.ask("DELETE", "/v1/orders/rests"), 404, "unknown_order"
        )


def test_a_market_order_has_the_same_fills_in_reports_and_queries(venue: Venue) -> None:
    with venue.stream() as stream:
        account(stream)
        before = venue.get("/v1/ledger")["fills"]
        order = venue.order("takes", orderType="market", quantity="2.5", side="sell").json()
        assert order["state"] == "FILLED"
        assert order["orderType"] == "market"
        assert "price" not in order
        frames: list[Frame] = []
        while not frames or frames[-1]["state"] != "FILLED":
            frames.append(stream.next(lambda frame: frame.get("clientOrderId") == "takes"))
        filled = [frame for frame in frames if "executionId" in frame]
        assert sum(Decimal(frame["lastQuantity"]) for frame in filled) == Decimal("2.5")
        fills = venue.done("GET", "/v1/fills")["fills"]
        mine = [fill for fill in fills if fill["clientOrderId"] == "takes"]
        assert [fill["executionId"] for fill in mine] == [frame["executionId"] for frame in filled]
        assert [fill["feeCurrency"] for fill in mine] == [frame["lastFeeCurrency"] for frame in filled]
        assert {fill["liquidity"] for fill in mine} == {"taker"}
        assert {frame["liquidity"] for frame in filled} == {"taker"}
        for key, last in (("price", "lastPrice"), ("quantity", "lastQuantity"), ("fee", "lastFee")):
            assert [Decimal(fill[key]) for fill in mine] == [Decimal(frame[last]) for frame in filled]
        notional = sum(Decimal(fill["price"]) * Decimal(fill["quantity"]) for fill in mine)
        assert Decimal(order["averagePrice"]) == pytest.approx(notional / Decimal("2.5"), rel=Decimal("1e-8"))
        assert Decimal(order["fee"]) == sum(Decimal(fill["fee"]) for fill in mine)
        assert venue.get("/v1/ledger")["fills"] >= before + len(mine)
        # Paged: after a number, from a time on, at most so many.
        first, *rest = fills
        assert venue.done("GET", f"/v1/fills?after={first['executionId']}")["fills"] == rest
        assert venue.done("GET", "/v1/fills?limit=1")["fills"] == [first]
        assert venue.done("GET", f"/v1/fills?since={mine[0]['time']}")["fills"][0] == mine[0]
        assert venue.done("GET", f"/v1/fills?since={fills[-1]['time'] + 1}")["fills"] == []


def test_an_order_that_rests_is_filled_by_another_account(venue: Venue) -> None:
    venue.fault(quiet=True)
    with venue.stream() as stream:
        account(stream)
        price, before = venue.get("/v1/depth?symbol=BTC-USDT&limit=1")["bids"][0]
        venue.order("makes", price=price, quantity="0.1")
        whole = str(Decimal(before) + Decimal("0.1"))
        venue.order("hits", orderType="market", side="sell", quantity=whole, key="rich", secret="rich-secret")
        order = told(stream, "makes", "FILLED")
        fill = {key: order.pop(key) for key in FILL}
        assert fill["liquidity"] == "maker"
        assert venue.done("GET", "/v1/orders/makes") == order
        [known] = [
            fill for fill in venue.done("GET", "/v1/fills")["fills"] if fill["clientOrderId"] == "makes"
        ]
        assert known["executionId"] == fill["executionId"]
        assert Decimal(known["price"]) == Decimal(fill["lastPrice"])
        assert known["liquidity"] == "maker"
        assert Decimal(known["fee"]) == Decimal(price) * Decimal("0.1") * Decimal("0.001")
    venue.fault(quiet=False)


def test_time_in_force_and_post_only(venue: Venue) -> None:
    far = str(best(venue, "asks") * 2 // 1)
    assert venue.order("ioc", timeInForce="IOC").json()["state"] == "EXPIRED"
    assert refused(venue.order("fok", timeInForce="FOK"), 422, "unfillable")
    assert refused(venue.order("post", postOnly=True, price=far), 422, "would_cross")
    assert venue.order("posts", postOnly=True).status_code == 201
    assert refused(venue.order("odd", postOnly=True, timeInForce="IOC"), 422, "invalid_order")


def test_all_open_orders_can_be_cancelled_together(venue: Venue) -> None:
    venue.ask("DELETE", "/v1/orders")
    for id in ("a", "b", "c"):
        venue.order(id)
    assert venue.done("DELETE", "/v1/orders") == {"cancelled": ["a", "b", "c"]}
    assert venue.done("GET", "/v1/orders") == {"orders": []}
    assert venue.done("DELETE", "/v1/orders") == {"cancelled": []}


def test_accounts_do_not_see_each_other(venue: Venue) -> None:
    venue.order("mine")
    assert refused(venue.ask("GET", "/v1/orders/mine", **POOR), 404, "unknown_order")
    assert refused(venue.ask("DELETE", "/v1/orders/mine", **POOR), 404, "unknown_order")
    assert venue.done("GET", "/v1/orders", **POOR) == {"orders": []}
    owned = venue.done("GET", "/v1/balances", **POOR)["balances"]
    assert {each["currency"]: each["total"] for each in owned if each["total"] != "0"} == {"USDT": "100"}
    big = venue.order("big", quantity="1", **POOR)
    assert "of quote available" in refused(big, 422, "insufficient_funds")
    # The same id is another order there.
    assert venue.order("mine", quantity="0.001", **POOR).status_code == 201
    with venue.stream() as stream:
        assert stream.log_in(**POOR)["account"] == "poor"
        stream.subscribe("account")
        venue.ask("DELETE", "/v1/orders/mine")
        venue.ask("DELETE", "/v1/orders/mine", **POOR)
        frame = stream.next(lambda frame: frame["type"] == "order")
        assert (frame["clientOrderId"], frame["quantity"]) == ("mine", "0.0010")


@pytest.mark.parametrize(
    ("fields", "status", "code", "words"),
    [
        ({"price": "30000.001"}, 422, "tick_size", "a multiple of 0.01"),
        ({"quantity": "0.00001"}, 422, "lot_size", "a multiple of 0.0001"),
        ({"quantity": "0.0001"}, 422, "min_notional", "at least 10"),
        ({"quantity": "2000"}, 422, "max_quantity", "at most 1000"),
        ({"quantity": "-1"}, 422, "invalid_quantity", "above zero"),
        ({"quantity": "0"}, 422, "invalid_quantity", "above zero"),
        ({"price": "0"}, 422, "invalid_price", "above zero"),
        ({"price": "-5"}, 422, "invalid_price", "above zero"),
        ({"price": "0", "side": "sell"}, 422, "invalid_price", "above zero"),
        ({"quantity": "9" * 20}, 422, None, ""),
        ({"price": "9" * 20 + "." + "9" * 20}, 422, None, ""),
        ({"symbol": "XYZ-USDT"}, 404, "unknown_symbol", "saw 'XYZ-USDT'"),
        ({"symbol": "BTC/USDT"}, 404, "unknown_symbol", "saw 'BTC/USDT'"),
        ({"clientOrderId": ""}, 400, "bad_request", "1 to 18 of 0-9 and a-z, saw ''"),
        ({"clientOrderId": "a" * 19}, 400, "bad_request", "1 to 18 of 0-9 and a-z"),
        ({"clientOrderId": "a\n"}, 400, "bad_request", "1 to 18 of 0-9 and a-z"),
        ({"quantity": "1e3"}, 400, "bad_request", "`quantity`: expected a number such as 0.25, saw '1e3'"),
        ({"quantity": "NaN"}, 400, "bad_request", "saw 'NaN'"),
        ({"quantity": "\uff11"}, 400, "bad_request", "`quantity`"),
        ({"quantity": 1}, 400, "bad_request", "Expected `str`, got `int` - at `$.quantity`"),
        ({"price": None}, 400, "bad_request", "expected a price only for limit orders, saw limit, no price"),
        ({"orderType": "market", "price": "1"}, 400, "bad_request", "saw market, a price"),
        ({"side": "Buy"}, 400, "bad_request", "$.side"),
        ({"timeInForce": "DAY"}, 400, "bad_request", "$.timeInForce"),
        ({"leverage": 3}, 400, "bad_request", "unknown field `leverage`"),
    ],
)
def test_a_refusal_has_a_reason_and_changes_nothing(
    venue: Venue, fields: dict[str, object], status: int, code: str | None, words: str
) -> None:
    before = venue.amounts(), venue.done("GET", "/v1/orders")
    answer = venue.order("wrong", fields)
    failure = answer.json()
    assert answer.status_code == status, failure
    assert failure["code"] == (code or failure["code"]), failure
    assert words in failure["error"], failure
    assert (venue.amounts(), venue.done("GET", "/v1/orders")) == before


def test_ids_are_used_once_while_open(venue: Venue) -> None:
    venue.order("twice")
    assert refused(venue.order("twice"), 409, "duplicate_client_id")
    venue.ask("DELETE", "/v1/orders/twice")


def test_invalid_amendments_are_refused(venue: Venue) -> None:
    venue.order("amends")
    for body, status, code in (
        ({}, 400, "bad_request"),
        ({"quantity": "1e1"}, 400, "bad_request"),
        ({"price": "30000.001"}, 422, "tick_size"),
        ({"quantity": "900"}, 422, "insufficient_funds"),
    ):
        refused(venue.ask("PATCH", "/v1/orders/amends", body), status, code)
    refused(venue.ask("PATCH", "/v1/orders/other", {"quantity": "1"}), 404, "unknown_order")
    assert venue.done("GET", "/v1/orders/amends")["quantity"] == "0.0100"
    venue.ask("DELETE", "/v1/orders/amends")


def test_signatures(venue: Venue) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"key": "wrong"}, "unknown_key", "saw 'wrong'"),
        ({"secret": "guess"}, "bad_signature", "saw another"),
        ({"headers": {"X-Venue-Signature": ""}}, "bad_signature", "saw another"),
        ({"headers": {"X-Venue-Time": str(now_ms())}}, "bad_signature", "saw another"),
    ]
    for changes, code, words in wrong:
        answer = venue.ask("POST", "/v1/orders", {"clientOrderId": "x"}, **changes)
        assert words in refused(answer, 401, code)
    old = now_ms() - 60_000
    headers = {
        "X-Venue-Time": str(old),
        "X-Venue-Signature": signature("main-secret", old, "GET", "/v1/orders"),
    }
    text = refused(venue.ask("GET", "/v1/orders", headers=headers), 401, "bad_time")
    assert str(old) in text
    assert "of the venue's" in text
    assert "none" in refused(venue.client.get("/v1/orders"), 401, "unknown_key")
    # What is signed is what was sent, its query and its escapes included.
    path = "/v1/fills?limit=1&after=0"
    sent = now_ms()
    moved = {"X-Venue-Time": str(sent), "X-Venue-Signature": signature("main-secret", sent, "GET", path)}
    refused(venue.ask("GET", "/v1/fills?after=0&limit=1", headers=moved), 401, "bad_signature")
    refused(venue.ask("GET", "/v1/orders/a%20b"), 404, "unknown_order")


def test_malformed_requests_are_refused(venue: Venue) -> None:
    json = {"content-type": "application/json"}
    assert refused(venue.ask("POST", "/v1/orders", b"{"), 400, "bad_json")
    assert refused(venue.ask("POST", "/v1/orders", b"[]"), 400, "bad_request")
    assert refused(
        venue.ask("POST", "/v1/orders", b"{}", headers={"content-type": "text/plain"}),
        415,
        "unsupported_media_type",
    )
    assert "`limit`" in refused(venue.ask("GET", "/v1/fills?limit=1001"), 400, "bad_request")
    assert "`since`" in refused(venue.ask("GET", "/v1/fills?since=-1"), 400, "bad_request")
    assert "`limit`" in refused(venue.client.get("/v1/depth?symbol=BTC-USDT&limit=0"), 400, "bad_request")
    for method, path, words in (
        ("GET", "/v1/fills?sinc=1", "`sinc` is unknown; did you mean `since`?"),
        ("GET", "/v1/fills?page=1", "`page` is unknown; expected one of after, limit, since"),
        ("GET", "/v1/orders/a?id=a", "`id` is unknown; none are defined"),
        ("DELETE", "/v1/orders?side=buy", "`side` is unknown; expected one of symbol"),
        ("GET", "/v1/ledger?request=1", "`request` is unknown"),
    ):
        assert words in refused(venue.ask(method, path), 400, "bad_request")
    assert "symbol" in refused(venue.client.get("/v1/depth"), 400, "bad_request")
    assert refused(venue.client.get("/v1/depth?symbol=XYZ"), 404, "unknown_symbol")
    assert "/v1/nothing" in refused(venue.client.get("/v1/nothing"), 404, "not_found")
    assert refused(venue.client.put("/v1/orders", json={}), 405, "method_not_allowed")
    assert refused(venue.client.get("/v1/time", headers={"host": "evil.example"}), 421, "host_not_allowed")
    cross = {**json, "origin": "https://evil.example"}
    assert refused(venue.client.post("/v1/faults", content=b"{}", headers=cross), 403, "cross_origin")


def test_public_routes_need_no_key(venue: Venue) -> None:
    known = venue.get("/v1/time")
    assert abs(known["time"] - now_ms()) < 60_000
    assert known["marketTime"] > 1_767_225_600_000_000_000
    names = [each["symbol"] for each in venue.get("/v1/instruments")["instruments"]]
    assert names == ["BTC-USDT", "ETH-USDT"]
    shallow = venue.get("/v1/depth?symbol=ETH-USDT&limit=3")
    assert (len(shallow["bids"]), len(shallow["asks"])) == (3, 3)


def test_the_ledger_sums_to_zero(venue: Venue) -> None:
    for number in range(20):
        side = "buy" if number % 2 else "sell"
        assert venue.order(f"m{number}", orderType="market", side=side, quantity="0.3").status_code == 201
    ledger = venue.get("/v1/ledger")
    assert set(ledger["sums"].values()) == {"0"}
    main, *others = ledger["accounts"]
    assert [each["name"] for each in (main, *others)] == ["main", "poor", "rich"]
    assert amounts(main["balances"]) == venue.amounts()
    assert main["openOrders"] == venue.done("GET", "/v1/orders")["orders"]
