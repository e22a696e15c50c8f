"""Market data in `/events`: conflated for each client, with what makes it stale, and bounded."""

import asyncio
import json
import socket
from collections.abc import Collection, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from meltica.cli import cli
from meltica.control.streams import market, market_choice, response
from meltica.control.streams.subscriber import Subscriber
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.integration.test_control_events import ended
from tests.integration.test_tokens import created, id_of
from tests.support import gateway, venue
from tests.support.event_stream import Received, Stream, stream
from tests.support.gateway import Running

CONFIG = """
environment: ci
log: {file: gateway.log}
providers:
  main: {adapter: test-venue}
  idle: {adapter: test-venue, enabled: false}
  busy:
    adapter: fake
    enabled: false
    settings: {symbols: [BTC-USDT, SOL-USDT], rate: max}
lambdas:
  - {id: counting, strategy: "strategies.py:Counting", scope: {busy: [SOL-USDT]}}
"""
STRATEGIES = """
import meltica

class Counting(meltica.Lambda):
    def on_trade(self, trade):
        pass

    def on_book_snapshot(self, book):
        pass
"""
TRADE = {"tradeId": "7", "side": "Buy", "price": "1.50", "quantity": "2"}
BOOK = {
    "bids": [{"price": str(100 - n), "quantity": "1"} for n in range(30)],
    "asks": [{"price": str(101 + n), "quantity": "2"} for n in range(30)],
}
AT = 1_767_323_045_678
MAIN = {"provider": "main", "symbol": "BTC-USDT"}
BTC = "&provider=main&symbol=BTC-USDT"


