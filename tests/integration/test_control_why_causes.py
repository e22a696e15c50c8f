"""Causes of `why` that are provoked at a gateway, and their remedies, which run as they are pasted."""

import re
import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from meltica.cli import cli
from meltica.control.remedies import REMEDIES, remedy
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.integration.test_control_resources import ok
from tests.integration.test_left_out import CONFIG as SMALL
from tests.integration.test_left_out import STRATEGIES as GREEDY
from tests.integration.test_left_out import publish
from tests.support import gateway, venue, venues
from tests.support.gateway import Running, running
from tests.support.serving import PATIENCE

PATH = "/strategy/instances"
OPEN = {"auth": "none"}
SOURCE = """
import meltica

class Watcher(meltica.Lambda):
    version = "1"

    def on_trade(self, trade): pass
"""
STUCK = """
import meltica
from tests.support import venue

class Stuck(meltica.Lambda):
    def on_trade(self, trade):
        venue.GATE.wait(60)
"""
PROVIDERS = """
providers:
  main: {adapter: test-venue}
  gone: {adapter: test-venue}
"""
CONFIG = f"{PROVIDERS}lambdas: []\n"
BODY = {"id": "watcher", "strategy": {"identifier": "watcher"}, "scope": {"main": {"symbols": ["BTC-USDT"]}}}


def causes(control: Running, id: str = "watcher") -> dict[str, dict[str, Any]]:
    """Returns the causes by their kind."""
    return {each["kind"]: each for each in ok(control.client.get(f"{PATH}/{id}/why"))["causes"]}


def wait_for(control: Running, kind: str, id: str = "watcher") -> dict[str, Any]:
    """Waits for a cause."""
    assert wait_until(lambda: kind in causes(control, id), PATIENCE), causes(control, id)
    return causes(control, id)[kind]


def commands(text: str) -> list[str]:
    """Returns the commands in the text of a remedy."""
    return [each for each in re.findall("`([^`]+)`", text) if each.startswith("meltica ")]


def follow(control: Running, cause: dict[str, Any]) -> str:
    """Runs the commands of a remedy as they are; returns what they print."""
    printed = ""
    assert commands(cause["remedy"]), cause
    for command in commands(cause["remedy"]):
        arguments = [*shlex.split(command)[1:], "--url", control.url]
        done = CliRunner().invoke(cli, arguments, standalone_mode=False)
        assert (done.exception, done.return_value) == (None, None), (command, done.output)
        printed += done.output
    return printed


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Generator[Path]:
    (tmp_path / "stuck.py").write_text(STUCK)
    with venue.installed(tmp_path):
        yield tmp_path


@pytest.fixture(name="start")
def _start(folder: Path, cluster: EmbeddedPostgres) -> Generator[Callable[[str], Any]]:
    with gateway.database(cluster) as dsn:

        def start(config: str) -> Any:
            (folder / "meltica.yaml").write_text(config)
            return running(folder / "meltica.yaml", dsn, apiServer=OPEN)

        yield start


def create(control: Running, **changes: Any) -> None:
    ok(control.client.post("/strategies/modules", json={"source": SOURCE}), 201)
    ok(control.client.post(PATH, json={**BODY, **changes}), 201)
    ok(control.client.post(f"{PATH}/watcher/start"))


def test_a_provider_that_left_the_config_file(start: Callable[[str], Any]) -> None:
    with start(CONFIG) as first:
        create(first, scope={"main": {"symbols": ["BTC-USDT"]}, "gone": {"symbols": ["BTC-USDT"]}})
        assert "provider_absent" not in causes(first)
    with start(CONFIG.replace("  gone: {adapter: test-venue}\n", "")) as second:
        cause = wait_for(second, "provider_absent")
        text = "provider `gone` does not exist; expected one of main"
        assert (cause["subject"], cause["detail"]) == ("gone", text)
        text = "provider `gone` unavailable: it does not exist"
        assert ok(second.client.get(f"{PATH}/watcher"))["scopeFaults"] == {"gone BTC-USDT": text}
        second.until(lambda: second.gateway.instances.get("watcher").running)
        faults = second.client.get("/health/ready").json()["faults"]
        assert faults["scope of lambda watcher"] == f"BTC-USDT: {text}"
        printed = follow(second, cause)
        assert "watcher is deleted" in printed
        assert "main" in printed
        assert "watcher" not in second.gateway.instances


