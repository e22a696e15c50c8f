"""The streams of a venue, and its faults."""

import json
import re
import socket
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from meltica.persistence.postgres.server import wait_until
from tests.integration.test_venue_orders import account, refused, told
from tests.support.serving import PATIENCE
from tests.support.venues import CONFIG, Frame, Stream, Venue, now_ms, serving

BUSY = CONFIG.replace("trade_interval: 50ms", "trade_interval: 10ms\n  speed: 10")


@pytest.fixture(name="venue")
def _venue(tmp_path: Path) -> Generator[Venue]:
    with serving(tmp_path) as venue:
        yield venue


class Book:
    """A book kept as docs/venue.md says, by its numbered steps."""

    def __init__(self, venue: Venue, stream: Stream, symbol: str) -> None:
        self.venue, self.stream, self.symbol = venue, stream, symbol
        self.gaps = 0
        self._begin()

    def _begin(self) -> None:
        self.sides: dict[str, dict[Decimal, Decimal]] = {}
        snapshot = self.venue.get(f"/v1/depth?symbol={self.symbol}&limit=5000")  # 2
        self.last: int = snapshot["last"]
        for side in ("bids", "asks"):
            self.sides[side] = {Decimal(price): Decimal(quantity) for price, quantity in snapshot[side]}

    def apply(self, frame: Frame) -> None:
        if frame["last"] <= self.last:  # 3
            return
        if frame["first"] > self.last + 1:  # 4
            self.gaps += 1
            self._begin()
            self.apply(frame)
            return
        for side in ("bids", "asks"):  # 5
            for price, quantity in frame[side]:
                if Decimal(quantity):
                    self.sides[side][Decimal(price)] = Decimal(quantity)
                else:
                    self.sides[side].pop(Decimal(price), None)
        self.last = frame["last"]

    def follow(self, frames: int) -> None:
        """Applies so many frames."""
        for _ in range(frames):
            self.apply(self.stream.next(self._mine))

    def agree(self) -> None:
        """Asserts that it is the venue's book, once nothing moves."""
        self.venue.fault(quiet=True)
        snapshot = self.venue.get(f"/v1/depth?symbol={self.symbol}&limit=5000")
        while self.last < snapshot["last"]:
            self.follow(1)
        assert self.last == snapshot["last"]
        for side in ("bids", "asks"):
            whole = {Decimal(price): Decimal(quantity) for price, quantity in snapshot[side]}
            assert self.sides[side] == whole
        self.venue.fault(quiet=False)

    def _mine(self, frame: Frame) -> bool:
        return frame["type"] == "depth" and frame["symbol"] == self.symbol


def test_only_subscribed_channels_are_sent(venue: Venue) -> None:
    with venue.stream() as stream:
        channels = [f"{kind}:BTC-USDT" for kind in ("trade", "ticker", "depth")]
        stream.subscribe(*channels)
        seen: set[tuple[str, str]] = set()
        ids: list[int] = []
        while len(ids) < 20 or len(seen) < 3:
            frame = stream.next(lambda _: True)
            seen.add((frame["type"], frame["symbol"]))
            if frame["type"] == "trade":
                ids.append(frame["id"])
        assert seen == {(kind, "BTC-USDT") for kind in ("trade", "ticker", "depth")}
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        [client] = venue.get("/v1/clients")["clients"]
        assert client["channels"] == channels
        assert client["sent"] > 20

        answer = stream.op("unsubscribe", channels=["trade:BTC-USDT", "depth:BTC-USDT"])
        assert answer["op"] == "unsubscribed"
        stream.frames.clear()
        stream.subscribe("trade:ETH-USDT")
        for _ in range(20):
            frame = stream.next(lambda _: True)
            assert (frame["type"], frame["symbol"]) in {("trade", "ETH-USDT"), ("ticker", "BTC-USDT")}


def test_two_streams_have_separate_subscriptions(venue: Venue) -> None:
    with venue.stream() as one, venue.stream() as other:
        one.subscribe("trade:BTC-USDT")
        other.subscribe("trade:BTC-USDT", "trade:ETH-USDT")
        # The stream that subscribed later sees no trade that the other one misses.
        first = other.next(lambda frame: frame["type"] == "trade" and frame["symbol"] == "BTC-USDT")
        assert one.next(lambda frame: frame.get("id") == first["id"]) == first
        one.op("unsubscribe", channels=["trade:BTC-USDT"])
        # Somebody still wants it.
        assert other.next(lambda frame: frame["symbol"] == "BTC-USDT")["id"] > first["id"]
        assert len(venue.get("/v1/clients")["clients"]) == 2


