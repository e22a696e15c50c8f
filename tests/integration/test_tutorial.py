"""The market maker of the tutorial, on an exchange in another process: its books are exact after a kill."""

import signal
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support import pages
from tests.support.paths import ROOT
from tests.support.serving import PATIENCE, Project, project
from tests.support.venues import KEY, SECRET, Venue, serving

SETTINGS = """
apiServer: {addr: "127.0.0.1:0"}
"""


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project(copied=False) as created:
        reader = pages.Reader(created.folder)
        for block in pages.blocks(ROOT / "docs/tutorial.md"):
            if block.language in ("python", "yaml") and "test_maker" not in block.before:
                reader.follow(block)
        yield created


def _trade_at(project: Project, venue: Venue) -> None:
    """Points the config of the page to an exchange of another process."""
    text = (project.folder / "maker.yaml").read_text()
    wire = f'settings: {{endpoint: "{venue.address}", key: {KEY}, secret: {SECRET}}}'
    assert "{adapter: fake}" in text
    project.config.write_text(SETTINGS + text.replace("{adapter: fake}", f"{{adapter: fake, {wire}}}"))


def _rows(project: Project, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(EmbeddedPostgres(project.home).dsn, options="-c search_path=meltica") as connection:
        return connection.execute(query.encode()).fetchall()


def _fills(project: Project) -> int:
    return _rows(project, "select count(*) from fills")[0][0]


def test_its_count_of_fills_is_exact_after_a_kill(project: Project) -> None:
    with serving(project.folder) as venue:
        _trade_at(project, venue)
        with project.serving() as gateway:
            assert wait_until(lambda: _fills(project) > 0, PATIENCE), gateway.tail()
            gateway.kill()
        with project.serving() as gateway:
            before = _fills(project)
            assert wait_until(lambda: _fills(project) > before, PATIENCE), gateway.tail()
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
            assert gateway.errors() == []
        with project.database():
            # A fill that crosses the cancel at the stop is delivered by the next start.
            [(state, count)] = _rows(
                project,
                "select state, (select count(*) from fills where report <= last_report) from checkpoints",
            )
            assert int(state) == count > before
            [(position,)] = _rows(project, "select sum(quantity) from positions")
            [(traded,)] = _rows(
                project,
                "select sum(case when o.side = 'Buy' then f.quantity else -f.quantity end)"
                " from fills f join orders o on o.id = f.order_id",
            )
            assert position == traded
            still_open = "select count(*) from orders where state in ('PENDING', 'ACK', 'PARTIAL', 'UNKNOWN')"
            assert _rows(project, still_open) == [(0,)]
        assert Decimal(venue.amounts()["BTC"][0]) == 1000 + position
