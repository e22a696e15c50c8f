"""Forms of a codec's messages, each with frames that only this form can read."""

import json
from decimal import Decimal
from typing import Any

import pytest

from meltica import KlineSummary, Ticker, Trade
from meltica._core import Codec as Compiled
from meltica._core import CodecError, Core
from meltica.adapters import (
    NEWEST_LEVEL,
    Codec,
    Envelope,
    Field,
    Levels,
    Message,
    Row,
    SymbolRule,
    Unnumbered,
    decimal,
    equals,
    flag,
    ident,
    names,
    one_of,
    part,
    prefix,
    present,
    text,
    time,
    whole,
)
from meltica.testing import decode
from tests.support.codecs import deliver, texts, trade

DASHED = SymbolRule(separator="-")


def codec(*messages: Message, symbols: SymbolRule = DASHED) -> Codec:
    return Codec(name="venue", symbols=symbols, messages=messages)


# Messages inside arrays, one and two deep and on top, with values from around them.


def test_each_element_of_an_array_is_a_message() -> None:
    declared = trade(matches=(equals("arg.channel", "trades"),), each="data", at="@.", symbol="arg.instId")
    frame = (
        '{"data":[{"i":1,"p":"10.5","q":"1"},{"i":2,"p":"ten","q":"1"},{"i":3,"p":"11","q":"2"}],'
        '"arg":{"instId":"BTC-USDT","channel":"trades"}}'
    )
    result = deliver(codec(declared), frame)
    assert texts(result) == ["BTC-USDT 1 10.5 1", "BTC-USDT 3 11 2"]
    ((_, fault, _),) = result.bad_frames
    assert 'trade "data[].p": element 1: bad_number' in fault


def test_an_array_may_be_in_each_element_of_another() -> None:
    declared = trade(
        matches=(equals("channel", "market_trades"), equals("events[].type", "update")),
        each="events[].trades",
        at="@.",
        venue_time=("timestamp", "rfc3339"),
    )
    one = '{"i":"%d","s":"BTC-USD","p":"1","q":"2"},{"i":"%d","s":"T-USD","p":"3","q":"4"}'
    event = '{"type":"%s","trades":[' + one + "]}"
    events = ",".join([event % ("snapshot", 1, 2), event % ("update", 3, 4), event % ("update", 5, 6)])
    frame = f'{{"channel":"market_trades","timestamp":"2023-11-14T22:13:20.5Z","events":[{events}]}}'
    result = deliver(codec(declared), frame)
    assert texts(result) == ["BTC-USD 3 1 2", "T-USD 4 3 4", "BTC-USD 5 1 2", "T-USD 6 3 4"]
    assert {event.venue_time for event in result.events} == {1_700_000_000_500_000_000}


@pytest.mark.parametrize("frame", ["%s", '{"stream":"!mini@arr","data":%s}'])
def test_a_frame_may_be_an_array(frame: str) -> None:
    mini = Message(
        name="mini",
        role="Ticker",
        matches=(equals("@.e", "24hrMiniTicker"),),
        each="[]",
        symbol="@.s",
        fields=(Field("last", "@.c", decimal()),),
    )
    declared = Codec(
        name="venue",
        symbols=SymbolRule(quotes=("USDT",)),
        envelope=Envelope(payload="data", stream="stream", symbol_separator="@"),
        messages=(mini,),
    )
    elements = '[{"e":"24hrMiniTicker","s":"BTCUSDT","c":"1"},{"e":"24hrMiniTicker","s":"ETHUSDT","c":"2"}]'
    assert texts(deliver(declared, frame % elements)) == ["BTC-USDT last=1", "ETH-USDT last=2"]


# Positions, from either end.