def test_candles_and_instruments_are_sent_at_their_interval(tmp_path: Path) -> None:
    text = CONFIG.replace("speed", "").replace(
        "trade_interval: 50ms", "kline_interval: 1s\n  instrument_refresh_interval: 2s\n  speed: 20"
    )
    with serving(tmp_path, config=text) as venue, venue.stream() as stream:
        stream.subscribe("candle:BTC-USDT", "instruments")
        candle = stream.next(lambda frame: frame["type"] == "candle")
        assert candle["closed"]
        assert candle["closeTime"] - candle["openTime"] in (1_000_000_000, 999_999_999)
        assert candle["interval"] == "1s"
        instrument = stream.next(lambda frame: frame["type"] == "instrument")["instrument"]
        assert instrument in venue.get("/v1/instruments")["instruments"]


def test_a_book_of_snapshot_and_diffs_equals_the_venues(tmp_path: Path) -> None:
    with serving(tmp_path, config=BUSY) as venue, venue.stream() as stream:
        stream.subscribe("depth:BTC-USDT")
        book = Book(venue, stream, "BTC-USDT")
        book.follow(100)
        book.agree()
        assert book.gaps == 0
        venue.fault(skipDepth={"symbol": "BTC-USDT", "frames": 2})
        book.follow(100)
        book.agree()
        assert book.gaps == 1


def test_refused_messages_change_nothing(venue: Venue) -> None:
    with venue.stream() as stream:
        for op, fields, code in (
            ("subscribe", {"channels": ["trade:BTC-USDT", "trade:XYZ"]}, "unknown_symbol"),
            ("subscribe", {"channels": ["trade:BTC-USDT", "trades:BTC-USDT"]}, "unknown_channel"),
            ("subscribe", {"channels": ["trade:BTC-USDT", "account"]}, "not_logged_in"),
            ("subscribe", {"channels": ["account:main"]}, "unknown_channel"),
            ("subscribe", {}, "bad_request"),
            ("subscribe", {"channels": "trade:BTC-USDT"}, "bad_request"),
            ("unsubscribe", {"channels": ["trade:BTC-USDT"]}, "not_subscribed"),
            ("login", {"key": "main", "time": now_ms(), "signature": "0"}, "bad_signature"),
            ("login", {"key": "nobody", "time": now_ms(), "signature": "0"}, "unknown_key"),
            ("dance", {}, "bad_request"),
        ):
            answer = stream.op(op, **fields)
            assert (answer["op"], answer["code"]) == ("error", code), answer
        for raw in ("{", "[]", "null", '{"op":"ping","id":-1}', '{"op":"ping"}', b"\xff", "[" * 100_000):
            stream.connection.send(raw)
            answer = stream.read()
            assert (answer["op"], answer["code"]) == ("error", "bad_request")
            assert "id" not in answer
        [client] = venue.get("/v1/clients")["clients"]
        assert client["channels"] == []
        assert "account" not in client
        assert stream.op("ping")["op"] == "pong"


def test_the_size_of_a_message_is_limited(venue: Venue) -> None:
    with venue.stream() as stream:
        names = [f"trade:{'X' * 10}"] * 1001
        assert stream.op("subscribe", channels=names)["code"] == "unknown_symbol"
        stream.connection.send(" " * ((1 << 20) + 1))
        assert stream.closed() == 1009
    assert venue.get("/v1/clients")["clients"] == []


def test_a_stream_logs_in_once(venue: Venue) -> None:
    with venue.stream() as stream:
        assert stream.log_in() == {"op": "loggedIn", "id": 1, "account": "main"}
        assert stream.log_in()["account"] == "main"
        assert venue.get("/v1/clients")["clients"][0]["account"] == "main"


def test_a_disconnect_closes_every_stream_and_keeps_orders(venue: Venue) -> None:
    with venue.stream() as one, venue.stream() as other:
        account(one)
        other.subscribe("trade:BTC-USDT")
        venue.order("stays")
        assert venue.fault(disconnect="1h")["connected"] is False
        assert [one.closed(), other.closed()] == [1012, 1012]
    with pytest.raises(InvalidStatus) as refusal, venue.stream():
        pass
    assert refusal.value.response.status_code == 503
    assert json.loads(refusal.value.response.body or b"")["code"] == "unavailable"
    for path in ("/v1/time", "/v1/instruments", "/v1/depth?symbol=BTC-USDT"):
        assert refused(venue.client.get(path), 503, "unavailable")
    assert "nothing was done" in refused(venue.order("never"), 503, "unavailable")
    ledger = venue.get("/v1/ledger")
    assert [order["clientOrderId"] for order in ledger["accounts"][0]["openOrders"]] == ["stays"]
    assert venue.get("/v1/clients")["clients"] == []
    # Another one, shorter, takes its place.
    venue.fault(disconnect="1ms")
    assert wait_until(lambda: venue.client.get("/v1/time").status_code == 200, PATIENCE)
    with venue.stream() as stream:
        account(stream)
        assert venue.done("GET", "/v1/orders/stays")["state"] == "ACK"
        venue.ask("DELETE", "/v1/orders/stays")
        assert told(stream, "stays", "CANCELLED")
    refused(venue.ask("GET", "/v1/orders/never"), 404, "unknown_order")
    assert '"level":"error"' not in venue.log.read_text()


