"""Forms of a codec's books, each with frames that only this form can read."""

import zlib
from decimal import Decimal
from typing import Any

import pytest

from meltica import BookSnapshot
from meltica._core import Codec as Compiled
from meltica._core import CodecError
from meltica.adapters import (
    Chain,
    Checksum,
    Codec,
    Levels,
    Message,
    Range,
    Row,
    SymbolRule,
    Unnumbered,
    absent,
    equals,
    present,
)
from tests.support.codecs import deliver, texts


def books(whole: Levels, changes: Levels | None = None) -> Codec:
    """Returns a codec whose frames of `"t":"s"` are snapshots, and others changes."""
    messages = [
        Message(
            name="whole",
            role="BookSnapshot",
            matches=(equals("t", "s"),),
            symbol="s",
            snapshot="replaces",
            levels=whole,
        )
    ]
    if changes is not None:
        messages.append(
            Message(
                name="changes",
                role="BookDiff",
                matches=(present("s"), absent("t")),
                symbol="s",
                levels=changes,
            )
        )
    rule = SymbolRule(separator="-")
    return Codec(name="venue", symbols=rule, messages=tuple(messages))


def both(sequence: Any, **options: Any) -> Codec:
    """Returns a codec whose snapshots and changes have the same paths."""
    levels = Levels(bids="b", asks="a", sequence=sequence, **options)
    return books(levels, levels)


# Levels as objects, as one list, in other places, or absent.


def test_levels_may_be_objects() -> None:
    row = Row(price="price", quantity="qty")
    frame = (
        '{"t":"s","s":"BTC-USD","b":[{"price":45283.5,"qty":0.10000000},{"qty":1e-7,"price":45283.4}],'
        '"a":[{"price":45285.2,"qty":0.00100000,"orders":3}]}'
    )
    assert texts(deliver(both(Unnumbered(), row=row), frame)) == [
        "BTC-USD 45283.5x0.1 45283.4x0.0000001|45285.2x0.001"
    ]


def test_levels_may_be_arrays_in_another_order() -> None:
    frame = '{"t":"s","s":"BTC-USD","b":[["1700000000",3,"99"]],"a":[["1700000000",4,"101"]]}'
    row = Row(price=2, quantity=1)
    assert texts(deliver(both(Unnumbered(), row=row), frame)) == ["BTC-USD 99x3|101x4"]


@pytest.mark.parametrize(
    ("row", "frames"),
    [
        (
            Row(price=1, quantity=2, side=0, sides={"buy": "Buy", "sell": "Sell"}),
            ['[["buy","99","1"],["sell","101","2"]]', '[["sell","101","0"],["sell","102","3"]]'],
        ),
        (
            Row(price="px", quantity="n", side="side", sides={"bid": "Buy", "offer": "Sell"}),
            [
                '[{"side":"offer","px":"101","n":"2"},{"side":"bid","px":"99","n":"1"}]',
                '[{"side":"offer","px":"102","n":"3"},{"side":"offer","px":"101","n":"0"}]',
            ],
        ),
    ],
)
def test_both_sides_may_be_one_list_with_the_side_in_each_row(row: Row, frames: list[str]) -> None:
    levels = Levels(changes="rows", row=row, sequence=Unnumbered())
    heads = ['{"t":"s","s":"BTC-USD","rows":', '{"s":"BTC-USD","rows":']
    result = deliver(
        books(levels, levels), *(head + rows + "}" for head, rows in zip(heads, frames, strict=True))
    )
    assert texts(result) == ["BTC-USD 99x1|101x2", "BTC-USD 99x1|102x3"]


