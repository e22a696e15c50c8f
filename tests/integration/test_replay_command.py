"""The output and the exit codes of `meltica replay`, and that two replays are identical."""

import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from meltica.adapters.replay import sample
from tests.support.replays import command, replay, report, trade

LAMBDAS = """
    import json, re, time
    import meltica

    class Record(meltica.Lambda):
        class Config(meltica.LambdaConfig):
            out: str

        def on_start(self):
            self.file = open(self.config.out, "w")
        def write(self, event):
            data = event.to_dict()
            del data["emitTs"]
            print(json.dumps(data), file=self.file)
        def on_trade(self, event): self.write(event)
        def on_ticker(self, event): self.write(event)
        def on_book_snapshot(self, event): self.write(event)
        def on_stop(self): self.file.close()

    class Raises(meltica.Lambda):
        def on_trade(self, trade):
            raise ValueError("not today")

    class NoStart(meltica.Lambda):
        def on_start(self):
            raise RuntimeError("no key")
        def on_trade(self, trade): ...

    class NoInit(meltica.Lambda):
        def __init__(self):
            raise RuntimeError("no room")
        def on_trade(self, trade): ...

    class Holds(meltica.Lambda):
        def on_trade(self, trade):
            re.match("(a+)+$", "a" * 60 + "b")

    class Loops(meltica.Lambda):
        def on_trade(self, trade):
            print("looping", flush=True)
            while True:
                pass

    class Swallows(meltica.Lambda):
        def on_trade(self, trade):
            print("looping", flush=True)
            while True:
                try:
                    time.sleep(0.01)
                except BaseException:
                    pass

    class Hangs(meltica.Lambda):
        def on_start(self):
            print("starting", flush=True)
            time.sleep(3600)
        def on_trade(self, trade): ...

    class Spins(Hangs):
        def on_start(self):
            print("starting", flush=True)
            while True:
                pass

    class Ping(meltica.Lambda):
        def on_trade(self, trade):
            self.emit("ball", {})
        def on_extension(self, extension):
            self.emit("ball", {})

    class Pong(Ping): ...

    class Doubles(Ping):
        def on_extension(self, extension):
            self.emit("ball", {})
            self.emit("ball", {})

    class Quiet(meltica.Lambda):
        def on_trade(self, trade): ...

    class Sends(meltica.Lambda):
        def on_trade(self, trade):
            self.emit("echo", {"of": trade, "price": trade.price_decimal})

    class Hears(meltica.Lambda):
        def on_start(self):
            self.received = []
        def on_extension(self, extension):
            self.received.append(extension.payload["price"])
        def on_stop(self):
            self.log.info("received %d, first %s", len(self.received), self.received[0])
"""
BINANCE = ("s.gz", "--codec", "binance")


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    (folder / "mine.py").write_text(dedent(LAMBDAS))
    sample.write(folder / "s.gz", steps=200)
    return folder


def test_the_summary(folder: Path) -> None:
    done = replay(folder, *BINANCE, "--lambda", "mine.py:Raises")
    assert done.returncode == 0
    for text in ("Replay: ok", "events", "Trade", "Raises", "dispatched -> delivered", "p99"):
        assert text in done.stdout
    assert "Traceback" in done.stderr
    assert "mine.py" in done.stderr
    assert done.stderr.count("not today") < 20


def test_the_report_has_stable_keys(folder: Path) -> None:
    result = report(folder, *BINANCE)
    keys = "status exit_code error seconds frames bytes events gaps stale_books unsynced_books frame_errors"
    more = (
        "unknown_enums drops callback_errors providers lambdas bad_frames core never_synced stale_at_end "
        "unused checksums checksum_faults unverified restarts late_trades crossed_tickers"
    )
    assert set(result) == {*keys.split(), *more.split()}
    assert (result["status"], result["error"], result["frame_errors"]) == ("ok", None, {})
    assert result["unknown_enums"] == 0


def test_the_sample_needs_no_files(folder: Path) -> None:
    result = report(folder, "--sample")
    assert result["lambdas"][0]["class"] == "LargeTrades"
    assert result["gaps"] == result["unsynced_books"] == result["callback_errors"] == 0


