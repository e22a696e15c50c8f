"""Strategies whose errors, classes and texts run code, or are not valid Unicode: no client notices."""

import threading
from collections.abc import Generator
from typing import Any

import pytest

from tests.integration.test_control_resources import ok
from tests.support.event_stream import stream
from tests.support.gateway import Running

MODULES = "/strategies/modules"
INSTANCES = "/strategy/instances"
HEAD = """
import threading
import meltica

def thread():
    # The upload check has no such attribute.
    getattr(meltica, "noted", set()).add(threading.get_ident())

class Text(str):
    def lower(self):
        thread()
        return str.lower(self)
    __str__ = __repr__ = lambda self: (thread(), str.__str__(self))[1]
    def __eq__(self, other):
        thread()
        return str.__eq__(self, other)
    __hash__ = str.__hash__
"""
RAISES = """
class Failure({base}):
    def __str__(self):
        thread()
        return "on purpose"
    __repr__ = __str__
    def __del__(self):
        thread()

class Raises(meltica.Lambda):
    version = "1"
    def on_start(self):
        raise Failure()
    def on_trade(self, trade): pass
"""
CLASSES = {
    "metaclass": """
class Meta(type(meltica.Lambda)):
    def __getattribute__(cls, name):
        thread()
        return super().__getattribute__(name)
    def __hash__(cls):
        thread()
        return 1
    def __eq__(cls, other):
        thread()
        return cls is other

class Shown(meltica.Lambda, metaclass=Meta):
    version = "1"
    def on_trade(self, trade): pass
""",
    "texts": """
class Shown(meltica.Lambda):
    name, version, description, display_name = Text("Shown"), Text("1"), Text("d"), Text("s")
    def on_trade(self, trade): pass
""",
    "validator": """
import pydantic
class Shown(meltica.Lambda):
    version = "1"
    class Config(meltica.LambdaConfig):
        size: int = 1
        @pydantic.field_validator("size")
        @classmethod
        def _check(cls, value):
            thread()
            return value
    def on_trade(self, trade): pass
""",
}


@pytest.fixture(name="noted")
def _noted(control: Running, monkeypatch: pytest.MonkeyPatch) -> Generator[set[int]]:
    """Yields the threads on which strategy code ran; removes what a test made."""
    import meltica

    found = set[int]()
    monkeypatch.setattr(meltica, "noted", found, raising=False)
    yield found
    for id in ("h",):
        if id in control.gateway.instances:
            control.client.post(f"{INSTANCES}/{id}/stop")
            ok(control.client.delete(f"{INSTANCES}/{id}"))
    for module in control.client.get(MODULES).json()["modules"]:
        assert control.client.delete(f"{MODULES}/{module['name']}").status_code == 204


def create(control: Running, source: str, **config: Any) -> None:
    name = ok(control.client.post(MODULES, json={"source": source}), 201)["module"]["name"]
    body = {
        "id": "h",
        "strategy": {"selector": name, "config": config},
        "scope": {"main": {"symbols": ["BTC-USDT"]}},
    }
    ok(control.client.post(INSTANCES, json=body), 201)


def reads(control: Running) -> None:
    """Asserts that everything that shows an instance or a strategy can be read."""
    for path in (INSTANCES, f"{INSTANCES}/h", f"{INSTANCES}/h/logs", f"{INSTANCES}/h/why"):
        ok(control.client.get(path))
    for path in ("/strategies", MODULES, "/strategies/registry"):
        ok(control.client.get(path))
    assert control.client.get("/metrics").status_code == 200
    assert control.client.get("/health/ready").status_code in (200, 503)


def loop_thread(control: Running) -> int:
    async def own() -> int:
        return threading.get_ident()

    return control.submit(own()).result()


@pytest.mark.parametrize("place", ["__init__", "on_start", "on_trade"])
def test_an_error_that_is_not_valid_unicode_hides_no_instance(
    control: Running, noted: set[int], place: str
) -> None:
    source = f"""
class Broken(meltica.Lambda):
    version = "1"
    def {place}(self, *_):
        self.log.info("a line \\ud800\\0")
        raise ValueError("half \\ud800 of a pair, and \\0")
    {"" if place == "on_trade" else "def on_trade(self, trade): pass"}
"""
    create(control, HEAD + source)
    with stream(control, "?kind=instance&instance=h") as events:
        answer = control.client.post(f"{INSTANCES}/h/start")
        if place == "on_trade":
            ok(answer)
        else:
            assert answer.status_code == 400, answer.text
            assert "half ? of a pair, and \N{REPLACEMENT CHARACTER}" in answer.json()["error"]
            while (event := events.next("instance")).data["status"] != "failed":
                pass
            assert "half ? of a pair" in event.data["error"]
        reads(control)
    control.until(lambda: not control.gateway.instances.get("h").lock.locked())


@pytest.mark.parametrize("base", ["Exception", "OSError", "meltica.LambdaError", "TimeoutError"])
def test_an_error_is_described_and_released_on_the_thread_of_its_strategy(
    control: Running, noted: set[int], base: str
) -> None:
    create(control, HEAD + RAISES.format(base=base))
    answer = control.client.post(f"{INSTANCES}/h/start")
    assert answer.status_code == 400
    assert "on purpose" in answer.json()["error"]
    reads(control)
    assert noted
    assert loop_thread(control) not in noted


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_runs_no_code_on_the_loop(control: Running, noted: set[int], kind: str) -> None:
    create(control, HEAD + CLASSES[kind], **({"size": 2} if kind == "validator" else {}))
    ok(control.client.post(f"{INSTANCES}/h/start"))
    reads(control)
    if kind == "validator":
        ok(control.client.put(f"{INSTANCES}/h", json={"strategy": {"config": {"size": 3}}}))
    ok(control.client.post("/strategies/refresh"))
    ok(control.client.post(f"{INSTANCES}/h/stop"))
    assert loop_thread(control) not in noted
