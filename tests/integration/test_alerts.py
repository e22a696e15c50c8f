"""A killed gateway is reported to a webhook by Prometheus and Alertmanager, and so is its next start."""

import contextlib
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import yaml

from meltica.persistence.postgres.server import wait_until
from tests.support.monitored import DEPLOYMENTS, configured, trading
from tests.support.prometheus import alertmanager, programs, prometheus
from tests.support.serving import PATIENCE

Alerts = list[tuple[str, str]]
DOWN = "MelticaGatewayDown"


@contextlib.contextmanager
def webhook() -> Generator[tuple[str, Alerts]]:
    """Yields the address of a receiver, and the names and states of the alerts that it has received."""
    received: Alerts = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            alerts: list[dict[str, Any]] = body["alerts"]
            received.extend((alert["labels"]["alertname"], alert["status"]) for alert in alerts)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/alerts", received
        server.shutdown()
        thread.join()


def quick(folder: Path, url: str) -> Path:
    """Writes the configuration of Alertmanager with short intervals and another receiver."""
    config = yaml.safe_load((DEPLOYMENTS / "alertmanager.yml").read_text())
    config["route"] |= {"group_wait": "100ms", "group_interval": "500ms"}
    config["receivers"][0]["webhook_configs"][0]["url"] = url
    path = folder / "alertmanager.yml"
    path.write_text(json.dumps(config))
    return path


def test_a_killed_gateway_is_reported_until_it_answers_again() -> None:
    programs()
    with (
        trading() as (project, _),
        webhook() as (url, received),
        alertmanager(quick(project.folder, url)) as manager,
    ):
        port = cast(int, manager.client.base_url.port)
        with project.serving() as gateway, prometheus(configured(gateway, port)) as server:
            assert wait_until(lambda: server.query("up") != [] and server.query("up == 0") == [], PATIENCE)
            gateway.kill()
            assert wait_until(lambda: (DOWN, "firing") in received, PATIENCE), received
            assert (DOWN, "resolved") not in received
            with project.serving():
                assert wait_until(lambda: (DOWN, "resolved") in received, PATIENCE), received
