"""`meltica bench`: every row is measured and printed in the documented format."""

import json
import math
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from meltica import _core, bench
from meltica.adapters.replay import sample
from meltica.bench import memory, trading, trading_world
from meltica.cli import cli
from meltica.errors import OrderRefused
from meltica.trading import desk, state_machine
from tests.conftest import replay


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize(
    ("only", "budget"),
    [
        ("an event WITHOUT a subscriber", {"budget_ns", "ok"}),
        ("publish a trade to 1 full queue, beside 64 instances", {"budget_ns", "ok"}),
        ("parked for 5 us", {"budget_ns", "ok"}),
        ("diffs of the mix", {"budget_ns", "ok"}),
        ("event -> 1 callback", {"budget_ratio", "ok"}),
        ("replay of recorded trades", {"budget_ns", "ok"}),
        ("16 instances, shared host", {"budget_ns", "ok"}),
        ("buy() with every limit", {"budget_ns", "ok"}),
        ("approve an order", {"budget_ns", "ok"}),
        ("report of a fill", set[str]()),
        ("conflate 1,000 symbols", set[str]()),
        ("500 full queues", set[str]()),
        ("python -c pass", set[str]()),
        ("dict, sorted, per level", set[str]()),
        ("okx: frame -> event", {"budget_ns", "ok"}),
        ("bybit: diffs, per level", set[str]()),
        ("kraken: diffs, per level", set[str]()),
        ("coinbase: frame -> event", {"budget_ns", "ok"}),
        ("per frame of kraken", set[str]()),
        ("per frame of coinbase", set[str]()),
        ("10 + 10 levels, without decoding", {"budget_ns", "ok"}),
        ("per frame of binance", set[str]()),
    ],
)
def test_bench_measures_a_row(only: str, budget: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine delays orders beyond the age up to which they leave.
    for module in (desk, state_machine):
        monkeypatch.setattr(module, "MAX_AGE", 100 * 10**9)
    run = invoke("bench", "--json", "--only", only)
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert set(result) == {"floor_ns", "rows"}
    (row,) = result["rows"]
    assert only.casefold() in row["name"].casefold()
    assert set(row) == {"name", "ns", "ratio"} | budget
    for figure in (result["floor_ns"], row["ns"], row["ratio"], *(row[key] for key in budget)):
        assert math.isfinite(figure)
    assert min(result["floor_ns"], row["ns"], row["ratio"]) > 0
    if "ok" in budget:
        limit = row.get("budget_ns") or row["budget_ratio"]
        figure = row["ns"] if "budget_ns" in row else row["ratio"]
        assert row["ok"] is (figure <= limit)


def test_bench_measures_a_session(tmp_path: Path) -> None:
    path = tmp_path / "session.gz"
    sample.write(path, steps=20)
    rows = json.loads(invoke("bench", "--json", "--session", str(path), "--only", "session").stdout)["rows"]
    names = [row["name"] for row in rows]
    assert names == [row.name for row in bench.rows(path, "session")]
    assert len(names) == 3
    assert all(row["ns"] > 0 for row in rows)


def test_bench_shows_a_table() -> None:
    output = invoke("bench", "--only", "without a subscriber").output
    assert "floor F" in output
    assert "an event without a subscriber" in output
    assert "30.0 ns" in output


def test_names_of_rows_are_unique() -> None:
    rows = bench.rows()
    assert len({row.name for row in rows}) == len(rows)
    assert not [row.name for row in rows if row.budget_ns and row.budget_ratio]


def test_the_mix_has_the_composition_in_its_name() -> None:
    frames = _core.benchmark_mix()
    lines = [b"%d %b" % (n, frame) for n, frame in enumerate(frames)]
    books: list[tuple[int, int]] = []
    run = replay(lines, {"BookSnapshot": lambda book: books.append((len(book.bids), len(book.asks)))})
    # Two more frames initialize the book: a buffered diff and the snapshot.
    assert run.producer["events"] == {"Trade": 4000, "Ticker": 4000, "BookSnapshot": 2001}
    assert books == [(25, 25)] * 2001
    assert (run.producer["errors"], run.producer["gaps"], run.producer["stale"]) == ({}, 0, {})
    depths = [orjson.loads(frame)["data"] for frame in frames if b"@depth" in frame]
    assert {(len(each["b"]), len(each["a"])) for each in depths} == {(10, 10)}
    assert frames == _core.benchmark_mix()


def test_unknown_rows_and_unsuitable_recordings_are_refused(tmp_path: Path) -> None:
    result = invoke("bench", "--only", "teleport")
    assert result.exit_code == 2
    assert "--only teleport: unknown row; expected a part of one of these names: " in result.output
    for content in (b'{"seq": 1}\n', b"1 {}\n"):
        path = tmp_path / "recording"
        path.write_bytes(content)
        result = invoke("bench", "--session", str(path))
        assert result.exit_code == 2
        assert "expected frames of Binance, with a depth snapshot" in result.output


@pytest.mark.parametrize(("mib", "ok"), [(90.0, True), (90.1, False)])
def test_a_row_in_another_unit_has_no_times(mib: float, ok: bool) -> None:
    (row,) = bench.run([bench.Benchmark("idle", lambda: mib, unit="MiB", budget=90)])["rows"]
    assert row == {"name": "idle", "value": mib, "unit": "MiB", "budget": 90, "ok": ok}


def test_first_sight_of_symbols_is_measured() -> None:
    every, worst = _core.benchmark_first_sight(50, 2)
    assert every > 0
    assert worst >= 1


@pytest.mark.parametrize(("rate", "in_flight"), [(100, 1), (None, 4)])
def test_orders_under_load_are_measured(rate: int | None, in_flight: int) -> None:
    measured = trading.load(rate, seconds=0.5, in_flight=in_flight)
    assert 0 < measured.sent_p50 <= measured.sent_p99
    assert 0 < measured.reported_p50 <= measured.reported_p99
    assert measured.elapsed > 0


def test_reconciling_open_orders_is_measured() -> None:
    assert trading.reconcile(orders=100) > 0


def test_a_refused_order_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trading_world.LIMITS, "maxOrderSize", "0.0001")
    with pytest.raises(OrderRefused):
        trading.load(100, seconds=0.5)


@pytest.mark.parametrize("what", ["instance", "symbol"])
def test_memory_is_measured(what: memory.What) -> None:
    assert memory.bytes_per(what)() > 0