def test_values_are_read_by_position() -> None:
    candle = Message(
        name="candle",
        role="KlineSummary",
        matches=(prefix("arg.channel", "candle"),),
        each="data",
        symbol="arg.instId",
        fields=(
            *(
                Field(name, f"@[{i}]", decimal())
                for i, name in enumerate(("open", "high", "low", "close"), 1)
            ),
            Field("volume", "@[5]", decimal("non_negative")),
            Field("open_time", "@[0]", time("ms")),
            Field("close_time", "@[-1]", time("ms")),
        ),
    )
    ticker = Message(
        name="ticker",
        role="Ticker",
        matches=(equals("[-2]", "ticker"),),
        symbol="[-1]",
        fields=(Field("ask", "[1].a[0]", decimal()), Field("bid", "[1].b[0]", decimal())),
    )
    rule = SymbolRule(separator="/", aliases={"XBT": "BTC"}, explicit={"BTC-USDT": "BTC-USDT"})
    result = deliver(
        codec(candle, ticker, symbols=rule),
        '{"arg":{"channel":"candle1m","instId":"BTC-USDT"},'
        '"data":[["1700000040000","10","12","9","11","0","1700000099999"]]}',
        '[340,{"a":["5525.4",1,"1.000"],"b":["5525.1",1,"1.000"]},"ticker","XBT/EUR"]',
    )
    assert texts(result) == ["BTC-USDT 10 12 9 11 0 open", "BTC-EUR bid=5525.1 ask=5525.4"]


# Times.


@pytest.mark.parametrize(
    ("form", "written", "ns"),
    [
        ("rfc3339", '"2023-11-14T22:13:20Z"', 0),
        ("rfc3339", '"2023-11-14T22:13:20.1Z"', 100_000_000),
        ("rfc3339", '"2023-11-14T22:13:20.123456Z"', 123_456_000),
        ("rfc3339", '"2023-11-14T22:13:20.123456789Z"', 123_456_789),
        ("rfc3339", '"2023-11-14T23:13:20.123456789+01:00"', 123_456_789),
        ("s.f", '"1700000000.123456"', 123_456_000),
        ("s.f", "1700000000.5", 500_000_000),
        ("s.f", "1700000000", 0),
        ("s", '"1700000000"', 0),
        ("ms", '"1700000000123"', 123_000_000),
        ("us", "1700000000123456", 123_456_000),
        ("ns", "1700000000123456789", 123_456_789),
    ],
)
def test_a_time_is_read_in_the_form_of_the_venue(form: str, written: str, ns: int) -> None:
    declared = trade(matches=(present("p"),), venue_time=("t", form))
    (event,) = deliver(codec(declared), f'{{"s":"BTC-USD","i":1,"p":1,"q":1,"t":{written}}}').of(Trade)
    assert event.venue_time == 1_700_000_000_000_000_000 + ns


def test_the_time_of_a_book_may_be_the_newest_of_its_levels() -> None:
    row = Row(price="p", quantity="q", side="side", sides={"b": "Buy", "a": "Sell"}, time=("t", "rfc3339"))
    levels = Levels(changes="rows", row=row, sequence=Unnumbered())
    whole = Message(
        name="whole",
        role="BookSnapshot",
        matches=(present("rows"),),
        symbol="s",
        venue_time=NEWEST_LEVEL,
        snapshot="replaces",
        levels=levels,
    )
    rows = (
        '{"side":"b","p":1,"q":1,"t":"2023-11-14T22:13:20Z"},{"side":"a","p":2,"q":1,"t":"2023-11-14T22:13:21Z"},'
        '{"side":"a","p":3,"q":1,"t":"2023-11-14T22:13:19Z"}'
    )
    (book,) = deliver(codec(whole), f'{{"s":"BTC-USD","rows":[{rows}]}}').events
    assert book.venue_time == 1_700_000_001_000_000_000


# Conditions, and symbols that are a part of a text.


