"""The exit of the interpreter while hosts run, in processes of their own: they neither abort nor hang."""

import subprocess
import sys

import pytest

BOUND = 60.0
"""A process that hangs is found after as many seconds; an exit waits 2 s for callbacks."""

SCRIPT = """
import atexit, os, sys, threading, time
from meltica import _core

core = _core.Core()
producer = core.producer("v")
host = core.host({mode!r})
entered = threading.Event()

def trade(count=1):
    for _ in range(count):
        producer.publish("Trade", "A-B", {{"tradeId": "1", "price": "1", "quantity": "1"}})

def stopped():
    print("stopped", flush=True)

def start(on_trade, on_stop=stopped, **options):
    routes = [("v", "Trade", "A-B")]
    instance = host.add("a", callbacks={{"Trade": on_trade}}, routes=routes, on_stop=on_stop, **options)
    instance.start()
    return instance

{body}
"""

STUBBORN = """
def stubborn(_trade=None, _error=None):
    entered.set()
    while True:
        try:
            while True:
                {act}
        except BaseException:
            pass
{start}
entered.wait()
"""

IN_CALLBACK = "instances = [start(stubborn)]; trade(10)"
ENTRIES = {
    "callback": IN_CALLBACK,
    "post": "start(lambda trade: 0).post(stubborn)",
    "every": "start(lambda trade: 0).every(1e-3, stubborn)",
    "on_error": "start(lambda trade: 1 / 0, on_error=stubborn); trade()",
    "on_start": "threading.Thread(target=lambda: start(print, on_start=stubborn), daemon=True).start()",
    "on_stop": "threading.Thread(target=start(print, on_stop=stubborn).stop, daemon=True).start()",
}

ENDS = {
    "idle": "start(lambda trade: 0)",
    "never started": 'host.add("a", callbacks={}, routes=[("v", "Trade", None)])',
    "backlog": "start(lambda trade: time.sleep(0.0005), capacity=65536); trade(5000)",
    "slow": "start(lambda trade: (entered.set(), time.sleep(0.3))); trade(); entered.wait()",
    "timers": "start(lambda trade: 0).every(1e-6, lambda: 0); time.sleep(0.1)",
    "posts": """
instance = start(lambda trade: 0)
def again():
    entered.set()
    instance.post(again)
instance.post(again)
entered.wait()
""",
    "daemon publisher": """
start(lambda trade: entered.set())
def load():
    while True:
        trade()
threading.Thread(target=load, daemon=True).start()
entered.wait()
""",
    "publisher that is joined": """
start(lambda trade: 0)
threading.Thread(target=trade, args=(20_000,)).start()
""",
    "publisher that waits": """
start(lambda trade: (entered.set(), time.sleep(0.01)), policies={"Trade": "block"}, capacity=1)
threading.Thread(target=trade, args=(10_000,), daemon=True).start()
entered.wait()
""",
    "loop that can be interrupted": """
def on_trade(_trade):
    entered.set()
    while True:
        pass
start(on_trade)
trade()
entered.wait()
""",
    "sys.exit in a callback": """
start(lambda trade: (entered.set(), sys.exit(5)))
trade()
entered.wait()
""",
    "stopped before": "start(lambda trade: 0); host.stop()",
}
NEVER_RETURNS = {
    "loop": "pass",
    "sleeps": "time.sleep(0.0001)",
    "a long sleep": "time.sleep(3600)",
    "reads events": "_trade.to_dict(), _trade.price_decimal",
    "publishes": "trade()",
    "emits": 'instances[0].emit("x", "[1]")',
}


def run(body: str, mode: str = "thread") -> subprocess.CompletedProcess[str]:
    """Runs a script until the process ends."""
    script = SCRIPT.format(mode=mode, body=body)
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=False)


@pytest.mark.parametrize("mode", ["thread", "shared"])
@pytest.mark.parametrize("name", ENDS)
def test_an_exit_stops_the_hosts(name: str, mode: str) -> None:
    """The exit code is that of the script, and `on_stop` has run."""
    done = run(f"{ENDS[name]}\nraise SystemExit(3)", mode)
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout == ("" if name == "never started" else "stopped\n")


@pytest.mark.parametrize(("line", "code"), [("", 0), ("raise ValueError", 1)])
def test_an_exit_keeps_what_the_script_reports(line: str, code: int) -> None:
    """The exit code and the traceback are those of the script."""
    done = run(f"{ENDS['daemon publisher']}\n{line}")
    assert (done.returncode, done.stdout) == (code, "stopped\n")
    assert done.stderr.count("ValueError") == code


STUCK = {
    **{name: (act, IN_CALLBACK) for name, act in NEVER_RETURNS.items()},
    **{name: ("pass", start) for name, start in ENTRIES.items()},
}


@pytest.mark.parametrize("name", STUCK)
def test_an_exit_does_not_wait_for_a_callback_that_never_returns(name: str) -> None:
    """The exit code is that of the script, and the lambda is named."""
    act, start = STUCK[name]
    body = STUBBORN.format(act=act, start=start)
    done = run(f"{body}\nprint('end', flush=True)\nraise SystemExit(3)")
    assert (done.returncode, done.stdout) == (3, "end\n"), done.stderr
    assert done.stderr == (
        "meltica: a host did not stop before the interpreter ended, its thread ends with the process; "
        "lambda in a callback: a\n"
    )


def test_os_exit_waits_for_nothing() -> None:
    """`os._exit` ends the process at once."""
    body = STUBBORN.format(act="pass", start=IN_CALLBACK)
    done = run(f"{body}\nos._exit(7)")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_a_forked_child_has_no_hosts_to_wait_for() -> None:
    """The child of the main thread exits on its own, before and after it has made a host."""
    body = """
def on_stop():
    print("stopped", os.getpid() == parent, flush=True)
start(lambda trade: entered.set(), on_stop=on_stop)
parent = os.getpid()
trade()
entered.wait()
if (child := os.fork()) == 0:
    sys.exit(4)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
if (child := os.fork()) == 0:
    core = _core.Core()
    producer = core.producer("v")
    host = core.host("thread")
    seen = threading.Event()
    host.add("b", callbacks={"Trade": lambda trade: seen.set()}, routes=[("v", "Trade", "A-B")]).start()
    trade()
    assert seen.wait(20)
    sys.exit(5)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    done = run(body)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "child 4\nchild 5\nstopped True\n"


@pytest.mark.parametrize("end", ["return", "raise SystemExit(5)", "os._exit(6)"])
def test_a_process_that_a_callback_forks_ends_with_the_callback(end: str) -> None:
    """The child runs no other callback; the parent goes on."""
    body = f"""
calls = []
def on_trade(_trade):
    if (child := os.fork()) == 0:
        {end}
    calls.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
start(on_trade)
trade(3)
producer.drain(30)
print(calls)
"""
    done = run(body)
    code = 6 if end == "os._exit(6)" else 0
    assert (done.returncode, done.stdout, done.stderr) == (0, f"[{code}, {code}, {code}]\nstopped\n", "")
