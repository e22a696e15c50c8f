"""`meltica codec check`: what a codec makes of a recording."""

import json
import zlib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.replay.files import Recording
from meltica.backtest.codec_check import lines
from meltica.cli import cli
from tests.support.venue_sessions import Message, session

DECLARED = """
from meltica.adapters import *
TRADE = Message(
    name="trade",
    role="Trade",
    matches=(equals("ch", "trade"),),
    symbol="s",
    fields=(
        Field("id", "n", ident()),
        Field("side", "side", names({"b": "Buy"})),
        Field("price", "p", decimal()),
        Field("quantity", "q", decimal()),
    ),
)
ACK = Message(name="ack", role="Control", matches=(present("op"),))
MINE = Codec(name="mine", symbols=SymbolRule(separator="-"), messages=(TRADE, ACK))
"""


def check(*arguments: object) -> tuple[int, str]:
    """Returns the exit code and the output, or the text of the error."""
    run = CliRunner().invoke(cli, ["codec", "check", *map(str, arguments)], standalone_mode=False)
    if isinstance(run.exception, click.ClickException):
        return run.exception.exit_code, run.exception.format_message()
    assert run.exception is None, run.exception
    code: object = run.return_value
    assert isinstance(code, int)
    return code, run.stdout


def enveloped(message: Message) -> str:
    """Returns the frame of a message, a requested one in the envelope of a stream."""
    if not message.requested:
        return message.frame
    symbol = (message.symbol or "").replace("-", "").lower()
    return f'{{"stream":"{symbol}@depth","data":{message.frame}}}'


def test_a_session_that_fits(tmp_path: Path) -> None:
    recording = tmp_path / "session.txt"
    lines = [line for line in session("binance", steps=120).lines if line.message]
    recording.write_text("".join(f"{line.ns} {enveloped(line.message)}\n" for line in lines if line.message))
    code, output = check("binance", recording, "--json")
    report = json.loads(output)
    assert code == 0
    assert report["fits"] is True
    assert report["frames"] > 500
    matched = {each["name"]: each["matched"] for each in report["messages"]}
    assert list(matched) == [message.name for message in BINANCE.messages]
    assert matched["depthUpdate"] > 100
    assert matched["aggTrade"] == 0
    assert report["books"] == {
        "synced": ["BTC-USDT", "DOGE-USDT", "ETH-USDT"],
        "never_synced": [],
        "stale_at_end": [],
    }


def test_what_does_not_fit_is_shown(tmp_path: Path) -> None:
    codec, recording = tmp_path / "mine.py", tmp_path / "session.txt"
    codec.write_text(DECLARED)
    recording.write_text(
        '1700000000000000000 {"ch":"trade","s":"A-B","n":1,"p":"1.5","q":2}\n'
        '1700000000000000001 {"ch":"trade","s":"A-B","n":2,"p":"-1","q":2}\n'
        '1700000000000000002 {"ch":"news","text":"x"}\n'
        '1700000000000000003 {"op":"subscribe"}\n'
    )
    code, output = check(f"{codec}:MINE", recording, "--json")
    assert code == 3
    report = json.loads(output)
    trade, ack = report["messages"]
    assert trade == {
        "name": "trade",
        "role": "Trade",
        "matched": 1,
        "refused": 1,
        "never_present": ["side"],
    }
    assert (ack["matched"], ack["never_present"]) == (1, [])
    assert report["unmatched"]["count"] == 1
    (sample,) = report["unmatched"]["samples"]
    assert (sample["line"], sample["frame"]) == (3, '{"ch":"news","text":"x"}')
    (refused,) = report["refused"]["samples"]
    assert (refused["line"], refused["message"]) == (2, "trade")
    assert "bad_number" in refused["error"]
    _, shown = check(f"{codec}:MINE", recording)
    for part in (
        "codec mine: 4 frames",
        "trade",
        "unmatched: 1",
        "session.txt, line 2",
        "checksums: 0 verified",
    ):
        assert part in shown


