"""A synthetic market that cannot keep its pace: REST and the stop of the gateway do not wait for it."""

import json
import signal
from collections.abc import Generator

import pytest

from tests.support.serving import Project, project

SYMBOLS, LAMBDAS, REQUESTS = 500, 32, 10
STRATEGY = """
import pathlib, meltica

class Books(meltica.Lambda):
    def on_book_snapshot(self, book):
        if not hasattr(self, "seen"):
            self.seen = True
            pathlib.Path(__file__).with_name(f"{self.id}.seen").touch()
"""


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project() as created:
        yield created


def test_rest_and_stop_beside_a_saturated_market(project: Project, database_url: str) -> None:
    symbols = [f"A{number:04}-USDT" for number in range(SYMBOLS)]
    market = {"adapter": "fake", "settings": {"symbols": symbols, "rate": 1e9, "book_snapshot_interval": 0}}
    each = {"strategy": "watch.py:Books", "scope": {"busy": ["*"]}, "host": "shared"}
    config = {
        "log": {"level": "info"},
        "apiServer": {"addr": "127.0.0.1:0"},
        "providers": {"busy": market},
        "lambdas": [{"id": f"books{number}", **each} for number in range(LAMBDAS)],
    }
    project.config.write_text(json.dumps(config))
    (project.folder / "watch.py").write_text(STRATEGY)
    with project.serving(database=database_url) as gateway:
        gateway.wait_flowing("books0")
        for _ in range(REQUESTS):
            # `get` gives up after 10 s.
            status, answer = gateway.get("/providers")
            assert status == 200, answer
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0, gateway.tail()
