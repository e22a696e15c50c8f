"""A database that somebody changes below a running gateway: it says so, and never disagrees for long."""

from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from meltica.persistence import backup
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.server import wait_until
from tests.integration.test_state_recovery import RUNS, agree, post
from tests.support.serving import PATIENCE, Project, project


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project() as created:
        yield created


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_a_restored_database_is_read_again(project: Project, empty_database_url: str, tmp_path: Path) -> None:
    url, file = empty_database_url, tmp_path / "before.sql.gz"
    with project.serving(database=url) as gateway:
        gateway.wait_ready()
        backup.dump(url, file, binaries.find())
        assert post(gateway, "/strategy/instances/watch/stop")[0] == 200
        # Without `meltica db restore`, which refuses while a gateway holds the lock.
        backup.restore(url, file, binaries.find(), force=True)
        assert not gateway.ready()
        assert wait_until(lambda: agree(project, gateway, url), PATIENCE), gateway.tail()
        gateway.wait_ready()
        assert project.states(url)["watch"] == RUNS
        assert post(gateway, "/strategy/instances/watch/stop")[0] == 200


def test_a_database_without_a_table_is_reported(project: Project, empty_database_url: str) -> None:
    url = empty_database_url
    with project.serving(database=url) as gateway:
        gateway.wait_ready()
        execute(url, "alter table meltica.instances rename to hidden")
        status, body = post(gateway, "/strategy/instances/idle/start")
        assert (status, body["code"]) == (503, "database_refused")
        assert "nothing changed" in body["error"]
        assert post(gateway, "/strategy/instances/watch/stop")[0] == 202
        status, body = gateway.get("/health/ready")
        assert 'relation "instances" does not exist' in body["faults"]["states"]
        execute(url, "alter table meltica.hidden rename to instances")
        gateway.wait_ready()
        assert wait_until(lambda: agree(project, gateway, url), PATIENCE), gateway.tail()


def test_a_gateway_without_its_epoch_is_not_ready(project: Project, empty_database_url: str) -> None:
    url = empty_database_url
    with project.serving(database=url) as gateway:
        gateway.wait_ready()
        execute(url, "create table public.kept as table meltica.gateway; delete from meltica.gateway")
        assert "lock" in gateway.get("/health/ready")[1]["faults"]
        assert wait_until(lambda: "has no row" in gateway.log.read_text(), PATIENCE), gateway.tail()
        assert post(gateway, "/strategy/instances/idle/start")[1]["code"] == "lock_not_held"
        execute(url, "insert into meltica.gateway select * from public.kept")
        gateway.wait_ready()
        assert post(gateway, "/strategy/instances/idle/start")[0] == 200
