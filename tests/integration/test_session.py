"""A recorded session of a real venue: exact counts, and correct handling of damaged frames."""

import gzip
import json
import subprocess
import sys
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.conftest import RECORDING, Run, replay, shared

EVENTS = 3449 + 9757 + 28040
"""Books, trades and tickers of the session."""

SNAPSHOT = 7
"""Index of the line with the REST snapshot; the diffs before it are buffered until then."""


def books(lines: list[bytes]) -> tuple[list[tuple[int | None, int | None]], list[Any], Run]:
    """Replays and returns update ids of the books, the notices in order, and the run."""
    published: list[tuple[int | None, int | None]] = []
    notices: list[Any] = []
    run = replay(
        lines,
        {
            "BookSnapshot": lambda book: published.append((book.first_update_id, book.last_update_id)),
            "BookGap": notices.append,
            "MarketStale": notices.append,
        },
    )
    return published, notices, run


def diffs(lines: list[bytes]) -> list[int]:
    return [index for index, line in enumerate(lines) if b"depthUpdate" in line]


def test_the_session_has_the_exact_counts(session_lines: list[bytes]) -> None:
    rows: list[tuple[Any, ...]] = []
    trades: list[Any] = []
    tickers: list[Any] = []
    order: list[int] = []

    def on_book(book: Any) -> None:
        order.append(book.seq)
        bid, ask = book.best_bid, book.best_ask
        best = (bid.price_decimal, bid.quantity_decimal, ask.price_decimal, ask.quantity_decimal)
        rows.append((book.first_update_id, book.last_update_id, *best, book.bid_count, book.ask_count))
        assert len(book.bids) == len(book.asks) == 25

    def on_trade(trade: Any) -> None:
        order.append(trade.seq)
        trades.append((int(trade.trade_id), trade.price_decimal, trade.quantity_decimal, trade.side))

    def on_ticker(ticker: Any) -> None:
        order.append(ticker.seq)
        tickers.append((ticker.bid_decimal, ticker.ask_decimal, ticker.last))

    replay(session_lines, {"BookSnapshot": on_book, "Trade": on_trade, "Ticker": on_ticker})

    folder = shared()
    assert folder is not None
    with gzip.open(folder / f"{RECORDING}_top.jsonl.gz") as file:
        expected = [json.loads(line) for line in file]
    assert rows == [
        (e["U"], e["u"], *map(Decimal, e["bid"]), *map(Decimal, e["ask"]), e["nb"], e["na"]) for e in expected
    ]
    frames = [json.loads(line.split(b" ", 1)[1]) for line in session_lines]
    data = [frame["data"] for frame in frames if "data" in frame]
    sides = {True: "Sell", False: "Buy"}
    assert trades == [
        (d["t"], Decimal(d["p"]), Decimal(d["q"]), sides[d["m"]]) for d in data if d.get("e") == "trade"
    ]
    assert tickers == [(Decimal(d["b"]), Decimal(d["a"]), None) for d in data if "B" in d]
    assert (len(rows), len(trades), len(tickers)) == (3449, 9757, 28040)
    assert order == sorted(set(order)), "one ascending sequence over all kinds"


@pytest.mark.parametrize("mode", ["shared", "thread"])
def test_two_replays_are_identical(session_lines: list[bytes], mode: str) -> None:
    """Both replays make identical callbacks; in a shared host, in the same order between the instances."""

    def record() -> list[list[bytes]]:
        lists = [list[bytes](), list[bytes]()]
        outs = [lists[0], lists[0] if mode == "shared" else lists[1]]

        def keep(number: int, event: Any) -> None:
            data = event.to_dict()
            # Only the dispatch time differs between two replays.
            del data["emitTs"]
            outs[number].append(b"%d %s" % (number, orjson.dumps(data)))

        kinds = ["BookSnapshot", "Trade", "Ticker", "BookGap", "MarketStale"]
        replay(session_lines, *(dict.fromkeys(kinds, partial(keep, n)) for n in range(2)), mode=mode)
        return lists

    first, second = record(), record()
    counts = [2 * EVENTS, 0] if mode == "shared" else [EVENTS, EVENTS]
    assert [len(out) for out in first] == [len(out) for out in second] == counts
    for one, other in zip(first, second, strict=True):
        for before, after in zip(one, other, strict=True):
            assert before == after


def test_kept_events_stay_valid(session_lines: list[bytes]) -> None:
    kept: list[Any] = []
    shown: list[dict[str, Any]] = []

    def on_book(book: Any) -> None:
        kept.append(book)
        shown.append(book.to_dict())

    run = replay(session_lines, {"BookSnapshot": on_book})
    assert [book.to_dict() for book in kept] == shown
    for pool in ("event_pool", "book_pool"):
        assert run.core[pool]["free"] == run.core[pool]["capacity"], "all slots are returned"