def test_a_side_may_be_in_several_places_or_absent() -> None:
    whole = Levels(bids="[1].bs", asks="[1].as", sequence=Unnumbered())
    changes = Levels(bids=("[1].b", "[2].b"), asks=("[1].a", "[2].a"), sequence=Unnumbered())
    rule = SymbolRule(separator="/", aliases={"XBT": "BTC"})
    snapshot = Message(
        name="whole",
        role="BookSnapshot",
        matches=(present("[1].as"),),
        symbol="[-1]",
        snapshot="replaces",
        levels=whole,
    )
    update = Message(
        name="changes", role="BookDiff", matches=(equals("[-2]", "book"),), symbol="[-1]", levels=changes
    )
    declared = Codec(name="venue", symbols=rule, messages=(snapshot, update))
    result = deliver(
        declared,
        '[0,{"as":[["101","2","1534614248.1"]],"bs":[["99","1","1534614248.2"]]},"book","XBT/USD"]',
        '[0,{"b":[["100","3","1534614248.3"]],"c":"974947235"},"book","XBT/USD"]',
        '[0,{"a":[["101","0","1534614248.4"],["102","4","1534614248.4","r"]]},{"b":[["100","0","1"]]},"book","XBT/USD"]',
    )
    assert texts(result) == ["BTC-USD 99x1|101x2", "BTC-USD 100x3 99x1|101x2", "BTC-USD 99x1|102x4"]


# Numbers.

WHOLE = '{"t":"s","s":"BTC-USD","u":%d,"b":[["99","1"]],"a":[["101","1"]]}'
CHANGE = '{"s":"BTC-USD","u":%d,"p":%d,"b":[["99","%d"]],"a":[]}'


def chain() -> Codec:
    return books(
        Levels(bids="b", asks="a", sequence=Chain(last="u", prev="p")),
        Levels(bids="b", asks="a", sequence=Chain(last="u", prev="p")),
    )


def state(*frames: str, codec: Codec) -> list[str]:
    """Returns the best bid after each event of a book, or the name of the notice."""
    return [text.split(" ", 1)[1].split(" ")[0].split("|")[0] for text in texts(deliver(codec, *frames))]


def test_a_book_may_have_no_numbers() -> None:
    frames = [WHOLE % 0, CHANGE % (0, 0, 2), CHANGE % (0, 0, 3)]
    assert state(*frames, codec=both(Unnumbered())) == ["99x1", "99x2", "99x3"]


def test_a_chain_is_followed_by_identity_also_downwards() -> None:
    whole = WHOLE.replace('"u":%d', '"u":900,"p":-1')
    heartbeat = '{"s":"BTC-USD","u":905,"p":905,"b":[],"a":[]}'
    frames = [whole, CHANGE % (905, 900, 2), heartbeat, CHANGE % (3, 905, 3), CHANGE % (8, 3, 4)]
    assert state(*frames, codec=chain()) == ["99x1", "99x2", "99x3", "99x4"]
    # A repeated link is not a gap, and a link that is missing is one.
    repeated = [*frames, CHANGE % (905, 900, 2), CHANGE % (9, 8, 5)]
    assert state(*repeated, codec=chain()) == ["99x1", "99x2", "99x3", "99x4", "99x5"]
    assert state(*frames[:2], CHANGE % (910, 907, 9), codec=chain())[:3] == ["99x1", "99x2", "BookGap"]


def test_a_snapshot_in_the_stream_replaces_whatever_its_number() -> None:
    numbered = books(
        Levels(bids="b", asks="a", sequence=Range(last="u")),
        Levels(bids="b", asks="a", sequence=Range(first="u", last="u")),
    )
    again = (WHOLE % 1).replace('"99","1"', '"98","5"')
    change = CHANGE.replace('["99"', '["98"')
    frames = [WHOLE % 3000, CHANGE % (3001, 0, 2), again, change % (2, 0, 6), change % (3, 0, 7)]
    assert state(*frames, codec=numbered) == ["99x1", "99x2", "98x5", "98x6", "98x7"]