def test_conditions_may_be_on_the_beginning_of_a_text_and_on_several_texts() -> None:
    trades = trade(
        name="trades",
        matches=(one_of("ch", "trades", "trades-all"),),
        symbol=part("topic", ".", -1),
    )
    deep = trade(name="deep", matches=(prefix("topic", "deep.50."),), symbol=part("topic", ".", 2))
    frame = '{"ch":"%s","topic":"%s","i":%d,"p":1,"q":1}'
    result = deliver(
        codec(trades, deep),
        frame % ("trades", "x.BTC-USDT", 1),
        frame % ("trades-all", "x.y.ETH-USDT", 2),
        frame % ("trades-rpi", "x.BTC-USDT", 3),
        frame % ("", "deep.50.BTC-USDT", 4),
        frame % ("", "deep.500.BTC-USDT", 5),
    )
    assert [event.split()[:2] for event in texts(result)] == [
        ["BTC-USDT", "1"],
        ["ETH-USDT", "2"],
        ["BTC-USDT", "4"],
    ]
    assert (result.stats["ignored"], result.stats["errors"]) == (2, {})


# Control messages, and frames that are not objects.


def test_control_messages_are_apart_from_unknown_ones_and_no_frame_is_fatal() -> None:
    ack = Message(name="ack", role="Control", matches=(one_of("op", "pong", "subscribe", "error"),))
    frames = [
        '{"op":"pong"}',
        '{"op":"error","msg":"no such topic"}',
        '{"news":1}',
        "[1,2]",
        '{"s":"BTC-USD","i":1,"p":1,"q":1}',
    ]
    result = deliver(
        codec(ack, trade(matches=(present("p"),))), *frames, "{", '{"s":"BTC-USD","i":2,"p":1,"q":1}'
    )
    assert texts(result) == ["BTC-USD 1 1 1", "BTC-USD 2 1 1"]
    stats = result.stats
    assert (stats["control"], stats["ignored"], stats["errors"]) == (2, 4, {"truncated": 1})


def test_a_text_that_is_not_json_is_a_control_message_where_it_is_declared() -> None:
    pong = Message(name="pong", role="Control", matches=(whole("pong"),))
    producer = Core().producer("venue", Compiled(codec(pong, trade(matches=(present("p"),)))))
    for frame in (b"pong", b"ping", b"pong ", b'{"news":1}'):
        producer.feed(frame, 1)
    stats = producer.stats()
    assert (stats["control"], stats["unmatched"], stats["errors"]) == (1, 1, {"syntax": 2})
    with pytest.raises(CodecError, match=r"two\.matches: expected whole as the only condition"):
        Compiled(codec(Message(name="two", role="Control", matches=(whole("pong"), present("op")))))


# Symbols.


@pytest.mark.parametrize(
    ("written", "symbol"),
    [
        ("T/USD", "T-USD"),
        ("XBT/EUR", "BTC-EUR"),
        ("ETH/XBT", "ETH-BTC"),
        ("币安人生/USDT", "币安人生-USDT"),
        ("BTC/USDT/SWAP", "BTC-USDT-SWAP"),
        ("BTC/USD/220527", "BTC-USD-220527"),
        ("BTCPERP", "BTC-USDC-PERP"),
        ("OLD", "NEW-USD"),
        ("BTCUSD", None),
        ("/USD", None),
        ("A-B/USD", None),
    ],
)
def test_symbols_have_aliases_suffixes_and_several_parts(written: str, symbol: str | None) -> None:
    rule = SymbolRule(
        separator="/",
        quotes=("USDC",),
        aliases={"XBT": "BTC"},
        suffixes={"PERP": "USDC-PERP"},
        explicit={"OLD": "NEW-USD"},
    )
    declared = codec(trade(matches=(present("p"),)), symbols=rule)
    assert Compiled(declared).symbol(written) == symbol
    result = deliver(declared, f'{{"s":"{written}","i":1,"p":1,"q":1}}')
    assert [event.symbol for event in result.events] == ([symbol] if symbol else [])
    assert result.stats["errors"] == ({} if symbol else {"unknown_symbol": 1})


def test_one_text_is_two_instruments_by_the_category_of_the_connection() -> None:
    rules = {"spot": SymbolRule(quotes=("USDT",)), "linear": SymbolRule(quotes=("USDT",), contract="PERP")}
    declared = Codec(
        name="venue", symbols=rules, messages=(trade(matches=(present("p"),), id=("i", "monotonic")),)
    )
    frame = '{"s":"BTCUSDT","i":1,"p":1,"q":1}'
    result = deliver(declared, frame, (1, frame), (1, frame), categories={1: "linear"})
    assert texts(result) == ["BTC-USDT 1 1 1", "BTC-USDT-PERP 1 1 1"]


