"""Finalizers of strategies: they never run on the gateway's loop, however an instance ends."""

import threading
from collections.abc import Generator

import pytest

from tests.integration.test_control_resources import ok
from tests.integration.test_hostile_strategies import INSTANCES, MODULES, create, loop_thread
from tests.support.gateway import Running

SOURCE = """
import threading
import meltica

class Noted:
    def __init__(self, place, *, cycle=False):
        self.place = place
        if cycle:
            self.other = [self]
    def __del__(self):
        # The upload check has no such attribute.
        getattr(meltica, "released", dict()).setdefault(self.place, threading.get_ident())

class Failure(Exception):
    pass

class Owns(meltica.Lambda):
    version = "{version}"
    {body}
    def __init__(self):
        self.noted = Noted("attribute")
        self.cyclic = Noted("cycle", cycle=True)
        self.own = Noted("owner")
        self.own.strategy = self
    def on_start(self):
        local = Noted("local")
        {start}
    def on_trade(self, trade): pass
"""
ENDS = {"stop", "restart", "delete", "refresh", "replace"}
KEPT = {"attribute", "cycle", "owner"}
FAILURES = {
    "error": "raise Failure(Noted('value'))",
    "cause": """
        try: 1 / 0
        except ZeroDivisionError as error: raise Failure(Noted('value')) from error
""",
    "own error": "raise meltica.LambdaError(Noted('value'))",
    "swallowed": """
        try: raise Failure(Noted('value'))
        except Failure: raise meltica.LambdaError('no')
""",
    "exit": "raise SystemExit(Noted('value'))",
}


@pytest.fixture(name="released")
def _released(control: Running, monkeypatch: pytest.MonkeyPatch) -> Generator[dict[str, int]]:
    """Yields the threads on which the finalizers ran, by the place of their objects."""
    import meltica

    found = dict[str, int]()
    monkeypatch.setattr(meltica, "released", found, raising=False)
    yield found
    if "h" in control.gateway.instances:
        control.client.post(f"{INSTANCES}/h/stop")
        ok(control.client.delete(f"{INSTANCES}/h"))
    for module in control.client.get(MODULES).json()["modules"]:
        assert control.client.delete(f"{MODULES}/{module['name']}").status_code == 204


def source(start: str = "pass", *, version: str = "1", trades: bool = False) -> str:
    body = "places_orders = True" if trades else ""
    return SOURCE.format(start=start, version=version, body=body)


def check(control: Running, released: dict[str, int], places: set[str]) -> None:
    """Waits until the objects of all places were released; asserts that none was on the loop."""
    control.until(lambda: places <= released.keys())
    forbidden = {loop_thread(control), threading.get_ident()}
    assert {place: ident for place, ident in released.items() if ident in forbidden} == {}


@pytest.mark.parametrize("trades", [False, True])
@pytest.mark.parametrize("end", sorted(ENDS))
def test_objects_of_an_ended_run_are_released_off_the_loop(
    control: Running, released: dict[str, int], end: str, trades: bool
) -> None:
    create(control, source(trades=trades))
    ok(control.client.post(f"{INSTANCES}/h/start"))
    if end == "restart":
        ok(control.client.post(f"{INSTANCES}/h/restart"))
    elif end == "delete":
        ok(control.client.delete(f"{INSTANCES}/h"))
    elif end == "stop":
        ok(control.client.post(f"{INSTANCES}/h/stop"))
    else:
        start = "pass" if end == "refresh" else "raise Failure(Noted('value'))"
        ok(control.client.post(MODULES, json={"source": source(start, version="2", trades=trades)}), 201)
        ok(control.client.post("/strategies/refresh"))
    check(control, released, KEPT)


@pytest.mark.parametrize("trades", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
def test_objects_of_a_failed_start_are_released_off_the_loop(
    control: Running, released: dict[str, int], failure: str, trades: bool
) -> None:
    create(control, source(FAILURES[failure], trades=trades))
    assert control.client.post(f"{INSTANCES}/h/start").status_code == 400
    check(control, released, {*KEPT, "local", "value"})
