"""The process of a venue: its commands, its start, its end and its terminal."""

import contextlib
import json
import signal
import subprocess
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.integration.test_venue_orders import account
from tests.support.serving import PATIENCE, PROGRAM, environment
from tests.support.terminal import Terminal
from tests.support.venues import Frame, Stream, Venue, serving


@pytest.fixture(name="venue")
def _venue(tmp_path: Path) -> Generator[Venue]:
    with serving(tmp_path) as venue:
        yield venue


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of `meltica venue` to its end."""
    return subprocess.run(
        [*PROGRAM, "venue", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=PATIENCE,
    )


def test_the_ledger_is_kept_without_clients_and_can_be_printed(venue: Venue) -> None:
    with venue.stream() as stream:
        account(stream)
        venue.order("left")
        venue.order("sold", orderType="market", side="sell", quantity="1")
    venue.client.close()
    shown = [ran("ledger", "--endpoint", venue.address, *flags).stdout for flags in (["--json"], [])]
    ledger = json.loads(shown[0])
    [main] = ledger["accounts"]
    owned = {each["currency"]: Decimal(each["total"]) for each in main["balances"]}
    assert owned["BTC"] == 999
    assert [order["clientOrderId"] for order in main["openOrders"]] == ["left"]
    assert set(ledger["sums"].values()) == {"0"}
    for word in ("currency", "main", "outside", "fees", "BTC", "999", "open orders: main 1; fills: "):
        assert word in shown[1]


@pytest.mark.parametrize(
    ("endpoint", "code", "words"),
    [
        ("http://127.0.0.1:1", 1, "does not respond as a venue"),
        ("nowhere", 2, "expected an address such as http://127.0.0.1:8890, saw 'nowhere'"),
    ],
)
def test_an_unavailable_ledger_is_an_error(endpoint: str, code: int, words: str) -> None:
    command = [*PROGRAM, "venue", "ledger", "--endpoint", endpoint]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment(), timeout=PATIENCE
    )
    assert ended.returncode == code
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(("command", "codes"), [("serve", "0 1 2 8 130"), ("ledger", "0 1 2 130")])
def test_help_lists_the_exit_codes(command: str, codes: str) -> None:
    table = ran(command, "--help").stdout.partition("Exit codes:\n")[2]
    assert [line.split()[0] for line in table.splitlines()] == codes.split()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(venue: Venue, number: signal.Signals) -> None:
    with venue.stream() as stream:
        stream.subscribe("depth:BTC-USDT")
        venue.process.send_signal(number)
        assert stream.closed() == 1001
    assert venue.read_line() == {"event": "stopped", "exit_code": 0}
    assert venue.ended() == 0
    log = venue.log.read_text()
    assert '"stopped"' in log
    assert "Traceback" not in log
    assert '"error"' not in log


def test_a_venue_on_a_terminal() -> None:
    terminal = Terminal([*PROGRAM, "venue", "serve", "--port", "0", "--speed", "100"])
    banner = terminal.read_until(r"Meltica venue \S+\r\n(  .*\r\n){5}")
    rows = dict(line.split(maxsplit=1) for line in banner.splitlines()[1:])
    assert list(rows) == ["address", "stream", "keys", "seed", "stop"]
    assert rows["keys"] == "main, secret main-secret"
    terminal.read_until(f"ready at {rows['address']}\r\n")
    terminal.read_until(
        r"market \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| connected \| streams 0 \| [\d,]+ frames/s \| "
        r"open orders 0 \| cut 0 \| up 0:00:\d\d"
    )
    assert terminal.end(signal.SIGINT) == 0
    assert '{"' not in terminal.raw, "no JSON for people"
    terminal.close()


def test_a_venue_stops_orderly_as_soon_as_its_banner_says_how() -> None:
    terminal = Terminal([*PROGRAM, "venue", "serve", "--port", "0"])
    terminal.read_until("stop     Ctrl-C")
    assert terminal.end(signal.SIGINT) == 0
    assert "Traceback" not in terminal.raw
    terminal.close()


def test_an_address_in_use_is_refused(venue: Venue) -> None:
    port = venue.address.rpartition(":")[2]
    command = [*PROGRAM, "venue", "serve", "--port", port]
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment(), timeout=PATIENCE
    )
    assert ended.returncode == 8
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "choose another with --port" in ended.stderr


def test_one_error_lists_all_faults_of_a_config(tmp_path: Path) -> None:
    venue = Venue(tmp_path, config="market: {seed: -1, spede: 2}\nrate_limit: x\n")
    failed = venue.read_line()
    assert (failed["event"], failed["exit_code"]) == ("failed", 2)
    assert len(failed["faults"]) == 3
    assert venue.ended() == 2
    for word in ("3 faults", "`market.seed` (line 1)", "did you mean `speed`?", "`rate_limit` (line 2)"):
        assert word in venue.log.read_text()
    venue.close()


def test_a_balance_that_does_not_fit_is_refused_at_the_start(tmp_path: Path) -> None:
    accounts = "accounts: {main: {key: k, secret: 0123456789abcdef, balances: {USDT: '1e25'}}}"
    with contextlib.closing(Venue(tmp_path, config=accounts)) as venue:
        failed = venue.read_line()
        assert (failed["event"], failed["exit_code"]) == ("failed", 2)
        expected = "`accounts.main.balances.USDT` (line 1): input should be less than or equal to 1E+18"
        assert expected in failed["error"]
        assert venue.ended() == 2


def test_the_same_seed_gives_the_same_market(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        streams: list[Stream] = []
        for name, seed in (("one", "3"), ("same", "3"), ("other", "4")):
            (tmp_path / name).mkdir()
            venue = stack.enter_context(serving(tmp_path / name, "--seed", seed, "--speed", "10"))
            streams.append(stack.enter_context(venue.stream()))
        seen: list[dict[int, Frame]] = [{}, {}, {}]
        for stream in streams:
            stream.subscribe("trade:BTC-USDT")
        # Each begins to see its market at another moment of it.
        while len(common := seen[0].keys() & seen[1].keys() & seen[2].keys()) < 50:
            for stream, trades in zip(streams, seen, strict=True):
                trade = stream.next(lambda frame: frame["type"] == "trade")
                trades[trade["id"]] = trade
        one, same, other = ([trades[id] for id in sorted(common)] for trades in seen)
        assert one == same
        assert one != other
