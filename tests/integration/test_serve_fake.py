"""Two fake venues behind one gateway, with a test config and the default one; each has its own lambda."""

import signal
from collections.abc import Generator

import pytest

from meltica.persistence.postgres.server import wait_until
from meltica.settings import shipped
from tests.support.serving import CONFIG, PATIENCE, Project, project
from tests.support.venues import KEY, SECRET, serving

WATCH = """
import pathlib, meltica

class Watch(meltica.Lambda):
    names = frozenset()

    def on_trade(self, trade):
        if trade.provider not in self.names:
            self.names |= {trade.provider}
            text = " ".join(sorted(self.names))
            pathlib.Path(__file__).with_name(f"{self.id}.seen").write_text(text)
"""
PARTS = """providers:
  calm: {adapter: fake}
  wild: {adapter: fake, settings: {seed: 2, trade_interval: 50ms, book_snapshot_interval: 0}}
lambdas:
  - {id: watch, strategy: watch.py, scope: {calm: "*"}}
  - {id: mate, strategy: watch.py, scope: {wild: "*"}, host: shared}
"""
WIRE = """providers:
  there: {adapter: fake, settings: {WIRE, secret: SECRET}}
  stranger: {adapter: fake, settings: {WIRE, secret: another}}
lambdas:
  - {id: watch, strategy: watch.py, scope: {there: "*"}}
"""


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project(copied=False) as created:
        created.config.write_text(CONFIG[: CONFIG.index("providers:")] + PARTS)
        (created.folder / "watch.py").write_text(WATCH)
        yield created


def test_events_of_each_alias_reach_their_own_lambda(project: Project) -> None:
    with project.serving() as gateway:
        gateway.wait_ready()
        files = {name: project.folder / f"{name}.seen" for name in ("watch", "mate")}
        for path in files.values():
            assert wait_until(path.exists, PATIENCE), gateway.tail()
        assert gateway.ready()
        assert {name: path.read_text() for name, path in files.items()} == {"watch": "calm", "mate": "wild"}
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
    project.nothing_left()


def test_the_default_config(project: Project) -> None:
    text = shipped("default").read_text()
    project.config.write_text(f'apiServer: {{addr: "127.0.0.1:0"}}\n{text}')
    markets = {"large-trades": "fake", "wild-trades": "fake-wild"}
    with project.serving() as gateway:
        gateway.wait_ready()

        def logged(id: str) -> bool:
            return any(line.get("instance") == id for line in gateway.lines())

        for id, market in markets.items():
            assert gateway.get(f"/providers/{market}")[1]["instrumentCount"] == 10
            detail = gateway.get(f"/strategy/instances/{id}")[1]
            assert (detail["status"], detail["providers"]) == ("running", [market])
            assert wait_until(lambda id=id: logged(id), PATIENCE), gateway.tail()

        def fills(id: str) -> list[dict[str, object]]:
            return gateway.get(f"/strategy/instances/{id}/executions")[1]["executions"]

        for id in ("market-making", "momentum"):
            assert wait_until(lambda id=id: bool(fills(id)), PATIENCE), gateway.tail()
            assert {fill["mode"] for fill in fills(id)} == {"live"}
        assert gateway.errors() == []
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
    project.nothing_left()


def test_an_unavailable_venue_is_reported_and_a_rejected_key_spends_the_restart_budget(
    project: Project,
) -> None:
    with serving(project.folder) as venue:
        wire = f'endpoint: "{venue.address}", key: {KEY}'
        parts = WIRE.replace("WIRE", wire).replace("SECRET", SECRET)
        no_restarts = "supervision: {budget: {restarts: 0}}\n"
        project.config.write_text(CONFIG[: CONFIG.index("providers:")] + no_restarts + parts)
        with project.serving() as gateway:

            def stranger() -> bool:
                return gateway.get("/providers/stranger")[1]["status"] == "failed"

            def connected(name: str) -> bool:
                status, provider = gateway.get(f"/providers/{name}")
                return status == 200 and provider["running"] and "connectionError" not in provider

            assert wait_until(stranger, PATIENCE), gateway.tail()
            detail = gateway.get("/providers/stranger")[1]
            assert (detail["restarts"], detail["startupError"].partition(":")[0]) == (0, "bad_signature")
            assert wait_until(lambda: connected("there"), PATIENCE), gateway.tail()
            venue.fault(disconnect="60s")
            assert wait_until(lambda: not connected("there"), PATIENCE)
            status, ready = gateway.get("/health/ready")
            assert status == 503
            assert "the venue is disconnected" in ready["faults"]["provider there"]
            venue.fault(disconnect="10ms")
            assert wait_until(lambda: connected("there"), PATIENCE), gateway.tail()
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
    project.nothing_left()