# Absent values, and values that the venue's documents leave in doubt.


@pytest.mark.parametrize("none", ['""', "null", '"0"', "0", "0.00", '"0E-8"'])
def test_a_venue_may_write_no_value_in_many_ways(none: str) -> None:
    ticker = Message(
        name="ticker",
        role="Ticker",
        matches=(present("s"),),
        symbol="s",
        venue_time=("t", "ms"),
        fields=(
            Field("last", "last", decimal()),
            Field("bid", "bid", decimal("zero_is_absent")),
            Field("ask", "ask", decimal("zero_is_absent")),
        ),
    )
    frame = f'{{"s":"BTC-USD","last":"5","bid":{none},"ask":"6","t":"1700000000000"}}'
    assert texts(deliver(codec(ticker), frame)) == ["BTC-USD last=5 ask=6"]


def test_a_side_that_is_not_declared_is_absent() -> None:
    declared = trade(matches=(present("p"),))
    (event,) = deliver(codec(declared), '{"s":"BTC-USD","i":1,"p":1,"q":1,"side":"BUY"}').of(Trade)
    assert event.side is None


def test_a_side_is_one_of_its_names_and_absent_otherwise() -> None:
    fields = (*trade(matches=()).fields, Field("side", "m", names({"true": "Sell", "false": "Buy"})))
    declared = trade(matches=(present("p"),), fields=fields)
    frame = '{"s":"BTC-USD","i":%d,"p":1,"q":1,"m":%s}'
    result = deliver(
        codec(declared), *(frame % (i, m) for i, m in enumerate(("true", "false", '"maker"', "null")))
    )
    assert [event.side for event in result.of(Trade)] == ["Sell", "Buy", None, None]


# Tickers that send only what changed.


def test_a_ticker_may_have_only_what_changed() -> None:
    fields = (
        Field("last", "last", decimal()),
        *(Field(name, name, decimal("zero_is_absent")) for name in ("bid", "ask")),
    )
    options: dict[str, Any] = {"role": "Ticker", "symbol": "s", "fields": fields, "keep": True}
    whole = Message(name="whole", matches=(equals("t", "s"),), snapshot="replaces", **options)
    changed = Message(name="changed", matches=(equals("t", "d"),), **options)
    frames: list[str | tuple[int, str]] = [
        '{"s":"BTC-USD","t":"s","last":"5","bid":"4","ask":"6"}',
        '{"s":"ETH-USD","t":"s","last":"2","bid":"1","ask":"3"}',
        '{"s":"BTC-USD","t":"d","bid":"4.5"}',
        '{"s":"BTC-USD","t":"d","other":1}',
        '{"s":"BTC-USD","t":"d","ask":"0"}',
        (1, '{"s":"BTC-USD","t":"d","last":"7"}'),
        '{"s":"BTC-USD","t":"s","last":"8"}',
        '{"s":"ETH-USD","t":"d","last":"3"}',
        "lost",
        '{"s":"ETH-USD","t":"d","last":"4"}',
    ]
    result = deliver(codec(whole, changed), *frames)
    assert [text for text in texts(result) if "=" in text] == [
        "BTC-USD last=5 bid=4 ask=6",
        "ETH-USD last=2 bid=1 ask=3",
        "BTC-USD last=5 bid=4.5 ask=6",
        "BTC-USD last=5 bid=4.5",
        "BTC-USD last=7",
        "BTC-USD last=8",
        "ETH-USD last=3 bid=1 ask=3",
        "ETH-USD last=4",
    ]
    assert (result.stats["unchanged_tickers"], result.stats["errors"]) == (1, {})


# Limits.


