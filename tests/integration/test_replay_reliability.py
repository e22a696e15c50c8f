"""`meltica replay` takes each form of a recording, and says when its events are not those of it."""

import gzip
import re
import zlib
from pathlib import Path

import pytest

from tests.support.replays import replay, report, trade
from tests.support.venue_sessions import FAULTS, VENUES, generate


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_recording_whose_frames_all_fail_is_not_ok(folder: Path) -> None:
    file = folder / "refused.txt"
    ns = 1_735_689_600_000_000_000
    file.write_text(trade(ns, 1, ns // 1000) + trade(ns + 1, 2, ns // 1000))
    result = report(folder, file.name, "--codec", "binance")
    assert (result["status"], result["exit_code"]) == ("unreliable", 5)
    assert "none of 2 frames could be decoded, such as: " in result["error"]
    assert "looks like microseconds" in result["error"]


def test_a_replay_says_what_it_did_not_use(folder: Path) -> None:
    """Ignored, unwanted, old and unplaced messages and books that never synced are named, and not ok."""
    ns = 1_735_689_600_000_000_000
    diff = '{"e":"depthUpdate","E":1,"s":"%s","U":1,"u":2,"b":[["1","1"]],"a":[["2","1"]]}'
    snapshot = '{"lastUpdateId":2,"bids":[["1","1"]],"asks":[["2","1"]]}'
    frames = [
        diff % "BTCUSDT",
        diff % "ETHUSDT",
        snapshot,
        '{"unknown":1}',
        '{"e":"24hrTicker","s":"BTCUSDT","E":1}',
        '{"stream":"btcusdt@depth5","data":{"lastUpdateId":3,"bids":[["1","1"]],"asks":[["2","1"]]}}',
    ]
    (folder / "two.txt").write_text("".join(f"{ns + i} {frame}\n" for i, frame in enumerate(frames)))
    done = replay(folder, "two.txt", "--codec", "binance", "--lambda", "books")
    assert done.returncode == 5
    for part in (
        "unplaced snapshots 1",
        "unmatched 1",
        "partial books 1",
        'ignored frame: {"unknown":1}',
        "never synced: BTC-USDT, ETH-USDT",
    ):
        assert part in done.stdout, part
    result = report(folder, "two.txt", "--codec", "binance", "--lambda", "books")
    assert (result["status"], result["exit_code"]) == ("unreliable", 5)
    assert (
        "binance: books never synced, as no valid snapshot fits their changes: BTC-USDT, ETH-USDT"
        in result["error"]
    )
    assert result["never_synced"] == ["BTC-USDT", "ETH-USDT"]
    unused = result["unused"]
    assert (unused["unplaced_snapshots"], unused["unmatched"], unused["unwanted"]) == (1, 1, 1)
    assert unused["partial_books"] == 1
    assert unused["sample"] == [{"provider": "binance", "frame": '{"unknown":1}'}]
    # The same with the symbol of the snapshot.
    with_symbol = [
        f"BTC-USDT {frame}" if frame == snapshot else frame for frame in frames if "ETH" not in frame
    ]
    (folder / "one.txt").write_text("".join(f"{ns + i} {frame}\n" for i, frame in enumerate(with_symbol)))
    done = replay(folder, "one.txt", "--codec", "binance", "--lambda", "books")
    assert (done.returncode, f"{ns + 1} BTC-USDT 1 1 | 2 1" in done.stdout) == (0, True)
    assert report(folder, "two.txt", "--codec", "binance", "--lambda", "noop")["never_synced"] != []


def test_checksums_are_verified_on_the_digits_of_the_frames(folder: Path) -> None:
    """Without instruments in the recording, the checksums prove the scales."""
    stream, instruments, _ = VENUES["kraken"]
    session = generate(stream, instruments, seed=3, steps=120, faults=FAULTS)
    lines = session.recording().splitlines(keepends=True)
    recording = b"".join(line for line in lines if b'"channel":"instrument"' not in line)
    (folder / "kraken.txt").write_bytes(recording)
    result = report(folder, "kraken.txt", "--codec", "kraken", "--lambda", "noop")
    assert result["checksums"]["verified"] > 200
    assert result["checksums"]["failed"] > 0, "frames were lost"
    assert result["unverified"] == {}
    # A venue that sends another number: two checksums prove nothing, the third one fails.
    other = re.sub(rb'"checksum":(\d+)', lambda found: b'"checksum":%d' % (int(found[1]) ^ 1), recording)
    (folder / "other.txt").write_bytes(other)
    done = replay(folder, "other.txt", "--codec", "kraken", "--lambda", "noop")
    assert "unverified checksums" in done.stdout
    result = report(folder, "other.txt", "--codec", "kraken", "--lambda", "noop")
    assert result["checksums"]["verified"] == 0 < result["checksums"]["failed"]
    assert result["unverified"] == dict.fromkeys(result["unverified"], 2)
    assert result["stale_at_end"] == sorted(result["unverified"])
    assert (result["status"], result["exit_code"]) == ("unreliable", 5)


def test_decimals_that_are_not_the_listed_ones_are_named(folder: Path) -> None:
    stream, instruments, _ = VENUES["kraken"]
    recording = generate(stream, instruments, seed=3, steps=120).recording()
    listed = re.sub(rb'"(price|qty)_precision":\d+', rb'"\1_precision":0', recording)
    assert listed != recording
    (folder / "listed.txt").write_bytes(listed)
    result = report(folder, "listed.txt", "--codec", "kraken", "--lambda", "noop")
    assert result["checksums"]["verified"] > 200
    assert (result["checksums"]["failed"], result["checksums"]["unverified"]) == (0, 0)
    assert result["exit_code"] == 0
    assert set(result["checksum_faults"].values()) == {"decimals"}
    done = replay(folder, "listed.txt", "--codec", "kraken", "--lambda", "noop")
    assert "faults of checksums" in done.stdout


def test_a_book_that_is_stale_at_the_end_is_not_ok(folder: Path) -> None:
    """Unless its connection was lost, which is why it is stale."""
    ns = 1_735_689_600_000_000_000
    diff = '{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[["1","%d"]],"a":[]}'
    snapshot = 'BTC-USDT {"lastUpdateId":1,"bids":[["1","1"]],"asks":[["9","1"]]}'
    good = [snapshot, *(diff % (n, n, n, n) for n in range(2, 6))]
    gap = [*good, *(diff % (n, n, n, n) for n in range(7, 50))]
    cases = {
        "good": (good, 0),
        "gap": (gap, 5),
        "lost": ([*good, "lost"], 0),
        "gap_and_lost": ([*gap, "lost"], 0),
        "lost_and_back": ([*good, "lost", "open", *gap[5:]], 5),
        "synced_again": ([*gap, snapshot.replace(":1,", ":49,")], 0),
    }
    for name, (lines, code) in cases.items():
        text = "".join(f"{ns + i} @1 {line}\n" for i, line in enumerate(lines))
        (folder / f"{name}.txt").write_text(text)
        result = report(folder, f"{name}.txt", "--codec", "binance", "--lambda", "books")
        assert result["exit_code"] == code, name
        if code:
            assert result["stale_at_end"] == ["BTC-USDT"]
            assert (
                "binance: books stale at the end, without a valid snapshot since: BTC-USDT" in result["error"]
            )
    assert "stale at the end" in replay(folder, "gap.txt", "--codec", "binance", "--lambda", "books").stdout


BOOK = (
    "from meltica.adapters import Chain, Codec, Levels, Message, SymbolRule, equals\n"
    "BOOK = Message(name='book', role='BookSnapshot', matches=(equals('ch', 'book'),), symbol='s',\n"
    "    snapshot='replaces', levels=Levels(bids='b', asks='a', sequence=Chain(last='n')))\n"
    "MINE = Codec(name='mine', symbols=SymbolRule(separator='-'), messages=(BOOK,))\n"
)


def test_a_book_that_was_never_valid_never_synced(folder: Path) -> None:
    (folder / "venue.py").write_text(BOOK)
    frame = '{"ch":"book","s":"A-B","n":%d,"b":[["3","1"]],"a":[["2","1"]]}'
    (folder / "crossed.txt").write_text("".join(f"{i} {frame % i}\n" for i in range(1, 4)))
    result = report(folder, "crossed.txt", "--codec", "venue.py:MINE", "--lambda", "books")
    assert (result["exit_code"], result["never_synced"], result["stale_at_end"]) == (5, ["A-B"], [])


@pytest.mark.parametrize(("good", "code"), [(3, 5), (98, 5), (99, 0)])
def test_a_replay_of_which_more_than_one_checksum_in_100_failed_is_not_ok(
    folder: Path, good: int, code: int
) -> None:
    frame = (
        '{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":100.0,"qty":1.0}],'
        '"asks":[{"price":101.0,"qty":1.0}],"checksum":%d,"timestamp":"2026-01-01T12:00:00.0Z"}]}'
    )
    right = zlib.crc32(b"101010100010")
    frames = [*[frame % right] * (good - 1), frame % 7, frame % right]
    ns = 1_735_689_600_000_000_000
    (folder / "kraken.txt").write_text("".join(f"{ns + i} {line}\n" for i, line in enumerate(frames)))
    result = report(folder, "kraken.txt", "--codec", "kraken", "--lambda", "books")
    assert result["checksums"] == {"verified": good, "failed": 1, "unverified": 0}
    assert result["exit_code"] == code
    if code:
        assert result["error"] == f"kraken: 1 of {good + 1} checksums failed"


def test_recordings_have_times_in_seconds_or_none_and_marks(folder: Path) -> None:
    seconds = 1_735_689_600
    diff = '{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[["%d","1"]],"a":[["9","1"]]}'
    snapshot = '{"lastUpdateId":2,"bids":[["1","1"]],"asks":[["9","1"]]}'
    lines = [
        f"{seconds}.25: @1 BTCUSDT {snapshot}",
        f"{seconds}.5: @1 {diff % (seconds * 1000, 3, 3, 2)}",
        f"{seconds}.6: @1 lost ping timed out",
        f"{seconds}.7: @1 open",
    ]
    (folder / "seconds.txt").write_text("\n".join(lines))
    done = replay(folder, "seconds.txt", "--codec", "binance", "--lambda", "books")
    ns = seconds * 1_000_000_000
    assert done.stdout.splitlines()[:3] == [
        f"{ns + 250_000_000} BTC-USDT 1 1 | 9 1",
        f"{ns + 500_000_000} BTC-USDT 2 1 | 9 1",
        f"{ns + 600_000_000} BTC-USDT stale: disconnected",
    ]
    # Without receive times, those of the events are the clock, in the order of the lines.
    frames = [trade(0, 1, seconds * 1000), trade(0, 2, seconds * 1000 + 5), trade(0, 3, seconds * 1000 + 3)]
    (folder / "frames.jsonl").write_text("".join(frame.partition(" ")[2] for frame in frames))
    (folder / "prints.py").write_text(
        "import meltica\n"
        "class Prints(meltica.Lambda):\n"
        "    def on_trade(self, trade): print(trade.received_time - trade.venue_time, self.now())\n"
    )
    done = replay(folder, "frames.jsonl", "--codec", "binance", "--lambda", "prints.py")
    assert done.stdout.splitlines()[:2] == [f"0 {ns}", f"0 {ns + 5_000_000}"]
    assert done.stdout.splitlines()[2].startswith("0 ")
    assert done.returncode == 0
    # Among files with receive times, it is the first.
    (folder / "timed.txt").write_text(trade(ns - 1, 4, seconds * 1000 - 1))
    done = replay(folder, "timed.txt", "frames.jsonl", "--codec", "binance", "--lambda", "prints.py")
    assert done.stdout.splitlines()[0] == f"0 {ns}"
    assert done.stdout.splitlines()[3].startswith("999999 ")


def test_more_than_one_bad_frame_in_a_hundred_is_not_ok(folder: Path) -> None:
    ns = 1_735_689_600_000_000_000
    good = [trade(ns + i, i + 1, ns // 1_000_000) for i in range(198)]
    for bad, status in ((1, "ok"), (2, "ok"), (3, "unreliable")):
        (folder / "bad.txt").write_text("".join([*good[: 200 - bad], *[f"{ns} {{broken\n"] * bad]))
        result = report(folder, "bad.txt", "--codec", "binance")
        assert result["status"] == status, bad
    assert "binance: 3 messages of 200 frames are bad, such as: " in result["error"]


def test_one_text_is_two_instruments_on_connections_of_two_categories(folder: Path) -> None:
    (folder / "venue.py").write_text(
        "from meltica.adapters import Codec, Field, Message, SymbolRule, decimal, equals, ident\n"
        "TRADE = Message(name='trade', role='Trade', matches=(equals('e', 'trade'),), symbol='s',\n"
        "    fields=(Field('id', 't', ident()), Field('price', 'p', decimal()),\n"
        "    Field('quantity', 'q', decimal())))\n"
        "SPOT = SymbolRule(quotes=('USDT',))\n"
        "LINEAR = SymbolRule(quotes=('USDT',), contract='PERP', suffixes={'PERP': 'USDC-PERP'})\n"
        "VENUE = Codec(name='venue', symbols={'spot': SPOT, 'linear': LINEAR}, messages=(TRADE,))\n"
    )
    (folder / "prints.py").write_text(
        "import meltica\n"
        "class Prints(meltica.Lambda):\n"
        "    def on_trade(self, trade): print(trade.trade_id, trade.symbol)\n"
    )
    names = ["", "@1 ", "@spot ", "@linear ", "@linear-2 ", "@linear.x ", "@linearity ", "@1 "]
    frame = '{"e":"trade","s":"%s","t":%d,"p":"1","q":"1"}'
    lines = [
        f"{1_735_689_600_000_000_000 + i} {name}{frame % ('BTCUSDT', i)}" for i, name in enumerate(names)
    ]
    lines.append(f"1735689600000000100 @linear {frame % ('BTCPERP', 8)}")
    (folder / "two.txt").write_text("\n".join(lines))
    done = replay(folder, "two.txt", "--codec", "venue.py:VENUE", "--lambda", "prints.py")
    found = [line.split()[1] for line in done.stdout.splitlines()[:9]]
    spot, linear = "BTC-USDT", "BTC-USDT-PERP"
    assert found == [spot, spot, spot, linear, linear, linear, spot, spot, "BTC-USDC-PERP"], done.stderr


def test_lines_without_a_frame_are_bad_frames(folder: Path) -> None:
    ns = 1_735_689_600_000_000_000
    (folder / "mixed.txt").write_text(trade(ns, 1) + trade(0, 2).partition(" ")[2] + "FOO\n")
    result = report(folder, "mixed.txt", "--codec", "binance")
    assert (result["frames"], result["frame_errors"]) == (3, {"bad_line": 2})
    assert "2 messages of 3 frames are bad, such as: expected `<receive ns>" in result["error"]


def test_a_recording_without_frames_is_not_ok(folder: Path) -> None:
    (folder / "marks.txt").write_text("1735689600000000000 @1 open\n1735689600000000001 @1 lost\n")
    result = report(folder, "marks.txt", "--codec", "binance")
    assert (result["status"], result["error"]) == ("unreliable", "binance: the recording holds no frames")


def test_times_in_seconds_are_named(folder: Path) -> None:
    (folder / "seconds.txt").write_text(trade(1_735_689_600, 1))
    result = report(folder, "seconds.txt", "--codec", "binance")
    assert result["exit_code"] == 4
    assert (
        "line 1: expected a receive time in nanoseconds, saw 1735689600, which looks like seconds"
        in (result["error"])
    )


def test_recorded_events_are_replayed_up_to_their_damage(folder: Path) -> None:
    """A damaged line, and a truncated file: what comes before is delivered, and the damage is named."""
    (folder / "writes.py").write_text(
        "import orjson, meltica\n"
        "class Writes(meltica.Lambda):\n"
        "    def on_trade(self, trade): print(orjson.dumps(trade.to_dict()).decode())\n"
    )
    ns = 1_735_689_600_000_000_000
    (folder / "frames.txt").write_text("".join(trade(ns + i, i + 1) for i in range(50)))
    printed = replay(folder, "frames.txt", "--codec", "binance", "--lambda", "writes.py").stdout
    events = [line + "\n" for line in printed.splitlines() if line.startswith("{")]
    assert len(events) == 50
    whole = "".join(events).encode()
    for name, content, fault in (
        ("line.jsonl", "".join([*events[:3], "{broken\n", *events[3:]]).encode(), "line 4: not a recorded"),
        ("cut.jsonl", whole[:-20], "line 50: not a recorded event"),
        ("cut.gz", gzip.compress(whole)[:-30], "the compressed file is truncated"),
    ):
        (folder / name).write_bytes(content)
        result = report(folder, name, "--lambda", "noop")
        assert (result["status"], result["exit_code"]) == ("input_damaged", 4), name
        assert fault in result["error"]
        assert result["events"]["Trade"] >= 3
    faults = {
        '"ingestTs":': ('"x":', 'expected the key "ingestTs"'),
        '"2025-01-01T00:00:00.000000000Z"': ("5", 'expected "ingestTs" to be text'),
    }
    for part, (other, fault) in faults.items():
        (folder / "time.jsonl").write_text(events[0] + events[0].replace(part, other, 1))
        assert fault in report(folder, "time.jsonl", "--lambda", "noop")["error"]