@pytest.fixture(name="config", scope="module")
def _config(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    folder = tmp_path_factory.mktemp("market")
    (folder / "meltica.yaml").write_text(CONFIG)
    (folder / "strategies.py").write_text(STRATEGIES)
    with venue.installed(folder):
        yield folder / "meltica.yaml"


@pytest.fixture(name="world", scope="module")
def _world(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        running.until(lambda: running.gateway.providers.get("main").running)
        yield running


@pytest.fixture(name="busy")
def _busy(world: Running) -> Generator[Running]:
    """The gateway, with a market that runs flat out."""
    with flat_out(world):
        yield world


@contextmanager
def flat_out(running: Running) -> Generator[None]:
    assert running.client.post("/providers/busy/start").status_code == 202
    running.until(lambda: running.gateway.providers.get("busy").running)
    yield
    assert running.client.post("/providers/busy/stop").status_code in (200, 202)


@pytest.fixture(autouse=True)
def _at_once(world: Running, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Ends each subscription with its last stream, and the previous ones before a test."""
    monkeypatch.setattr(market, "LINGER", 0.0)
    monkeypatch.setattr(market, "CHECK", 0.0)
    yield
    world.until(lambda: world.gateway.market._task is None)  # pyright: ignore[reportPrivateUsage]


def subscribed(world: Running, *kinds: str) -> None:
    """Waits until streams alone have subscribed these kinds, of `main`."""
    wanted = {("main", kind, "BTC-USDT") for kind in kinds}
    world.until(lambda: {route for route in world.gateway.core.routes() if route[0] == "main"} == wanted)


def publish(kind: str, payload: dict[str, Any], venue_time: int | None = None) -> None:
    """Publishes an event of `main`."""
    producer = venue.Venue.producers["main"]
    assert producer.publish(kind, "BTC-USDT", payload, received_time=AT * 10**6 + 1, venue_time=venue_time)


def opened(world: Running, events: Stream, *kinds: str) -> None:
    """Reads the begin of a stream: each route waits for its first value."""
    events.next("ready")
    waiting = [events.next("stale").data for _ in kinds]
    assert {each["reason"] for each in waiting} == {"waiting"}, waiting
    subscribed(world, *kinds)


def test_events_are_in_the_spelling_of_the_api(world: Running) -> None:
    kinds = "Trade", "Ticker", "BookSnapshot", "KlineSummary"
    with stream(world, f"?kind=trade,ticker,book,kline{BTC}") as events:
        opened(world, events, *kinds)
        publish("Trade", TRADE, venue_time=(AT - 5) * 10**6)
        trade = events.next()
        publish("Ticker", {"lastPrice": "1.5", "bidPrice": "1", "askPrice": "2.0"})
        ticker = events.next()
        publish("BookSnapshot", BOOK)
        book = events.next()
        prices = {"openPrice": "1", "closePrice": "2", "highPrice": "3", "lowPrice": "1", "volume": "5"}
        times = {"openTime": "2025-01-01T00:00:00Z", "closeTime": "2025-01-01T00:01:00Z"}
        publish("KlineSummary", {**prices, **times, "interval": "1m", "closed": True})
        kline = events.next()
    head = {"at": AT, **MAIN}
    assert {each.id for each in (trade, ticker, book, kline)} == {None}
    assert (trade.kind, trade.data.pop("sequence") > 0) == ("trade", True)
    assert trade.data == {**head, "venueTime": AT - 5, "trade": TRADE}
    assert (ticker.kind, ticker.data.pop("sequence") > 0) == ("ticker", True)
    assert ticker.data == {**head, "ticker": {"lastPrice": "1.5", "bidPrice": "1", "askPrice": "2.0"}}
    assert (book.kind, book.data.pop("sequence") > 0) == ("book", True)
    levels = {side: BOOK[side][:10] for side in ("bids", "asks")}
    assert book.data == {**head, "book": {**levels, "bidCount": 30, "askCount": 30}}
    assert (kline.kind, kline.data.pop("sequence") > 0) == ("kline", True)
    shown = {"openTime": 1_735_689_600_000, "closeTime": 1_735_689_660_000, "interval": "1m", "closed": True}
    assert kline.data == {**head, "kline": {**prices, **shown}}


def test_streams_of_different_depths_share_a_book(world: Running) -> None:
    with (
        stream(world, f"?kind=book&depth=1{BTC}") as one,
        stream(world, f"?kind=book&depth=25{BTC}") as many,
    ):
        opened(world, one, "BookSnapshot")
        opened(world, many, "BookSnapshot")
        publish("BookSnapshot", BOOK)
        assert [len(each.next("book").data["book"]["bids"]) for each in (one, many)] == [1, 25]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("kind=trade", "`symbol`: trade need one, such as `symbol=BTC-USDT`"),
        ("kind=trade&symbol=btc", "`symbol`: "),
        ("kind=trade&symbol=*", "`symbol`: "),
        ("kind=trade&symbol=BTC-USD&provider=main", "main does not list BTC-USD; did you mean `BTC-USDT`?"),
        ("kind=trade&symbol=XRP-USDT&provider=main", "main does not list XRP-USDT"),
        ("kind=trade&symbol=BTC-USDT&provider=mian", "`provider`: 'mian' is unknown; did you mean `main`?"),
        ("kind=trades&symbol=BTC-USDT", "`kind`: 'trades' is unknown; did you mean `trade`?"),
        ("kind=stale&symbol=BTC-USDT", "`kind`: 'stale' is unknown"),
        ("kind=book&symbol=BTC-USDT&depth=0", "depth"),
        ("kind=book&symbol=BTC-USDT&depth=26", "depth"),
    ],
)
def test_market_data_that_cannot_come_is_refused(world: Running, query: str, text: str) -> None:
    refused = world.client.get(f"/events?{query}")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_parameter")
    assert text in refused.json()["error"]


def test_a_stream_and_all_streams_have_a_bound(world: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_choice, "MAX_ROUTES", 2)
    refused = world.client.get(f"/events?kind=trade,ticker,book{BTC}")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_parameter")
    monkeypatch.setattr(market, "MAX_ROUTES", 2)
    with stream(world, f"?kind=trade,ticker{BTC}") as events:
        opened(world, events, "Trade", "Ticker")
        refused = world.client.get(f"/events?kind=book{BTC}")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_routes")
        with stream(world, f"?kind=trade{BTC}") as other:
            assert other.next().kind == "ready"


def test_without_a_provider_all_that_list_the_symbol_are_watched(busy: Running) -> None:
    with stream(busy, "?kind=ticker&symbol=BTC-USDT") as events:
        found = {events.next("stale").data["provider"] for _ in range(2)}
    assert found == {"main", "busy"}


def test_a_stream_that_names_no_kind_has_no_market_data(world: Running) -> None:
    with stream(world, f"?mode=live{BTC}") as events:
        events.next("ready")
        assert not world.gateway.market


def test_the_last_value_wins(world: Running) -> None:
    with stream(world, f"?kind=trade{BTC}") as events:
        opened(world, events, "Trade")
        for number in range(20_000):
            publish("Trade", {**TRADE, "tradeId": str(number)})
        received = [events.next("trade").data]
        while received[-1]["trade"]["tradeId"] != "19999":
            received.append(events.next("trade").data)
    sequences = [each["sequence"] for each in received]
    assert sequences == sorted(set(sequences))
    assert len(received) < 20_000


def test_a_market_that_runs_flat_out_is_conflated(busy: Running) -> None:
    with stream(busy, "?kind=trade,book&symbol=BTC-USDT&symbol=SOL-USDT&provider=busy") as events:
        last, skipped = dict[tuple[str, str], int](), 0
        for _ in range(40):
            found = events.next("trade", "book")
            key, sequence = (found.kind, found.data["symbol"]), found.data["sequence"]
            assert sequence > last.get(key, 0)
            skipped += sequence - last.get(key, sequence) > 1
            last[key] = sequence
    assert len(last) == 4
    assert skipped


def test_a_route_is_subscribed_once_and_as_long_as_it_is_watched(world: Running) -> None:
    core = world.gateway.core
    hosts = core.stats()["hosts"]
    with stream(world, f"?kind=trade{BTC}") as first:
        with stream(world, f"?kind=trade{BTC}") as second:
            opened(world, first, "Trade")
            opened(world, second, "Trade")
            publish("Trade", TRADE)
            assert first.next().data == second.next().data
            assert core.stats()["hosts"] == hosts + 1
        world.until(lambda: len(world.gateway.market) == 1)
        # A stream that begins has the latest value at once.
        with stream(world, f"?kind=trade,ticker{BTC}") as third:
            third.next("ready")
            assert {third.next().kind, third.next().kind} == {"trade", "stale"}
        subscribed(world, "Trade")
    subscribed(world)
    world.until(lambda: core.stats()["hosts"] == hosts)


def test_a_provider_that_stops_makes_its_routes_stale(world: Running) -> None:
    def post(action: str) -> None:
        assert world.client.post(f"/providers/main/{action}").status_code in (200, 202)

    with stream(world, f"?kind=trade{BTC}") as events:
        opened(world, events, "Trade")
        publish("Trade", TRADE)
        events.next("trade")
        post("stop")
        while (stale := events.next("stale").data)["reason"] != "unavailable":
            assert stale["reason"] == "disconnected"
        assert stale == {"at": stale["at"], **MAIN, "kind": "trade", **unavailable("main", "stopped")}
        # A stream that begins now gets no value of before.
        with stream(world, f"?kind=trade{BTC}") as other:
            assert other.next("trade", "stale").data["reason"] == "unavailable"
        post("start")
        while (stale := events.next("stale").data)["reason"] != "waiting":
            assert stale["reason"] in ("unavailable", "disconnected")
        publish("Trade", {**TRADE, "tradeId": "8"})
        assert events.next("trade", "stale").data["trade"]["tradeId"] == "8"


def unavailable(name: str, state: str) -> dict[str, str]:
    return {"reason": "unavailable", "message": f"provider `{name}` is {state}"}


def test_a_provider_that_never_ran_says_so(world: Running) -> None:
    with stream(world, "?kind=kline&symbol=BTC-USDT&provider=idle") as events:
        events.next("ready")
        found = events.next().data
    assert found == {
        "at": found["at"],
        "provider": "idle",
        "symbol": "BTC-USDT",
        "kind": "kline",
        **unavailable("idle", "pending"),
    }


def test_gaps_and_what_the_core_finds_stale_are_events(world: Running) -> None:
    with stream(world, f"?kind=book{BTC}") as events:
        opened(world, events, "BookSnapshot")
        crossed = {"bids": [{"price": "2", "quantity": "1"}], "asks": [{"price": "1", "quantity": "1"}]}
        publish("BookSnapshot", BOOK)
        events.next("book")
        producer = venue.Venue.producers["main"]
        producer.publish("BookSnapshot", "BTC-USDT", crossed, received_time=AT * 10**6)
        assert events.next("book", "stale").data == {
            "at": AT,
            **MAIN,
            "kind": "book",
            "reason": "crossed",
        }
        text = '{"lastUpdateId": 10, "bids": [["1", "1"]], "asks": [["2", "1"]]}'
        producer.feed(text.encode(), symbol="BTC-USDT")
        diff = {"e": "depthUpdate", "E": AT, "s": "BTCUSDT", "b": [["1", "3"]], "a": []}
        for first, last in [(11, 11), (15, 15)]:
            producer.feed(json.dumps({**diff, "U": first, "u": last}).encode())
        gap = events.next("gap").data
        assert (gap["expected"], gap["seen"], gap["kind"]) == (12, 15, "book")


def watchers(world: Running) -> Collection[Subscriber]:
    return {each for found in world.gateway.market._watchers.values() for each in found}  # pyright: ignore[reportPrivateUsage]


def test_a_slow_client_delays_nothing_and_holds_a_bounded_queue(
    busy: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market, "INTERVAL", 0.011)
    monkeypatch.setattr(response, "SEND_SECONDS", 3.0)
    monkeypatch.setattr(response, "CLOSE_SECONDS", 0.1)
    query = "?kind=trade,ticker,book&depth=25&symbol=BTC-USDT&symbol=SOL-USDT&provider=busy"
    host, port = busy.gateway.api.address
    before = ended(busy, "too_slow")
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, port))
        request = f"GET /events{query} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        slow.sendall(f"{request}Authorization: {busy.authorization['authorization']}\r\n\r\n".encode())
        slow.recv(1)  # the stream is open; nothing more is read
        busy.until(lambda: len(watchers(busy)) == 1)
        [queue] = watchers(busy)
        with stream(busy, query) as events:
            counted = counts(busy)
            longest = 0
            while queue.code is None:
                events.next("trade", "book")
                longest = max(longest, len(queue._latest))  # pyright: ignore[reportPrivateUsage]
            assert queue.code == "too_slow"
            assert queue.conflated
            # One value, and the notices, of each of the six routes.
            assert 0 < longest <= 6 * 3
            assert counts(busy) > counted
            events.next("trade")
        assert wait_until(lambda: ended(busy, "too_slow") == before + 1, 20)


def counts(world: Running) -> int:
    """Returns how many events the lambda has had."""
    found = world.client.get("/strategy/instances/counting").json()["counters"]
    return sum(found["delivered"].values())


def test_market_data_ends_with_its_token(world: Running) -> None:
    viewer = created(world, "viewer")
    with stream(world, f"?kind=trade{BTC}", headers=viewer) as events:
        opened(world, events, "Trade")
        world.client.delete(f"/tokens/{id_of(viewer)}")
        closed = events.rest()[-1]
    assert (closed.kind, closed.data["code"]) == ("closed", "unauthenticated")
    subscribed(world)


def test_the_command_prints_market_data(busy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELTICA_TOKEN", busy.authorization["authorization"].split()[1])
    query = ["--kind", "book", "--symbol", "SOL-USDT", "--provider", "busy", "--depth", "1"]
    command = ["events", "--url", busy.url, *query, "--limit", "3", "--json"]
    shown = CliRunner().invoke(cli, command, standalone_mode=False)
    *_, last = [json.loads(line) for line in shown.stdout.splitlines()]
    assert (last["event"], last["id"], len(last["data"]["book"]["bids"])) == ("book", None, 1)


async def test_many_clients_at_once(busy: Running) -> None:
    """200 clients of the busy market all get values of each of their symbols."""
    query = "/events?kind=trade,book&symbol=BTC-USDT&symbol=SOL-USDT&provider=busy"
    limits = httpx.Limits(max_connections=None)
    headers = busy.authorization
    async with httpx.AsyncClient(base_url=busy.url, headers=headers, timeout=60, limits=limits) as client:

        async def read() -> set[tuple[str, str]]:
            found = set[tuple[str, str]]()
            async with client.stream("GET", query) as answer:
                assert answer.status_code == 200
                kind = ""
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    kind = value if name == "event" else kind
                    if name == "data" and kind in ("trade", "book"):
                        found.add((kind, json.loads(value)["symbol"]))
                    if len(found) == 4:
                        break
            return found

        received = await asyncio.gather(*(read() for _ in range(200)))
    assert len(received) == 200
    assert all(len(found) == 4 for found in received)


def test_the_stop_of_the_gateway_ends_streams_in_order(config: Path, cluster: EmbeddedPostgres) -> None:
    rest = list[list[Received]]()
    with ExitStack() as stack:
        dsn = stack.enter_context(gateway.database(cluster))
        with gateway.running(config, dsn) as running:
            running.client.post("/providers/busy/start")
            opened = stack.enter_context(stream(running, "?kind=book&symbol=BTC-USDT"))
            opened.next("book")
            running.submit(running.gateway.stop())
            rest.append(opened.rest())
    assert (rest[0][-1].kind, rest[0][-1].data["code"]) == ("closed", "stopping")
    assert "market data of streams" not in running.gateway.left_behind