def test_a_missing_diff_is_a_gap(session_lines: list[bytes]) -> None:
    whole, _, _ = books(session_lines)
    lost = diffs(session_lines)[1000]
    published, notices, run = books(session_lines[:lost] + session_lines[lost + 1 :])
    assert published == whole[: len(published)]
    assert len(published) == 998, "no valid book is published after the gap"
    assert [n.kind for n in notices[:2]] == ["BookGap", "MarketStale"]
    assert notices[0].expected == whole[998][0]
    assert notices[1].reason == "gap"
    assert run.producer["gaps"] == 1
    assert run.producer["unsynced_books"] == 1


def test_a_repeated_diff_changes_nothing(session_lines: list[bytes]) -> None:
    whole, _, _ = books(session_lines)
    again = diffs(session_lines)[1000]
    published, notices, run = books([*session_lines[: again + 1], *session_lines[again:]])
    assert published == whole
    assert notices == []
    assert run.producer["repeated_diffs"] == 1


def test_a_book_without_a_snapshot_is_not_published(session_lines: list[bytes]) -> None:
    published, notices, run = books(session_lines[:SNAPSHOT] + session_lines[SNAPSHOT + 1 :])
    assert published == []
    assert [(n.kind, n.reason) for n in notices] == [("MarketStale", "no_snapshot")]
    assert run.producer["buffered_diffs"] == 3451


def test_a_snapshot_that_is_too_old_is_not_used(session_lines: list[bytes]) -> None:
    time, frame = session_lines[SNAPSHOT].split(b" ", 1)
    old = json.loads(frame)
    old["lastUpdateId"] -= 1_000_000
    lines = [
        *session_lines[:SNAPSHOT],
        time + b" " + json.dumps(old).encode(),
        *session_lines[SNAPSHOT + 1 :],
    ]
    published, _, run = books(lines)
    assert published == []
    assert run.producer["old_snapshots"] == 1


def test_a_truncated_frame_is_counted_and_causes_a_gap(session_lines: list[bytes]) -> None:
    cut = diffs(session_lines)[500]
    lines = [*session_lines]
    lines[cut] = lines[cut][:-40]
    published, notices, run = books(lines)
    assert run.producer["errors"] == {"truncated": 1}
    assert len(published) == 498
    assert [n.kind for n in notices[:2]] == ["BookGap", "MarketStale"]


def test_corrupted_frames_do_not_affect_others(session_lines: list[bytes]) -> None:
    lines = [bytearray(line) for line in session_lines[:6000]]
    for index in range(SNAPSHOT + 1, len(lines), 7):
        line = lines[index]
        at = 20 + (index * 31) % (len(line) - 20)
        line[at] ^= 1 << (index % 8)
        if line[at] == 0x0A:
            line[at] ^= 1 << (index % 8)
    trades: list[Any] = []
    run = replay([bytes(line) for line in lines], {"Trade": trades.append})
    untouched = {
        int(json.loads(line.split(b" ", 1)[1])["data"]["t"])
        for index, line in enumerate(session_lines[:6000])
        if b'"e":"trade"' in line and (index <= SNAPSHOT or (index - SNAPSHOT - 1) % 7)
    }
    assert untouched <= {int(trade.trade_id) for trade in trades}
    assert sum(run.producer["errors"].values()) > 100


def test_a_gap_in_one_symbol_does_not_affect_another(session_lines: list[bytes]) -> None:
    def other(line: bytes) -> bytes:
        time, frame = line.split(b" ", 1)
        if b"lastUpdateId" in frame:
            return time + b' {"stream":"ethusdt@depth","data":' + frame + b"}"
        return time + b" " + frame.replace(b"BTCUSDT", b"ETHUSDT").replace(b"btcusdt", b"ethusdt")

    lost = diffs(session_lines)[300]
    mixed: list[bytes] = []
    for index, line in enumerate(session_lines):
        time, frame = line.split(b" ", 1)
        named = time + b' {"stream":"btcusdt@depth","data":' + frame + b"}" if index == SNAPSHOT else line
        mixed.append(named)
        if index != lost:
            mixed.append(other(line))
    count = {"BTC-USDT": 0, "ETH-USDT": 0}
    notices: list[Any] = []

    def on_book(book: Any) -> None:
        count[book.symbol] += 1

    replay(mixed, {"BookSnapshot": on_book, "BookGap": notices.append, "MarketStale": notices.append})
    assert count == {"BTC-USDT": 3449, "ETH-USDT": 298}
    assert {notice.symbol for notice in notices} == {"ETH-USDT"}


def test_the_command_line_reports_the_same(session_path: Path, tmp_path: Path) -> None:
    strategy = tmp_path / "quiet.py"
    strategy.write_text("import meltica\nclass Quiet(meltica.Lambda):\n    def on_trade(self, trade): pass\n")
    command = ["-m", "meltica", "replay", str(session_path), "--codec", "binance", "--json"]
    result = subprocess.run(
        [sys.executable, *command, "--lambda", f"{strategy}:Quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "9757" in json.dumps(json.loads(result.stdout))