def test_a_venue_that_is_disconnected(start: Callable[[str], Any], folder: Path) -> None:
    with venues.serving(folder) as server:
        key = f"endpoint: '{server.address}', key: {venues.KEY}, secret: {venues.SECRET}"
        config = CONFIG.replace(
            "main: {adapter: test-venue}", f"main: {{adapter: fake, settings: {{{key}}}}}"
        )
        with start(config) as control:
            create(control)
            assert wait_until(lambda: "provider_down" not in causes(control), PATIENCE)
            assert "provider_disconnected" not in causes(control)
            server.fault(disconnect="1h")
            cause = wait_for(control, "provider_disconnected")
            assert cause["subject"] == "main"
            assert "connectionError" in follow(control, cause)
            server.fault(disconnect="1ms")
            assert wait_until(lambda: "provider_disconnected" not in causes(control), PATIENCE)


def test_a_subscription_that_the_venue_refuses(start: Callable[[str], Any]) -> None:
    with start(CONFIG) as control:
        venue.Venue.unroutable.add("main")
        try:
            create(control)
            cause = wait_for(control, "routes_failed")
            assert cause["subject"] == "main"
            assert "the venue refuses the subscription" in cause["detail"]
            assert "the venue refuses the subscription" in follow(control, cause)
        finally:
            venue.Venue.unroutable.discard("main")
        assert wait_until(lambda: "routes_failed" not in causes(control), PATIENCE)


def test_symbols_without_room(start: Callable[[str], Any], folder: Path) -> None:
    (folder / "strategies.py").write_text(GREEDY)
    with start(SMALL) as control:
        control.until(lambda: all(each.actual == "running" for each in control.gateway.instances.all()))
        publish(control)
        cause = wait_for(control, "left_out", "greedy")
        assert cause["subject"] == "greedy"
        assert re.match(
            r"its queue has no room for Ticker of \d+ symbols, such as main S\d+", cause["detail"]
        )
        assert "leftOut" in follow(control, cause)
        for keeper in ("keeper1", "keeper2"):
            ok(control.client.post(f"{PATH}/{keeper}/stop"))
        assert wait_until(lambda: "left_out" not in causes(control, "greedy"), PATIENCE)


def test_a_callback_that_does_not_return(start: Callable[[str], Any]) -> None:
    lambdas = "lambdas: [{id: watcher, strategy: 'stuck.py:Stuck', scope: {main: [BTC-USDT]}}]\n"
    with start(PROVIDERS + lambdas) as control:
        assert wait_until(lambda: set(causes(control)) == {"no_event"}, PATIENCE), causes(control)
        venue.GATE.clear()
        try:
            trade = {"tradeId": "1", "side": "Buy", "price": "100", "quantity": "1"}
            venue.Venue.producers["main"].publish("Trade", "BTC-USDT", trade)
            cause = wait_for(control, "stuck")
            assert cause["subject"] == "watcher"
            follow(control, cause)
            assert wait_until(lambda: set(causes(control)) == {"no_event"}, PATIENCE), causes(control)
        finally:
            venue.GATE.set()


@pytest.mark.parametrize("kind", REMEDIES)
def test_every_command_of_a_remedy_is_one(kind: str) -> None:
    """Its arguments and options are those that the command takes."""
    subject = "main live BTC" if "{provider}" in REMEDIES[kind] else "main"
    text = remedy(kind, id="btc", subject=subject, order="7")
    assert not re.search(r"\b(GET|POST|PUT|DELETE) /(?!adapters)", text)
    for command in commands(text):
        context, words = click.Context(cli), shlex.split(command)[1:]
        found: click.Command = cli
        if words[-1] == "--help":
            words[-1:] = []
        while isinstance(found, click.Group) and words:
            _, inner, words = found.resolve_command(context, words)
            assert inner is not None
            found = inner
        assert not isinstance(found, click.Group), command
        if not command.endswith("--help"):
            found.make_context(command, words)
