"""Wake-ups of a sleeping host, also while its process is stopped and continued."""

import os
import signal
import subprocess
import sys

POSTS = """
import sys, threading
from meltica import _core

core = _core.Core()
host = core.host("thread")
instance = host.add("posted", callbacks={"Trade": lambda _: None}, routes=[("demo", "Trade", None)])
instance.start()
producer = core.producer("demo")
trade = {"tradeId": "1", "price": "1", "quantity": "1"}
print("ready", flush=True)
for number in range(3000):
    called = threading.Event()
    if number % 2:
        producer.publish("Trade", "BTC-USDT", trade)
    assert instance.post(called.set)
    if not called.wait(60):
        sys.exit(f"post {number} was not called")
assert host.stop()
"""

STOPS = 300


def test_each_post_wakes_a_host_whose_process_is_stopped_and_continued() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", POSTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for _ in range(STOPS):
            os.kill(child.pid, signal.SIGSTOP)
            # The child stays waitable, so its signals cannot reach another process.
            changed = os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert changed is not None
            if changed.si_code != os.CLD_STOPPED:
                break
            os.kill(child.pid, signal.SIGCONT)
        _, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