def test_frames_and_lists_of_levels_have_limits_that_a_codec_raises() -> None:
    levels = Levels(bids="b", asks="a", sequence=Unnumbered())
    whole = Message(
        name="whole",
        role="BookSnapshot",
        matches=(present("b"),),
        symbol="s",
        snapshot="replaces",
        levels=levels,
    )
    count = 400_000
    bids = ",".join(f'["{price}","1.00000000"]' for price in range(count, 0, -1))
    frame = f'{{"s":"BTC-USD","b":[{bids}],"a":[["{count + 1}","1"]]}}'
    assert len(frame) > 8 << 20
    small = deliver(codec(whole), frame)
    assert (texts(small), sum(small.stats["errors"].values())) == ([], 1)
    large = Codec(name="venue", symbols=DASHED, messages=(whole,), max_frame=16 << 20, max_levels=500_000)
    (book,) = deliver(large, frame).events
    assert (len(book.bids), str(book.bids[0].price_decimal)) == (25, str(count))


def test_all_forms_of_numbers_are_exact() -> None:
    declared = trade(matches=(present("p"),))
    frame = '{"s":"BTC-USD","i":%d,"p":%s,"q":1}'
    written = ["105944.20", '"0.00000001"', "1e-7", '"1.5E+3"', "45281.0", "12"]
    result = deliver(codec(declared), *(frame % (i, price) for i, price in enumerate(written)))
    assert [event.price_decimal for event in result.of(Trade)] == [
        Decimal(price.strip('"')) for price in written
    ]


def test_a_closed_candle_says_so() -> None:
    kline = Message(
        name="kline",
        role="KlineSummary",
        matches=(present("k"),),
        symbol="s",
        fields=(
            *(Field(name, f"k.{name[0]}", decimal()) for name in ("open", "high", "low", "close")),
            Field("volume", "k.v", decimal("non_negative")),
            Field("open_time", "k.t", time("ms")),
            Field("close_time", "k.T", time("ms")),
            Field("interval", "k.i", text()),
            Field("closed", "k.x", flag()),
        ),
    )
    times = '"t":1700000040000,"T":1700000099999,"i":"1m"'
    frame = '{"s":"BTC-USD","k":{"o":1,"h":4,"l":1,"c":%d,"v":0,"x":%s,' + times + "}}"
    result = deliver(codec(kline), frame % (2, "false"), frame % (3, "true"), frame % (3, "true"))
    assert [event.split()[4:] for event in texts(result)] == [
        ["2", "0", "1m", "open"],
        ["3", "0", "1m", "closed"],
    ]
    assert {type(event) for event in result.events} == {KlineSummary}
    assert not result.of(Ticker)


def test_ids_may_be_numbers_or_texts() -> None:
    declared = trade(matches=(present("p"),), id=("i", "opaque"))
    ids = ['"2290000000061666327"', "18446744073709551615", '"1f7a5b1c-7c1d-5b2e-9a3f-0123456789ab"']
    frames = [f'{{"s":"BTC-USD","i":{each},"p":1,"q":1}}' for each in ids]
    result = deliver(codec(declared), *frames, *frames)
    assert [event.trade_id for event in result.of(Trade)] == [each.strip('"') for each in ids]
    assert Field("id", "i", ident()) in declared.fields


def test_an_instrument_has_each_declared_field_that_its_message_has() -> None:
    fields = (
        *(
            Field(name, name, decimal())
            for name in ("price_increment", "contract_value", "contract_multiplier")
        ),
        Field("contract_currency", "contract_currency", text()),
        Field("status", "status", names({"live": "Trading"})),
    )
    listed = Message("listed", "InstrumentUpdate", (present("status"),), symbol="s", fields=fields)
    venue = Codec("venue", SymbolRule(separator="-", contracts=True), (listed,))
    frame = {"s": "A-B-SWAP", "price_increment": "0.1", "contract_value": "0.5", "contract_multiplier": 10}
    [found] = decode(venue, json.dumps({**frame, "contract_currency": "A", "status": "live"}))
    assert found.get("present") == [field.name for field in fields]
    instrument: Any = found.get("payload", {})["instrument"]
    assert (instrument["contractValue"], instrument["venue"]) == (5, "VENUE")
    [found] = decode(venue, json.dumps({**frame, "contract_currency": "", "status": "live"}))
    assert "bad_instrument" in found.get("error", "")
