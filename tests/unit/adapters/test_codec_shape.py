"""Faults of the shape of declarations: all at once, with those that the compiler finds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from meltica._core import Codec as Compiled
from meltica._core import CodecError
from meltica.adapters.codec import (
    Codec,
    Envelope,
    Field,
    Levels,
    Message,
    Range,
    Row,
    SymbolRule,
    decimal,
    equals,
)
from meltica.cli import cli

PRICE, QUANTITY = Field("price", "p", decimal()), Field("quantity", "q", decimal())


def wrong(value: object) -> Any:
    """Returns a value whose type is not checked."""
    return value


def trade(**parts: Any) -> Message:
    whole: dict[str, Any] = {
        "name": "trade",
        "role": "Trade",
        "matches": (equals("e", "trade"),),
        "symbol": "s",
        "fields": (PRICE, QUANTITY),
    }
    return Message(**{**whole, **parts})


def codec(messages: Any, **parts: Any) -> Codec:
    whole: dict[str, Any] = {"name": "venue", "symbols": SymbolRule(separator="-"), "messages": messages}
    return Codec(**{**whole, **parts})


OTHER = trade(name="other", matches=())
"""Has a fault of another kind."""


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (trade(fields=PRICE), "trade.fields: expected a tuple of `Field`, saw `Field(...)`; a comma"),
        (trade(matches=equals("a", "b")), "trade.matches: expected a tuple of `Match`, saw `Match(...)`; a"),
        ((trade(),), "trade: expected `Message`, saw a tuple of 1; remove the comma after it"),
        (trade(role="Trad"), 'trade.role: expected "Trade" or "Ticker"'),
        (trade(venue_time=["T", "ms"]), "saw a list of 2; write a tuple (...) in place of a list [...]"),
        (trade(venue_time=("T", "m")), 'trade.venue_time: expected "s" or "ms"'),
        (trade(id=("t", "mono")), 'trade.id: expected "monotonic" or "opaque", saw \'mono\''),
        (
            trade(fields=(Field("price", "p", wrong(decimal)), QUANTITY)),
            "trade.price.convert: expected `Convert`, saw",
        ),
        (
            trade(fields=(Field("price", wrong(1), decimal()), QUANTITY)),
            "trade.price.path: expected a text, saw 1",
        ),
        (trade(levels=Levels(wrong(Range))), "trade.levels.sequence: expected `Range` or `Chain`"),
        (
            trade(levels=Levels(Range(), row=Row(price=wrong(1.5)))),
            "trade.levels.row.price: expected a whole number or a text, saw 1.5",
        ),
        (7, "messages[0]: expected `Message`, saw 7"),
    ],
)
def test_a_fault_of_shape_names_its_place_beside_the_faults_of_others(message: Any, fault: str) -> None:
    with pytest.raises(CodecError) as caught:
        Compiled(codec((message, OTHER)))
    text = str(caught.value)
    assert fault in text
    assert "2 fault(s)" in text
    assert "other: expected at least one condition in matches" in text


@pytest.mark.parametrize(
    ("declared", "faults"),
    [
        (codec(trade()), ["messages: expected a tuple of `Message`, saw `Message(...)`; a comma makes"]),
        (
            codec((OTHER,), symbols=SymbolRule(quotes=wrong("USDT"))),
            ["symbols.quotes: expected a tuple of texts, saw 'USDT'", "other: expected at least one"],
        ),
        (
            codec((OTHER,), symbols=SymbolRule(separator="::"), max_frame="9"),
            [
                "symbols.separator: expected one character",
                "max_frame: expected a whole number or None",
                "other:",
            ],
        ),
        (
            codec((trade(role="Trad", fields=PRICE, id="t"),), envelope=("a", "b")),
            [
                "trade.role:",
                "trade.fields:",
                "trade.id:",
                "envelope: expected `Envelope` or None, saw a tuple",
            ],
        ),
        (codec((OTHER,), envelope=Envelope("d", wrong(1))), ["envelope.stream: expected a text, saw 1"]),
    ],
)
def test_the_faults_of_a_codec_are_one_error(declared: Any, faults: list[str]) -> None:
    with pytest.raises(CodecError) as caught:
        Compiled(declared)
    assert f"{len(faults)} fault(s)" in str(caught.value)
    for fault in faults:
        assert fault in str(caught.value)


@pytest.mark.parametrize(("declared", "name"), [((codec((trade(),)),), "tuple"), (None, "NoneType")])
def test_a_value_that_is_no_codec_is_refused(declared: Any, name: str) -> None:
    with pytest.raises(CodecError, match=f"codec: expected `Codec`, saw a value of type {name}"):
        Compiled(declared)


def test_a_history_is_not_at_fault_because_the_message_of_new_trades_is() -> None:
    new, history = trade(id=("t", "opaque"), role="Trad"), trade(name="old", id=("t", "opaque"))
    with pytest.raises(CodecError, match=r"1 fault\(s\): trade\.role"):
        Compiled(codec((new, trade(name="b"), replace(history, snapshot="history"))))


def test_lists_are_taken_for_tuples_of_any_length() -> None:
    assert Compiled(codec([trade(matches=[equals("e", "t")], fields=[PRICE, QUANTITY])])).name == "venue"


@pytest.mark.parametrize("command", [("codec", "check"), ("replay", "--codec")])
@pytest.mark.parametrize(
    ("end", "fault"),
    [
        ("MINE = Codec(name='mine', symbols=SymbolRule(separator='-'), messages=(A))", "messages: expected"),
        (
            "MINE = Codec(name='mine', symbols=SymbolRule(separator='-'), messages=((A,),))",
            "remove the comma",
        ),
        ("MINE = Codec(name='mine', symbols=SymbolRule(separator='-'), messages=(A,)),", "remove the comma"),
    ],
)
def test_commands_show_a_fault_of_shape(
    tmp_path: Path, command: tuple[str, ...], end: str, fault: str
) -> None:
    path, recording = tmp_path / "mine.py", tmp_path / "session.txt"
    text = "from meltica.adapters import *\nA = Message(name='a', role='Control', matches=(present('op'),))\n"
    path.write_text(f"{text}{end}\n")
    recording.write_text('1 {"op":1}\n')
    arguments = [*command, f"{path}:MINE", str(recording)]
    if command[0] == "replay":
        arguments += ["--lambda", "books"]
    run = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert isinstance(run.exception, click.ClickException), (run.exception, run.output)
    assert fault in run.exception.format_message()