def test_requests_fail_before_or_after_their_execution(venue: Venue) -> None:
    venue.fault(behavior={"transient_error": 1})
    statuses: dict[str, int] = {}
    for number in range(40):
        answer = venue.order(f"o{number}", quantity="0.001")
        assert answer.json()["code"] == {503: "unavailable", 504: "timeout"}[answer.status_code]
        statuses[f"o{number}"] = answer.status_code
        # A query changes nothing, so it is never unknown what it did.
        assert venue.ask("GET", "/v1/orders").status_code == 503
    venue.fault(behavior={"transient_error": 0})
    done = {order["clientOrderId"] for order in venue.done("GET", "/v1/orders")["orders"]}
    assert done == {id for id, status in statuses.items() if status == 504}
    assert 0 < len(done) < 40


def test_a_rejected_order_is_reported_and_queried_as_rejected(venue: Venue) -> None:
    venue.fault(behavior={"reject": 1})
    with venue.stream() as stream:
        account(stream)
        assert refused(venue.order("no"), 422, "venue_rejected")
        rejected = told(stream, "no", "REJECTED")
        assert rejected["reason"]
        assert venue.done("GET", "/v1/orders/no") == rejected
    venue.fault(behavior={"reject": 0})
    assert venue.order("yes").status_code == 201


def test_reports_are_duplicated(venue: Venue) -> None:
    venue.fault(behavior={"report_duplicate": 1})
    with venue.stream() as stream:
        account(stream)
        venue.order("twice")
        assert told(stream, "twice", "ACK") == told(stream, "twice", "ACK")


def test_latency_is_in_the_venues_time(venue: Venue) -> None:
    venue.fault(behavior={"latency_min": "300ms", "latency_max": "300ms"})
    with venue.stream() as stream:
        account(stream)
        sent = venue.get("/v1/ledger")["time"]
        order = venue.order("slow").json()
        assert order["time"] - sent >= 300_000_000
        answered = venue.get("/v1/ledger")["time"]
        assert told(stream, "slow", "ACK")
        # The report has the same latency again.
        assert venue.get("/v1/ledger")["time"] - order["time"] >= 300_000_000
        assert answered >= order["time"]


def test_invalid_faults_change_nothing(venue: Venue) -> None:
    before = venue.fault()
    for body, words in (
        ({"behavior": {"reject": 2}}, "`reject`"),
        ({"behavior": {"rejects": 1}}, "`rejects` is unknown; did you mean `reject`?"),
        ({"behavior": {"latency_min": "1s"}}, "`latency_max` of `latency_min` or more"),
        ({"behavior": {"reject": 1}, "disconnect": "soon"}, "`disconnect`"),
        ({"behavior": {"reject": 1}, "disconnect": "0s"}, "above 0"),
        ({"behavior": {"reject": 1}, "disconnect": False}, "$.disconnect"),
        ({"quiet": True, "skipDepth": {"symbol": "BTC-USDT", "frames": 0}}, "$.skipDepth.frames"),
        ({"quiet": True, "rateLimit": -1}, "$.rateLimit"),
        ({"chaos": True}, "unknown field `chaos`"),
    ):
        answer = venue.client.post("/v1/faults", json=body)
        assert words in refused(answer, 400, "bad_request")
    unknown = {"behavior": {"reject": 1}, "skipDepth": {"symbol": "XYZ"}}
    assert refused(venue.client.post("/v1/faults", json=unknown), 404, "unknown_symbol")
    assert venue.fault() == before


def test_current_faults_can_be_queried(venue: Venue) -> None:
    calm = venue.get("/v1/faults")
    assert {key: calm[key] for key in ("connected", "quiet", "clockSkew", "rateLimit")} == {
        "connected": True,
        "quiet": False,
        "clockSkew": 0,
        "rateLimit": 0,
    }
    asked = {"quiet": True, "clockSkew": -7, "rateLimit": 2.5}
    told = venue.fault(behavior={"reject": 0.5}, disconnect="1h", **asked)
    assert told == {**calm, **asked, "connected": False, "behavior": {**calm["behavior"], "reject": 0.5}}
    assert venue.get("/v1/faults") == told