@pytest.mark.parametrize("host", ["shared", "thread"])
def test_two_replays_are_identical(folder: Path, host: str) -> None:
    outputs: list[bytes] = []
    for name in ("a", "b"):
        out = folder / f"{host}-{name}.jsonl"
        arguments = ("--lambda", "mine.py:Record", "--config", f"out={out}", "--host", host)
        assert report(folder, *BINANCE, *arguments)["drops"] == {}
        outputs.append(out.read_bytes())
    assert outputs[0] == outputs[1]
    assert outputs[0].count(b"\n") > 1000


def test_recorded_events_keep_their_providers(folder: Path) -> None:
    first, second = folder / "first.jsonl", folder / "second.jsonl"
    report(folder, *BINANCE, "--lambda", "mine.py:Record", "--config", f"out={first}")
    result = report(folder, str(first), "--lambda", "mine.py:Record", "--config", f"out={second}")
    assert list(result["providers"]) == ["binance"]

    def facts(path: Path) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [{k: v for k, v in row.items() if k != "routingVersion"} for row in rows]

    assert facts(first) == facts(second)


def test_symbols_restrict_the_scope(folder: Path) -> None:
    out = folder / "btc.jsonl"
    arguments = ("--lambda", "mine.py:Record", "--config", f"Record.out={out}", "--symbol", "BTC/USDT")
    report(folder, *BINANCE, *arguments)
    assert {json.loads(line)["symbol"] for line in out.read_text().splitlines()} == {"BTC-USDT"}


def test_lambdas_receive_events_of_each_other(folder: Path) -> None:
    done = replay(folder, *BINANCE, "--lambda", "mine.py:Sends", "--lambda", "mine.py:Hears", "--json")
    result = json.loads(done.stdout)
    sender, receiver = result["lambdas"]
    assert result["status"] == "ok"
    assert sender["emitted"] == receiver["delivered"]["Extension"] > 0
    assert f"received {sender['emitted']}" in done.stderr


@pytest.mark.parametrize("host", ["shared", "thread"])
@pytest.mark.parametrize("second", ["Pong", "Doubles"])
def test_lambdas_that_emit_to_each_other_without_end_are_named(folder: Path, host: str, second: str) -> None:
    names = ["Quiet", "Ping", second]
    lambdas = [argument for name in names for argument in ("--lambda", f"mine.py:{name}")]
    result = report(folder, *BINANCE, *lambdas, "--host", host)
    assert (result["status"], result["exit_code"]) == ("lambda_failed", 3)
    both = ", ".join(sorted(["Ping", second]))
    assert result["error"].startswith(
        f"replay stopped: the lambdas {both} keep responding to each other, with "
    )
    assert "; end the exchange in `on_extension`" in result["error"]


