"""Scopes, routes, helpers, and what is refused before an instance exists."""

import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

import meltica
from meltica._core import Core, Host
from meltica.errors import ConfigError, LambdaDefinitionError, LambdaError
from meltica.lambdas.instances import Scope, add_instance, canonical_scope, kept, routes
from meltica.lambdas.logs import ErrorLog, LambdaLogger
from meltica.lambdas.payload import encode

TICKER = {"bidPrice": "100.10", "askPrice": "100.30"}
BOOK = {"bids": [{"price": "9", "quantity": "1"}], "asks": [{"price": "11", "quantity": "2"}]}


class Trades(meltica.Lambda):
    def on_trade(self, trade: meltica.Trade) -> None: ...


@pytest.fixture(name="core")
def _core() -> Core:
    return Core()


@pytest.fixture(name="host")
def _host(core: Core) -> Iterator[Host]:
    host = core.host("shared", clock="event")
    yield host
    assert host.stop()


def add(host: Host, cls: type[meltica.Lambda], scope: Scope | None = None, **options: Any) -> meltica.Lambda:
    return add_instance(host, cls, id="x", scope=scope or {"p": ["BTC-USDT"]}, **options).subject


def test_scope_is_canonical() -> None:
    assert canonical_scope({"a": ["BTC/USDT", "BTC-USDT", "ETH-USDT"], "b": "*"}) == {
        "a": ("BTC-USDT", "ETH-USDT"),
        "b": ("*",),
    }
    with pytest.raises(LambdaError) as caught:
        canonical_scope({"a": ["btc-usdt"], "b": [], "c": ["x"]})
    assert str(caught.value).count(";") >= 2
    with pytest.raises(LambdaError, match="at least one provider"):
        canonical_scope({})


def test_routes() -> None:
    scope = {"a": ("BTC-USDT", "ETH-USDT"), "b": ("*",)}
    assert list(routes(["Trade"], scope)) == [
        ("a", "Trade", "BTC-USDT"),
        ("a", "Trade", "ETH-USDT"),
        ("b", "Trade", None),
    ]
    balances = [symbol for _, _, symbol in routes(["BalanceUpdate"], scope)]
    assert balances == ["BTC", "USDT", "ETH", None]
    providers = [(provider, symbol) for provider, _, symbol in routes(["Extension"], scope)]
    assert providers == [("a", None), ("b", None), ("meltica", None)]


def test_helpers_need_a_source(host: Host) -> None:
    class NoMarket(meltica.Lambda):
        def on_kline_summary(self, kline: meltica.KlineSummary) -> None:
            self.market("BTC-USDT")

    class NoBook(Trades):
        def on_start(self) -> None:
            self.book("BTC-USDT")

    class Fed(NoBook):
        needs = {"BookSnapshot"}

    with pytest.raises(LambdaDefinitionError, match=r"self\.market\(\) has no source.*needs"):
        add(host, NoMarket)
    with pytest.raises(LambdaDefinitionError, match=r"self\.book\(\) has no source"):
        add(host, NoBook)
    assert kept(Fed) == {"book", "market"}
    assert kept(Trades) == set()


def test_what_cannot_run_is_refused(host: Host) -> None:
    class Nothing(meltica.Lambda): ...

    class Notices(Trades):
        def on_gap(self, gap: meltica.BookGap) -> None: ...

    class Filters(Trades):
        filters = {"Ticker": [meltica.Filter("bid", "eq", 1)]}

    faults = {Nothing: "nothing is subscribed", Notices: "speaks of books", Filters: "speaks of Ticker"}
    for cls, text in faults.items():
        with pytest.raises(LambdaDefinitionError, match=text):
            add(host, cls)


def test_the_core_refuses_filters_too(host: Host) -> None:
    for condition, text in {
        ("prize", "eq", 1): "no field `prize`",
        ("price", "near", 1): "operator `near` is unknown",
        ("price", "eq", "cheap"): "expected a number",
    }.items():
        with pytest.raises(ValueError, match=text):
            host.add("a", callbacks={}, routes=[], filters={"Trade": [condition]})


def test_policies_of_the_caller_are_checked(host: Host) -> None:
    with pytest.raises(LambdaDefinitionError, match="each Trade counts"):
        add(host, Trades, policies={"Trade": "conflate"})
    with pytest.raises(LambdaDefinitionError, match="unknown kind 'Trades'"):
        add(host, Trades, policies={"Trades": "block"})


def test_config_is_checked_before_the_object_is_made(host: Host) -> None:
    made: list[object] = []

    class Sized(Trades):
        class Config(meltica.LambdaConfig):
            size: int

        def __init__(self) -> None:
            made.append((self.config.size, self.id, dict(self.scope)))

    with pytest.raises(ConfigError, match=r"config of .*Sized: `size` is required"):
        add(host, Sized)
    assert not made
    add(host, Sized, {"p": ["BTC/USDT"]}, config={"size": "3"})
    assert made == [(3, "x", {"p": ("BTC-USDT",)})]