def test_books_that_are_never_valid_or_end_stale_do_not_fit(tmp_path: Path) -> None:
    codec, recording = tmp_path / "mine.py", tmp_path / "session.txt"
    codec.write_text(BOOKS.replace(", checksum=CHECKSUM", ""))
    frame = '{"ch":"book","data":[{"s":"%s","b":[["%d","1"]],"a":[["2","1"]],"t":1700000000000}]}'
    frames = [frame % each for each in (("A-B", 3), ("C-D", 1), ("C-D", 2), ("E-F", 2), ("E-F", 1))]
    recording.write_text("".join(f"{i + 1} {line}\n" for i, line in enumerate(frames)))
    code, output = check(f"{codec}:MINE", recording, "--json")
    books = {"synced": ["C-D", "E-F"], "never_synced": ["A-B"], "stale_at_end": ["C-D"]}
    assert (code, json.loads(output)["books"]) == (3, books)
    recording.write_text("".join(f"{i + 1} {line}\n" for i, line in enumerate(frames[1:3])))
    assert "stale at the end: C-D" in (shown := check(f"{codec}:MINE", recording))[1]
    assert shown[0] == 3


def test_a_book_that_never_synced_does_not_fit(tmp_path: Path) -> None:
    recording = tmp_path / "session.txt"
    made = session("binance", steps=60)
    diffs = [line for line in made.lines if line.message and line.message.kind == "diff"]
    recording.write_text("".join(line.text(connections=False) + "\n" for line in diffs))
    code, output = check("binance", recording, "--json")
    assert code == 3
    assert json.loads(output)["books"]["never_synced"] == ["BTC-USDT", "DOGE-USDT", "ETH-USDT"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("binanse", "there.txt"), "did you mean `binance`"),
        (("binance", "nothing.txt"), "saw nothing that matches"),
        (("nothing.py:MINE", "there.txt"), "cannot be read"),
    ],
)
def test_faults_of_the_arguments(arguments: tuple[str, ...], fault: str, tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("1 {}\n")
    code, output = check(arguments[0], tmp_path / arguments[1])
    assert code == 2
    assert fault in output


def test_lines_of_all_forms_are_read() -> None:
    content = [
        b'17 {"a":1}',
        b'18 @2 {"b":2}',
        b'19 @2 BTC-USDT {"c":3}',
        b"20 @2 lost reset by peer",
        b"21 @linear-2 open",
        b'1700000000.5: [1,{"d":4}]',
        b"22 pong",
        b'{"e":5}',
        b"23 ETH-USDT [6]",
    ]
    found = [line[1:] for line in lines(Recording(Path("a.txt"), b"\n".join(content)))]
    bad = "expected `<receive ns> [@<connection>] [<symbol>] <frame>`"
    assert found == [
        ("", b'{"a":1}', None),
        ("2", b'{"b":2}', None),
        ("2", b'{"c":3}', None),
        ("", b'[1,{"d":4}]', None),
        ("", b"pong", None),
        ("", b'{"e":5}', bad),
        ("", b"[6]", None),
    ]
    without_times = [line[1:] for line in lines(Recording(Path("a.jsonl"), b'{"a":1}\nA-B {"b":2}\n'))]
    assert without_times == [("", b'{"a":1}', None), ("", b'{"b":2}', None)]


def test_a_sample_of_each_kind_is_shown(tmp_path: Path) -> None:
    """Kinds differ in their keys, and those of errors in message, path or fault."""
    codec, recording = tmp_path / "mine.py", tmp_path / "session.txt"
    codec.write_text(DECLARED)
    bad = '{"ch":"trade","s":"A-B","n":%d,"p":"-1","q":2}'
    frames = [f'{{"ch":"news","text":"{i}"}}' for i in range(20)]
    frames += ['{"ch":"status","data":[{"up":true}]}', *(bad % i for i in range(9)), '{"ch":"trade"}', "pong"]
    recording.write_text("".join(f"{i + 1} {frame}\n" for i, frame in enumerate(frames)) + "FOO\n")
    code, output = check(f"{codec}:MINE", recording, "--json")
    report = json.loads(output)
    assert code == 3
    counts = [(sample["count"], sample["line"]) for sample in report["unmatched"]["samples"]]
    assert counts == [(20, 1), (1, 21)]
    refused = report["refused"]
    assert refused["kinds"] == {"bad_line": 1, "bad_number": 9, "missing_field": 1, "syntax": 1}
    assert (refused["count"], report["frames"]) == (12, len(frames) + 1)
    assert [(s["count"], s["line"]) for s in refused["samples"]] == [(9, 22), (1, 31), (1, 32), (1, 33)]
    _, shown = check(f"{codec}:MINE", recording)
    assert "refused: 12: bad_line 1, bad_number 9, missing_field 1, syntax 1" in shown
    assert "9 x " in shown


def test_a_fault_that_only_a_feed_finds_is_shown(tmp_path: Path) -> None:
    """Two symbols, and a snapshot that names none of them."""
    recording = tmp_path / "session.txt"
    diff = '{"e":"depthUpdate","E":1,"s":"%s","U":1,"u":2,"b":[["1","1"]],"a":[["2","1"]]}'
    snapshot = '{"lastUpdateId":2,"bids":[["1","1"]],"asks":[["2","1"]]}'
    frames = [diff % "BTCUSDT", diff % "ETHUSDT", snapshot]
    recording.write_text("".join(f"{i + 1} {frame}\n" for i, frame in enumerate(frames)))
    _, output = check("binance", recording, "--json")
    refused = json.loads(output)["refused"]
    assert refused["kinds"] == {"no_symbol": 1}
    (sample,) = refused["samples"]
    assert sample["frame"] == snapshot
    assert "in the replay" in check("binance", recording)[1]


def test_symbols_are_those_of_the_category_of_the_connection(tmp_path: Path) -> None:
    recording = tmp_path / "session.txt"
    frame = (
        '{"topic":"publicTrade.BTCPERP","data":[{"T":1700000000000,"s":"BTCPERP","i":"%s","p":"1","v":"1"}]}'
    )
    recording.write_text(f"1 @linear {frame % 'a'}\n2 @linear-2 {frame % 'b'}\n")
    code, output = check("bybit", recording, "--json")
    assert (code, json.loads(output)["refused"]["count"]) == (0, 0)
    recording.write_text(f"1 @spot {frame % 'a'}\n")
    assert json.loads(check("bybit", recording, "--json")[1])["refused"]["kinds"] == {"unknown_symbol": 1}


BOOKS = """
from meltica.adapters import *
CHECKSUM = Checksum("crc", levels=1)
BOOK = Message(
    name="book",
    role="BookSnapshot",
    matches=(equals("ch", "book"),),
    each="data",
    symbol="@.s",
    venue_time=("@.t", "ms"),
    snapshot="replaces",
    levels=Levels(bids="@.b", asks="@.a", sequence=Unnumbered(), checksum=CHECKSUM),
)
MINE = Codec(name="mine", symbols=SymbolRule(separator="-"), messages=(BOOK,))
"""


def test_a_checksum_or_a_time_that_is_not_at_its_path_is_never_present(tmp_path: Path) -> None:
    codec, recording = tmp_path / "mine.py", tmp_path / "session.txt"
    codec.write_text(BOOKS)
    frame = '{"ch":"book","data":[{"s":"A-B","b":[["1","1"]],"a":[["2","1"]],"t":1700000000000,"crc":%d}]}'
    recording.write_text(f"1 {frame % 5}\n")
    report = json.loads(check(f"{codec}:MINE", recording, "--json")[1])
    assert report["messages"][0]["never_present"] == ["checksum"]
    # At its path, but never the checksum of the book.
    codec.write_text(BOOKS.replace('"crc"', '"@.crc"').replace('"@.t"', '"t"'))
    code, output = check(f"{codec}:MINE", recording, "--json")
    report = json.loads(output)
    assert report["messages"][0]["never_present"] == ["venue_time"]
    assert (code, report["fits"], report["checksums"]["never_verified"]) == (3, False, ["A-B"])
    assert "1 unverified; never verified: A-B" in check(f"{codec}:MINE", recording)[1]
    # One that is proved later is not never verified.
    right = zlib.crc32(b"2111")
    recording.write_text(f"1 {frame % 5}\n2 {frame % right}\n")
    code, output = check(f"{codec}:MINE", recording, "--json")
    report = json.loads(output)
    assert (code, report["fits"], report["checksums"]["never_verified"]) == (0, True, [])
    assert (report["checksums"]["verified"], report["checksums"]["unverified"]) == (1, 1)


def test_a_value_that_an_element_lacks_is_not_an_array_on_its_path(tmp_path: Path) -> None:
    codec, recording = tmp_path / "mine.py", tmp_path / "session.txt"
    codec.write_text(BOOKS.replace("Unnumbered()", 'Range(last="@.u")'))
    recording.write_text('1 {"ch":"book","data":[{"s":"A-B","b":[["1","1"]],"a":[]}]}\n')
    refused = json.loads(check(f"{codec}:MINE", recording, "--json")[1])["refused"]
    assert refused["kinds"] == {"missing_field": 1}