@pytest.mark.parametrize(("divisor", "unit"), [(1_000, "microseconds"), (1_000_000, "milliseconds")])
def test_receive_times_of_another_unit_end_the_replay(folder: Path, divisor: int, unit: str) -> None:
    ns = 1_700_000_000_000_000_000
    file = folder / f"{unit}.txt"
    file.write_text(trade(ns // divisor, 1) + trade(ns // divisor + 1, 2))
    result = report(folder, file.name, "--codec", "binance")
    assert (result["status"], result["exit_code"], result["events"]) == ("input_damaged", 4, {})
    assert f"{file.name}, line 1: expected a receive time in nanoseconds" in result["error"]
    assert f"which looks like {unit}" in result["error"]


def test_jumps_of_the_receive_time_are_logged_with_file_and_line(folder: Path) -> None:
    day = 86_400_000_000_000
    ns = 1_700_000_000_000_000_000
    file = folder / "jumps.txt"
    file.write_text(trade(ns, 1) + "\n" + trade(ns + 3 * day, 2) + trade(ns, 3) + trade(ns + 1, 4))
    done = replay(folder, file.name, "--codec", "binance")
    assert done.returncode == 0
    assert f"{file.name}, line 3: the receive time jumps forward by 72.0 hours" in done.stderr
    assert f"{file.name}, line 4: the receive time jumps back by 72.0 hours" in done.stderr
    assert done.stderr.count("the receive time jumps") == 2


def test_jumps_in_recorded_events_are_logged_too(folder: Path) -> None:
    out = folder / "jumping.jsonl"
    report(folder, *BINANCE, "--lambda", "mine.py:Record", "--config", f"out={out}")
    first = json.loads(out.read_text().splitlines()[0])

    def shifted(name: str, time: str) -> str:
        (folder / name).write_text("\n" + json.dumps({**first, "ingestTs": time}) + "\n")
        return name

    done = replay(folder, out.name, shifted("later.jsonl", "2199-01-01T00:00:00Z"))
    assert done.returncode == 0
    assert "later.jsonl, line 2: the receive time jumps forward by" in done.stderr
    # As one reads it in microseconds where nanoseconds are expected.
    done = replay(folder, out.name, shifted("micro.jsonl", "1970-01-20T16:13:20Z"))
    assert done.returncode == 4
    assert "micro.jsonl, line 2: expected a receive time in nanoseconds, saw 1700000000000000" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "give PATH..., or --sample"),
        (("--sample", "s.gz"), "give PATH..., or --sample"),
        (("none.gz", "--codec", "binance"), "none.gz: expected a file, a directory or a glob"),
        (("s.gz",), "holds frames, which need a codec; expected one of binance"),
        (("s.gz", "--codec", "binanse"), "did you mean `binance`?"),
        (("s.gz", "--codec", "events"), "saw frames"),
        (("mine.py", "--codec", "binance"), "mine.py: expected lines of `<receive ns> <frame>`"),
        ((*BINANCE, "--speed", "fast"), "expected max or a number above 0, saw 'fast'"),
        ((*BINANCE, "--speed", "0"), "expected max or a number above 0"),
        ((*BINANCE, "--symbol", "BTC_USDT"), "did you mean `BTC-USDT`?"),
        ((*BINANCE, "--lambda", "mine.py:Recod"), "did you mean `Record`?"),
        ((*BINANCE, "--lambda", "nope.py"), "nope.py: expected a Python file, but it does not exist"),
        ((*BINANCE, "--lambda", "mine.py:Record"), "`out` is required"),
        ((*BINANCE, "--config", "notionl=1"), "did you mean `notional`?"),
        ((*BINANCE, "--config", "notional"), "expected KEY=VALUE, saw 'notional'"),
    ],
)
def test_bad_input_is_one_clear_line(folder: Path, arguments: tuple[str, ...], text: str) -> None:
    done = replay(folder, *arguments)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert last.startswith("Error: ")
    assert text in last
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NoStart", "NoStart: on_start raised RuntimeError: no key"),
        ("NoInit", "NoInit: __init__ raised RuntimeError: no room"),
    ],
)
def test_a_lambda_that_cannot_start(folder: Path, name: str, text: str) -> None:
    done = replay(folder, *BINANCE, "--lambda", f"mine.py:{name}")
    assert done.returncode == 3
    assert text in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OnStart", "Error: OnStart: on_start raised SystemExit: 7"),
        ("InConfig", "Error: InConfig: its Config or __init__ raised SystemExit: bye"),
        ("InInit", "Error: InInit: its Config or __init__ raised SystemExit: 0"),
    ],
)
def test_a_lambda_that_exits_before_it_starts(folder: Path, name: str, text: str) -> None:
    (folder / "exits.py").write_text(
        "import sys, meltica\n"
        "class OnStart(meltica.Lambda):\n"
        "    def on_trade(self, trade): ...\n"
        "    def on_start(self): sys.exit(7)\n"
        "class InConfig(meltica.Lambda):\n"
        "    class Config(meltica.LambdaConfig):\n"
        "        def model_post_init(self, _): sys.exit('bye')\n"
        "    def on_trade(self, trade): ...\n"
        "class InInit(meltica.Lambda):\n"
        "    def __init__(self): sys.exit(0)\n"
        "    def on_trade(self, trade): ...\n"
    )
    done = replay(folder, *BINANCE, "--lambda", f"exits.py:{name}")
    assert (done.returncode, done.stderr.splitlines()) == (3, [text])


def test_errors_are_counted_or_stop_the_lambda(folder: Path) -> None:
    counted = report(folder, *BINANCE, "--lambda", "mine.py:Raises")
    assert counted["callback_errors"] == counted["lambdas"][0]["delivered"]["Trade"] > 100
    stopped = report(folder, *BINANCE, "--lambda", "mine.py:Raises", "--max-errors", "3")
    assert (stopped["status"], stopped["exit_code"]) == ("lambda_failed", 3)
    assert stopped["callback_errors"] == 3
    assert "not today" in stopped["error"]


