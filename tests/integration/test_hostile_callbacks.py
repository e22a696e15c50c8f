"""What a callback cannot do to the process and to other lambdas: recursion, changed classes, late calls."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest

import meltica
from meltica import _core

PATIENCE = 60.0
TRADE = {"tradeId": "1", "price": "100", "quantity": "1"}
Mode = Literal["thread", "shared"]

RECURSION = {
    "plain": "def f(*_): return f() + 1",
    "sorted": "def f(*_): return sorted([2, 1], key=f)",
    "max": "def f(*_): return max([1], key=f)",
    "re.sub": "import re\ndef f(*_): return re.sub('a', f, 'aaa')",
    "repr": "class R:\n    def __repr__(self): return '%r' % ([R()],)\ndef f(*_): return repr(R())",
    "exec": "def f(*_): exec('f()', {'f': f})",
    "pickle": (
        "import pickle\nclass P:\n    def __reduce__(self): return P, (P(),)\ndef f(*_): pickle.dumps(P())"
    ),
}
"""Functions that recurse without end, most of them through C code."""

DEEP = """
import threading
from meltica import _core
{body}
def g(*_):
    try:
        f()
    except RecursionError:
        done.set()
done = threading.Event()
core = _core.Core()
host = core.host({mode!r})
options = {{"on_start": g}} if {entry!r} == "on_start" else {{}}
callback = g if {entry!r} == "callback" else print
instance = host.add("a", callbacks={{"Trade": callback}}, routes=[("v", "Trade", "A-B")], **options)
instance.start()
if {entry!r} == "callback":
    core.producer("v").publish("Trade", "A-B", {{"tradeId": "1", "price": "1", "quantity": "1"}})
elif {entry!r} == "post":
    instance.post(g)
elif {entry!r} == "every":
    instance.every(1e-3, g)
print(done.wait({patience}), host.stop())
"""


def deep(body: str, mode: str = "thread", entry: str = "callback") -> subprocess.CompletedProcess[str]:
    script = DEEP.format(body=body, mode=mode, entry=entry, patience=PATIENCE)
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE, check=False)


@pytest.mark.parametrize("kind", RECURSION)
def test_endless_recursion_raises_an_error_in_its_callback(kind: str) -> None:
    result = deep(RECURSION[kind])
    assert (result.returncode, result.stdout) == (0, "True True\n"), result.stderr


@pytest.mark.parametrize("mode", ["thread", "shared"])
@pytest.mark.parametrize("entry", ["on_start", "post", "every"])
def test_every_call_of_a_host_has_the_room_for_recursion(entry: str, mode: str) -> None:
    result = deep(RECURSION["sorted"], mode, entry)
    assert (result.returncode, result.stdout) == (0, "True True\n"), result.stderr


def trade(producer: _core.Producer) -> None:
    """Publishes a trade and waits until the hosts have handled it."""
    producer.publish("Trade", "A-B", TRADE)
    assert producer.drain(PATIENCE)


CLASSES = [value for value in vars(_core).values() if isinstance(value, type)]
NATIVE: list[type[Any]] = [cls for cls in CLASSES if not issubclass(cls, BaseException)]


@pytest.mark.parametrize("cls", NATIVE, ids=lambda cls: cls.__name__)
def test_a_class_of_the_core_cannot_be_changed(cls: type[Any]) -> None:
    name = max(vars(cls), key=lambda name: not name.startswith("__"))
    own = vars(cls)[name]
    with pytest.raises(TypeError, match="immutable"):
        setattr(cls, name, 0.01)
    with pytest.raises(TypeError, match="immutable"):
        setattr(cls, f"{name}_added", 0)
    with pytest.raises(TypeError, match="immutable"):
        delattr(cls, name)
    assert vars(cls)[name] is own


EVENTS = [cls for cls in NATIVE if issubclass(cls, meltica.Event)]


def test_the_class_of_an_event_cannot_be_changed() -> None:
    class Own(meltica.Event):
        pass

    core = _core.Core()
    producer, host = core.producer("v"), core.host("shared")
    outcomes: list[str] = []
    seen: list[tuple[Any, float]] = []

    def change(event: Any) -> None:
        for to in (*EVENTS, Own):
            try:
                event.__class__ = to
                outcomes.append(to.__name__)
            except TypeError:
                pass

    routes = [("v", "Trade", "A-B")]
    host.add("hostile", callbacks={"Trade": change}, routes=routes, capacity=64).start()
    innocent = host.add(
        "innocent",
        callbacks={"Trade": lambda e: seen.append((e.__class__, e.price))},
        routes=routes,
        capacity=128,
    )
    innocent.start()
    trade(producer)
    trade(producer)
    assert host.stop(PATIENCE)
    assert (outcomes, seen) == ([], 2 * [(meltica.Trade, 100.0)])


@pytest.mark.parametrize("mode", ["thread", "shared"])
@pytest.mark.parametrize("end", ["stop", "failure"])
def test_a_thread_that_outlives_its_instance_publishes_nothing(mode: Mode, end: str) -> None:
    core = _core.Core()
    producer, host, other = core.producer("v"), core.host(mode), core.host("thread")
    received: list[str] = []
    listener = other.add(
        "listener",
        callbacks={"Extension": lambda e: received.append(e.name)},
        routes=[("meltica", "Extension", None)],
    )
    listener.start()

    def fail(_: object) -> None:
        instance.emit("callback", "1")
        raise ValueError("on purpose")

    instance = host.add(
        "a",
        callbacks={"Trade": fail},
        routes=[("v", "Trade", "A-B")],
        max_errors=1,
        on_stop=lambda: instance.emit("on_stop", "1"),
    )
    instance.start()
    if end == "failure":
        trade(producer)
    else:
        assert instance.stop(PATIENCE)

    def go_on() -> None:
        for call in (lambda: instance.emit("late", "1"), lambda: instance.every(1, print)):
            with pytest.raises(_core.LambdaError, match="the instance a has ended"):
                call()
        assert not instance.post(print)

    run(go_on)
    assert producer.drain(PATIENCE)
    assert other.stop(PATIENCE)
    assert host.stop(PATIENCE)
    assert received == (["callback", "on_stop"] if end == "failure" else ["on_stop"])


def run(work: Callable[[], None]) -> None:
    """Runs `work` on a thread of its own and raises what it raised."""
    errors: list[BaseException] = []

    def body() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    if errors:
        raise errors[0]