def test_faults_are_logged(venue: Venue) -> None:
    with venue.stream() as stream:
        venue.fault(
            behavior={"latency_max": "20ms", "reject": 0.5},
            disconnect="1ms",
            skipDepth={"symbol": "BTC-USDT", "frames": 3},
            quiet=True,
            clockSkew=-7,
            rateLimit=5,
        )
        assert stream.closed() == 1012
    assert wait_until(lambda: "connected again" in venue.logged(), PATIENCE)
    assert venue.logged()[1:] == [
        "fault: behavior latency_max 20ms, reject 0.5",
        "fault: skipDepth BTC-USDT, frames 3",
        "fault: quiet true",
        "fault: clockSkew -7 ms",
        "fault: rateLimit 5",
        "fault: disconnect 1ms",
        "disconnected; streams closed: 1",
        "connected again",
    ]
    refused(venue.client.post("/v1/faults", json={"quiet": False, "disconnect": "0s"}), 400, "bad_request")
    venue.fault(quiet=False)
    assert wait_until(lambda: "fault: quiet false" in venue.logged(), PATIENCE)
    assert venue.logged()[9:] == ["fault: quiet false"]


def test_disconnects_by_chance_are_logged(tmp_path: Path) -> None:
    behavior = "venue_behavior: {disconnect_chance: 1, disconnect_for: 100ms}\n  speed: 20"
    with serving(tmp_path, config=CONFIG.replace("trade_interval: 50ms", behavior)) as venue:
        # Repeats of a line are written as a count.
        repeats = r"connected again \[.* more .*\]"
        assert wait_until(lambda: any(re.fullmatch(repeats, line) for line in venue.logged()), PATIENCE)
        lines = [message for message in venue.logged() if "connected" in message]
    assert lines[:2] == ["disconnected; streams closed: 0", "connected again"]


def test_too_many_requests_are_refused(venue: Venue) -> None:
    venue.fault(rateLimit=0.01)
    assert venue.ask("GET", "/v1/balances").status_code == 200
    limited = venue.ask("GET", "/v1/balances")
    assert "at most 0.01 requests a second" in refused(limited, 429, "rate_limited")
    assert 90 <= int(limited.headers["retry-after"]) <= 100
    assert venue.get("/v1/time")
    venue.fault(rateLimit=0)
    assert venue.ask("GET", "/v1/balances").status_code == 200


def test_a_skewed_clock_refuses_requests(venue: Venue) -> None:
    venue.fault(clockSkew=-60_000)
    assert abs(venue.get("/v1/time")["time"] - now_ms() + 60_000) < 30_000
    refused(venue.ask("GET", "/v1/balances"), 401, "bad_time")
    with venue.stream() as stream:
        assert stream.log_in()["code"] == "bad_time"
    venue.fault(clockSkew=0)
    assert venue.ask("GET", "/v1/balances").status_code == 200


def test_a_client_that_does_not_read_is_disconnected(tmp_path: Path) -> None:
    text = CONFIG.replace("trade_interval: 50ms", "rate: 2000\n  speed: 50\n  book_snapshot_interval: 0")
    with serving(tmp_path, config=text) as venue:
        # Its thread reads a few messages ahead and then waits, as any client that is busy.
        with connect(venue.ready["stream"], max_queue=1, compression=None, proxy=None) as connection:
            connection.send('{"op":"subscribe","id":1,"channels":["trade:BTC-USDT","depth:BTC-USDT"]}')
            assert wait_until(lambda: venue.get("/v1/clients")["cut"] == 1, PATIENCE)
            venue.fault(quiet=True)
            with venue.stream() as other:
                assert other.op("ping")["op"] == "pong"
            with pytest.raises(ConnectionClosed) as end:
                while True:
                    connection.recv(timeout=PATIENCE)
            assert end.value.rcvd is None
        assert venue.get("/v1/clients")["connected"] == 2


def test_other_origins_are_refused(venue: Venue) -> None:
    for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
        with pytest.raises(InvalidStatus) as refusal:
            raw(venue, "/v1/stream", headers)
        assert refusal.value.response.status_code == status
    with pytest.raises(InvalidStatus) as refusal:
        raw(venue, "/v1/streams", {})
    assert refusal.value.response.status_code == 404
    # A request without a handshake is refused with 426.
    plain = venue.client.get("/v1/stream")
    assert "ws://HOST:PORT/v1/stream" in refused(plain, 426, "upgrade_required")
    assert plain.headers["upgrade"] == "websocket"
    own = {"Origin": venue.address}
    raw(venue, "/v1/stream", own)


def raw(venue: Venue, path: str, headers: dict[str, str]) -> None:
    """Opens a stream with headers of its own, and closes it."""
    address = venue.ready["stream"].replace("/v1/stream", path)
    host = headers.pop("Host", None)
    if host is not None:
        port = int(venue.address.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as there,
            connect(f"ws://{host}{path}", sock=there, compression=None),
        ):
            return
    with connect(address, additional_headers=headers, compression=None, proxy=None):
        pass