def test_the_book_may_be_cut_to_the_window_that_the_venue_sends() -> None:
    deep = [f'["{99 - i}","1"]' for i in range(3)], [f'["{101 + i}","1"]' for i in range(3)]
    whole = f'{{"t":"s","s":"BTC-USD","b":[{",".join(deep[0])}],"a":[{",".join(deep[1])}]}}'
    better = '{"s":"BTC-USD","b":[["100","2"]]}'
    gone = '{"s":"BTC-USD","b":[["100","0"]]}'
    cut = ["100x2 99x1 98x1", "99x1 98x1"]
    for depth, after in (("snapshot", cut), (3, cut), (None, ["100x2 99x1 98x1 97x1", "99x1 98x1 97x1"])):
        result = deliver(both(Unnumbered(), depth=depth), whole, better, gone)
        assert [text.split(" ", 1)[1].split("|")[0] for text in texts(result)][1:] == after


def test_a_window_is_not_as_small_as_the_snapshot_of_a_thin_market() -> None:
    whole = '{"t":"s","s":"BTC-USD","b":[["99","1"]],"a":[["110","1"]]}'
    better = [f'{{"s":"BTC-USD","b":[["{price}","1"]]}}' for price in (100, 101, 102)]
    gone = '{"s":"BTC-USD","b":[["102","0"]]}'
    after = ["100x1 99x1", "101x1 100x1 99x1", "102x1 101x1 100x1", "101x1 100x1"]
    result = deliver(both(Unnumbered(), depth=(10, 3)), whole, *better, gone)
    assert [text.split(" ", 1)[1].split("|")[0] for text in texts(result)][1:] == after


@pytest.mark.parametrize("depth", [0, (), (10, 0), "all", -1, 1.5])
def test_a_depth_that_is_none_is_refused(depth: Any) -> None:
    with pytest.raises(CodecError, match=r"depth(: expected a whole| to be None, a)"):
        Compiled(both(Unnumbered(), depth=depth))


# Checksums.


def listed(price: int, quantity: int) -> dict[str, object]:
    symbol = {"symbol": "BTC-USD", "type": "spot", "baseCurrency": "BTC", "quoteCurrency": "USD"}
    return {**symbol, "venue": "VENUE", "pricePrecision": price, "quantityPrecision": quantity}


MANTISSA = Checksum("c")
INTERLEAVED = Checksum(
    "c", levels=25, layout="interleaved", separator=":", digits="shortest", zero_is_none=True
)
SUM = '{"t":"s","s":"BTC-USD","b":[["0.50","1.00"],["0.4","3"]],"a":[["0.60","10"]],"c":%s}'


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("rule", "digits"),
    [
        (MANTISSA, b"6010005010040300"),
        (INTERLEAVED, b"0.5:1:0.6:10:0.4:3"),
        (Checksum("c", levels=1), b"60100050100"),
        (Checksum("c", digits="shortest", separator="_"), b"0.6_10_0.5_1_0.4_3"),
    ],
)
def test_a_checksum_is_that_of_the_declared_digits(rule: Checksum, digits: bytes, signed: bool) -> None:
    number = zlib.crc32(digits)
    written = str(number - (1 << 32) if signed and number >> 31 else number)
    codec = both(Unnumbered(), checksum=rule)
    for text in (written, f'"{written}"'):
        stats = deliver(codec, SUM % text, listed=[listed(2, 2)]).stats
        assert (stats["checksums_verified"], stats["checksums_failed"]) == (1, 0)
    wrong = deliver(codec, SUM % (number ^ 1), listed=[listed(2, 2)])
    assert (wrong.stats["checksums_verified"], wrong.stats["checksums_failed"]) == (0, 1)
    assert not wrong.of(BookSnapshot)


@pytest.mark.parametrize("none", ["0", '"0"', "null", '""'])
def test_a_venue_may_write_no_checksum(none: str) -> None:
    result = deliver(both(Unnumbered(), checksum=INTERLEAVED), SUM % none)
    assert texts(result) == ["BTC-USD 0.5x1 0.4x3|0.6x10"]
    assert (result.stats["checksums_verified"], result.stats["checksums_failed"]) == (0, 0)


