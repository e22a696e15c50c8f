"""Codec declarations, the registry, and the made-up session."""

import gzip
import importlib
import json
import random
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica._core import Codec, CodecError
from meltica.adapters import registry
from meltica.adapters.binance.codec import BINANCE, QUOTES
from meltica.adapters.codec import Codec as Declaration
from meltica.adapters.codec import Field, Message, SymbolRule, decimal, equals
from meltica.adapters.replay import sample
from meltica.errors import ConfigError
from tests.support.paths import ROOT


def test_binance_compiles() -> None:
    assert Codec(BINANCE).name == "binance"


def test_no_quote_ends_with_another() -> None:
    # Else the longest would be taken out of symbols such as ADAEUR.
    for quote in QUOTES:
        assert not [other for other in QUOTES if other != quote and quote.endswith(other)]


def test_one_error_lists_all_faults_of_a_declaration() -> None:
    fields = (Field("id", "t", decimal()), Field("prize", "p", decimal()))
    trade = Message(name="trade", role="Trade", matches=(equals("e", "trade"),), symbol="s", fields=fields)
    with pytest.raises(CodecError) as caught:
        Codec(Declaration(name="broken", symbols=SymbolRule(), messages=(trade,)))
    text = str(caught.value)
    for part in ("symbols", "trade.id", "trade.prize", "trade.price", "trade.quantity"):
        assert part in text


def test_shipped_adapters_and_codecs_are_registered() -> None:
    assert registry.codec("binance") is BINANCE
    assert registry.adapter("replay").identifier == "replay"
    assert "binance" in registry.names(registry.CODECS)


def test_each_codec_of_the_package_has_its_name_and_compiles() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points: dict[str, str] = project["entry-points"]["meltica.codecs"]
    assert {"binance", "bybit", "coinbase", "kraken", "okx"} <= set(points)
    for name, place in points.items():
        module, _, attribute = place.partition(":")
        assert Codec(getattr(importlib.import_module(module), attribute)).name == name


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"`binanse` is unknown; did you mean `binance`\?"):
        registry.codec("binanse")
    with pytest.raises(ConfigError, match=r"known: .*replay"):
        registry.adapter("nothing")


DECLARED = """
from meltica.adapters import Codec, Message, SymbolRule, equals
ACK = Message(name="ack", role="Control", matches=(equals("op", "ack"),))
MINE = Codec(name="mine", symbols=SymbolRule(separator="-"), messages=(ACK,))
"""


def test_a_file_of_python_can_have_a_codec(tmp_path: Path) -> None:
    path = tmp_path / "my venue.py"
    path.write_text(DECLARED)
    assert registry.codec(f"{path}:MINE").name == "mine"
    assert registry.codec(f"{path}:MINE") is registry.codec(str(path))
    path.write_text(DECLARED.replace('"mine"', '"changed"'))
    assert registry.codec(f"{path}:MINE").name == "changed"


@pytest.mark.parametrize(
    ("source", "name", "fault"),
    [
        (DECLARED, "MINES", r"does not define `MINES`; did you mean `MINE`\?; codecs in it: MINE"),
        (DECLARED, "ACK", r"is not a meltica.adapters.Codec"),
        (DECLARED + "OTHER = Codec('o', SymbolRule(), ())", "", r"needs a name, .*: MINE, OTHER"),
        ("1 / 0", "MINE", r"cannot be loaded: ZeroDivisionError: division by zero"),
        ("def f(:", "MINE", r"cannot be loaded: SyntaxError"),
        ("raise SystemExit(3)", "MINE", r"cannot be loaded: SystemExit: 3"),
    ],
)
def test_the_fault_of_a_file_is_named(tmp_path: Path, source: str, name: str, fault: str) -> None:
    path = tmp_path / "venue.py"
    path.write_text(source)
    with pytest.raises(ConfigError, match=fault) as caught:
        registry.codec(f"{path}:{name}" if name else str(path))
    assert "venue.py" in str(caught.value)
    path.unlink()
    with pytest.raises(ConfigError, match=r"venue.py: cannot be read: .*; give FILE.py:NAME"):
        registry.codec(f"{path}:{name}")


def test_the_sample_is_deterministic(tmp_path: Path) -> None:
    first, second = tmp_path / "a.gz", tmp_path / "b.gz"
    assert sample.write(first, steps=20) == sample.write(second, steps=20)
    assert first.read_bytes() == second.read_bytes()
    assert sample.write(second, seed=8, steps=20)
    assert first.read_bytes() != second.read_bytes()
    with gzip.open(first) as file:
        times = [int(line.split(b" ", 1)[0]) for line in file]
    assert times == sorted(times)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_sample_numbers_are_written_exactly(ticks: int, lots: int) -> None:
    market = sample.SampleMarket("BTCUSDT", 100, 2, 1, random.Random(1))
    price, quantity = market.level(ticks, lots)
    assert int(price.replace(".", "")) == ticks * 10**6
    assert int(quantity.replace(".", "")) == lots * 1000
    assert len(price.split(".")[1]) == len(quantity.split(".")[1]) == 8


def test_sample_diffs_rebuild_the_book() -> None:
    bids: dict[str, dict[str, str]] = {}
    for line in sample.lines(steps=50):
        frame = json.loads(line.split(b" ", 1)[1])
        data, symbol = frame["data"], frame["stream"].split("@")[0]
        if "lastUpdateId" in data:
            bids[symbol] = dict(data["bids"])
        elif data.get("e") == "depthUpdate" and symbol in bids:
            for price, quantity in data["b"]:
                bids[symbol][price] = quantity
                if float(quantity) == 0:
                    del bids[symbol][price]
        elif "B" in data and symbol in bids:
            best = max(bids[symbol], key=float)
            assert (data["b"], data["B"]) == (best, bids[symbol][best])
            assert len(bids[symbol]) == sample.LEVELS
