"""`meltica codec check`: what a codec makes of a recording."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from meltica.adapters.binance.codec import BINANCE
from meltica.backtest.codec_check import frames
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
    assert report["books"] == {"synced": ["BTC-USDT", "DOGE-USDT", "ETH-USDT"], "never_synced": []}


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
    lines = [
        b'17 {"a":1}',
        b'18 @2 {"b":2}',
        b'19 @2 BTC-USDT {"c":3}',
        b"20 @2 lost reset by peer",
        b"21 @linear-2 open",
    ]
    lines += [b'1700000000.5: [1,{"d":4}]', b"22 pong", b'{"e":5}', b"23 ETH-USDT [6]"]
    found = [frame for _, frame in frames(enumerate(lines))]
    assert found == [b'{"a":1}', b'{"b":2}', b'{"c":3}', b'[1,{"d":4}]', b"pong", b'{"e":5}', b"[6]"]