def test_a_config_for_a_class_without_one_is_refused(host: Host) -> None:
    with pytest.raises(ConfigError, match="`size` was given, but the class has no Config"):
        add(host, Trades, config={"size": 1})
    assert add(host, Trades).config is None


def test_init_takes_nothing(host: Host) -> None:
    class Wants(Trades):
        def __init__(self, size: int) -> None: ...

    with pytest.raises(LambdaError, match="must take nothing but self"):
        add(host, Wants)


def test_helpers_answer_what_was_seen_last(core: Core, host: Host) -> None:
    class Looks(meltica.Lambda):
        needs = {"Ticker", "BookSnapshot"}
        book_depth = 1

        def on_start(self) -> None:
            self.seen: list[Any] = []
            assert self.market("BTC-USDT") is self.book("BTC-USDT") is None

        def on_trade(self, trade: meltica.Trade) -> None:
            self.seen += [self.market("BTC/USDT"), self.book("BTC-USDT", "p"), self.now(), self.delivered_at]

    producer = core.producer("p")
    subject = add_instance(host, Looks, id="x", scope={"p": "*"})
    subject.start()
    producer.publish("Ticker", "BTC-USDT", TICKER, received_time=1)
    producer.publish("BookSnapshot", "BTC-USDT", BOOK, received_time=2)
    trade = {"tradeId": "1", "price": "10", "quantity": "1"}
    producer.publish("Trade", "BTC-USDT", trade, received_time=3)
    assert producer.drain(10)
    seen: list[Any] = vars(subject.subject)["seen"]
    market, book, now, delivered_at = seen
    assert (market.last, market.bid, market.ask, market.spread) == (10.0, 9.0, 11.0, 2.0)
    assert str(market) == "bid 9, ask 11, last 10"
    assert book.best_bid.price_decimal == Decimal(9)
    assert (now, delivered_at > 0) == (3, True)
    assert subject.stats()["errors"] == 0


def test_state_that_nothing_asked_for_is_not_kept(core: Core, host: Host) -> None:
    faults: list[str] = []

    def peek(subject: meltica.Lambda) -> None:
        try:
            subject.market("BTC-USDT")
        except LambdaError as error:
            faults.append(str(error))

    class Hides(Trades):
        def on_start(self) -> None:
            peek(self)

    add_instance(host, Hides, id="x", scope={"p": "*"}).start()
    assert "no method of Hides calls it; add 'BookSnapshot' or 'Ticker' or 'Trade' to `needs`" in faults[0]


def test_what_is_emitted_is_json_of_bounded_size() -> None:
    assert encode("x", {"a": Decimal("1.10"), "é": None}, 100) == '{"a":"1.10","é":null}'
    with pytest.raises(
        LambdaError, match=r"emit 'x': the payload is no JSON: set is nothing that JSON can say"
    ):
        encode("x", {1}, 100)
    with pytest.raises(LambdaError, match="is no JSON"):
        encode("x", float("nan"), 100)
    with pytest.raises(LambdaError, match=r"at most 10 bytes of JSON, the payload has 12; send less"):
        encode("x", "é" * 5, 10)


def test_the_cap_of_what_is_emitted_is_a_setting(host: Host) -> None:
    faults: list[str] = []

    class Emits(Trades):
        def on_start(self) -> None:
            self.emit("x", "12345678")
            try:
                self.emit("x", "123456789")
            except LambdaError as error:
                faults.append(str(error))

    add_instance(host, Emits, id="x", scope={"p": "*"}, max_payload=10).start()
    assert [text.split("; ")[0] for text in faults] == [
        "emit 'x': expected at most 10 bytes of JSON, the payload has 11"
    ]


def test_no_live_provider_waits_for_a_lambda(host: Host) -> None:
    class Waits(Trades):
        policies = {"Trade": "block"}

    def add(provider: str) -> None:
        add_instance(host, Waits, id="x", scope={provider: "*"}, impatient=["venue"])

    with pytest.raises(LambdaDefinitionError, match="`block` would have venue wait for it; take drop_oldest"):
        add("venue")
    add("recording")


def test_repeated_errors_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = LambdaLogger("flood")
    log.clock = lambda: 7
    report = ErrorLog(log)
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            report("Trade", ValueError("x"))
        report("every", ValueError("x"))
        report("Trade", meltica.LambdaStopped())
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 5 + 3 + 1 + 1
    assert texts[-3] == "Trade raised ValueError (number 1,000)"
    assert "was interrupted" in texts[-1]
    assert {getattr(record, "event_time", None) for record in caplog.records} == {7}