def test_zeros_that_a_library_dropped_come_from_the_precision_of_the_instrument() -> None:
    """Of 0.5 and 0.50, a checksum covers 50 if the precision is 2."""
    number = zlib.crc32(b"6010005010040300")
    frame = SUM.replace('"0.50"', "0.5").replace('"1.00"', "1.0").replace('"0.60"', "6e-1") % number
    result = deliver(both(Unnumbered(), checksum=MANTISSA), frame, listed=[listed(2, 2)])
    assert (result.stats["checksums_verified"], result.stats["checksums_failed"]) == (1, 0)
    (book,) = result.of(BookSnapshot)
    assert book.bids[0].price_decimal == Decimal("0.5")


# Numbers of a connection.

HEAD = '{"n":%d,"t":"s","s":"%s","b":[["99","1"]],"a":[["101","1"]]}'
NEXT = '{"n":%d,"s":"%s","b":[["99","%d"]]}'


def counted() -> Codec:
    """Returns a codec of books without numbers, on connections whose frames all have one, `n`."""
    levels = Levels(bids="b", asks="a", sequence=Unnumbered())
    declared = books(levels, levels)
    beat = Message(name="beat", role="Control", matches=(equals("ch", "heartbeats"),))
    return Codec(
        name="venue",
        symbols=declared.symbols,
        messages=(*declared.messages, beat),
        connection_sequence="n",
    )


@pytest.mark.parametrize(
    "between", ['{"n":2,"ch":"heartbeats"}', '{"n":2,"news":[]}', NEXT % (2, "BTC-USD", 7)]
)
def test_a_number_that_is_missing_on_a_connection_makes_all_its_books_stale(between: str) -> None:
    frames = [HEAD % (0, "BTC-USD"), HEAD % (1, "ETH-USD"), between, NEXT % (3, "ETH-USD", 2)]
    whole = deliver(counted(), *frames)
    assert texts(whole)[-1] == "ETH-USD 99x2|101x1"
    assert (whole.stats["frame_gaps"], whole.stats["gaps"]) == (0, 0)
    lost = deliver(counted(), *frames[:2], frames[3], HEAD % (4, "ETH-USD"))
    stale = {text.split()[0] for text in texts(lost)[2:] if text.endswith(("Gap", "Stale"))}
    assert stale == {"BTC-USD", "ETH-USD"}
    assert (lost.stats["frame_gaps"], texts(lost)[-1]) == (1, "ETH-USD 99x1|101x1")


def test_a_frame_that_is_repeated_is_dropped_and_other_numbers_begin_again() -> None:
    frames = [HEAD % (5, "BTC-USD"), NEXT % (6, "BTC-USD", 2)]
    result = deliver(counted(), *frames, *frames, NEXT % (7, "BTC-USD", 3))
    assert [text.split("|")[0] for text in texts(result)] == [f"BTC-USD 99x{n}" for n in (1, 2, 3)]
    assert (result.stats["old_frames"], result.stats["frame_gaps"]) == (2, 0)
    result = deliver(counted(), *frames, NEXT % (0, "BTC-USD", 4), HEAD % (1, "BTC-USD"))
    assert texts(result)[2:] == ["BTC-USD MarketStale", "BTC-USD 99x1|101x1"]
    assert result.stats["frame_restarts"] == 1


def test_each_connection_counts_alone_and_restarts_with_it() -> None:
    frames: list[str | tuple[int, str]] = [
        (1, HEAD % (0, "BTC-USD")),
        (2, HEAD % (50, "ETH-USD")),
        (1, NEXT % (1, "BTC-USD", 2)),
        (2, NEXT % (51, "ETH-USD", 3)),
        (1, "lost"),
        (1, HEAD % (0, "BTC-USD")),
        (2, NEXT % (52, "ETH-USD", 4)),
        (1, NEXT % (1, "BTC-USD", 5)),
    ]
    result = deliver(counted(), *frames)
    assert [text.split("|")[0] for text in texts(result) if "99x" in text] == [
        f"{symbol}-USD 99x{n}"
        for symbol, n in (("BTC", 1), ("ETH", 1), ("BTC", 2), ("ETH", 3), ("BTC", 1), ("ETH", 4), ("BTC", 5))
    ]
    assert (result.stats["frame_gaps"], result.stats["old_frames"]) == (0, 0)