@pytest.mark.parametrize("part", [0.3, 0.5, 0.8])
def test_a_truncated_recording_is_replayed_up_to_its_end(folder: Path, part: float) -> None:
    packed = (folder / "s.gz").read_bytes()
    (folder / "cut.gz").write_bytes(packed[: int(len(packed) * part)])
    result = report(folder, "cut.gz", "--codec", "binance")
    assert (result["status"], result["exit_code"]) == ("input_damaged", 4)
    assert "cut.gz: the compressed file is truncated" in result["error"]
    assert result["frames"] > 100
    assert result["lambdas"][0]["delivered"]["Trade"] == result["events"]["Trade"]


def test_bad_frames_are_counted_and_shown(folder: Path) -> None:
    lines = gzip.decompress((folder / "s.gz").read_bytes()).splitlines()
    lines[50] = lines[50][:60]
    (folder / "bad.txt").write_bytes(b"\n".join(lines))
    result = report(folder, "bad.txt", "--codec", "binance")
    assert result["exit_code"] == 0
    assert sum(result["frame_errors"].values()) == 1
    assert result["bad_frames"][0]["frame"]


def test_enum_values_that_the_codec_does_not_know_are_shown(folder: Path) -> None:
    lines = gzip.decompress((folder / "s.gz").read_bytes()).splitlines()
    sides = [line.replace(b'"m":true', b'"m":"both"').replace(b'"m":false', b'"m":"none"') for line in lines]
    trades = sum(b'"e":"trade"' in line for line in lines)
    (folder / "sides.txt").write_bytes(b"\n".join(sides))
    result = report(folder, "sides.txt", "--codec", "binance")
    assert result["unknown_enums"] == result["providers"]["binance"]["unknown_enums"] == trades > 0
    assert (result["events"]["Trade"], result["frame_errors"]) == (trades, {})
    shown = replay(folder, "sides.txt", "--codec", "binance").stdout
    assert ["unknown", "enum", "values", f"{trades:,}"] in [line.split() for line in shown.splitlines()]
    assert "unknown enum" not in replay(folder, *BINANCE).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT, which Windows does not have")
@pytest.mark.parametrize("name", ["Loops", "Swallows"])
def test_an_interrupt_ends_a_replay_with_an_endless_callback(folder: Path, name: str) -> None:
    arguments = command(*BINANCE, "--lambda", f"mine.py:{name}", "--json")
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True, cwd=folder) as process:
        assert process.stderr is not None
        assert "looping\n" in iter(process.stderr.readline, "")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["status"] == "interrupted"


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT, which Windows does not have")
@pytest.mark.parametrize("host", ["shared", "thread"])
@pytest.mark.parametrize("name", ["Hangs", "Spins"])
def test_an_interrupt_ends_a_start_that_hangs_and_names_it(folder: Path, name: str, host: str) -> None:
    lambdas = ("--lambda", f"mine.py:{name}", "--lambda", "mine.py:Quiet")
    arguments = command(*BINANCE, *lambdas, "--host", host, "--json")
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True, cwd=folder) as process:
        assert process.stderr is not None
        try:
            assert "starting\n" in iter(process.stderr.readline, "")
            process.send_signal(signal.SIGINT)
            # The watch ends what cannot end by itself, but without a report.
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    result = json.loads(out)
    assert (result["status"], result["error"]) == ("interrupted", f"interrupted while on_start of {name} ran")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT, which Windows does not have")
def test_a_callback_that_holds_the_interpreter_is_named_and_an_interrupt_ends_the_replay(
    folder: Path,
) -> None:
    arguments = command(*BINANCE, "--lambda", "mine.py:Holds")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stderr is not None
        try:
            held = "lambda Holds holds the interpreter for 1 s"
            assert any(held in line for line in iter(process.stderr.readline, ""))
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 3
    assert "the interpreter is held, so the orderly stop cannot go on" in error
    assert error.rstrip().endswith("lambdas in a callback: Holds")
