"""Changes whose commit fails or is not confirmed, and whose answer is lost: each kind of route once.

A proxy in front of PostgreSQL stops the transaction of the change. Afterwards REST, database and audit agree,
nothing is half done, and repeating the request ends in the same state.
"""

from collections.abc import Generator
from pathlib import Path

import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.soak import control
from tests.support import gateway
from tests.support.control_steps import steps
from tests.support.database_proxy import database_proxy
from tests.support.failpoints import Failpoints


@pytest.fixture(name="failpoints")
def _failpoints(config: Path, cluster: EmbeddedPostgres) -> Generator[Failpoints]:
    with (
        gateway.database(cluster) as direct,
        database_proxy(direct) as (dsn, proxy),
        gateway.running(config, dsn) as running,
    ):
        yield Failpoints(running.client, running.actor, direct, proxy)


def test_a_change_whose_commit_fails_did_not_happen(failpoints: Failpoints) -> None:
    for step in steps(failpoints.client):
        failpoints.fail(step)
    failpoints.verify()


def test_a_change_whose_commit_is_not_confirmed_is_adopted(failpoints: Failpoints) -> None:
    for step in steps(failpoints.client):
        failpoints.leave_unconfirmed(step)
    failpoints.verify()


def test_a_change_whose_answer_is_lost_happened(failpoints: Failpoints) -> None:
    for step in steps(failpoints.client):
        failpoints.lose_answer(step)
    failpoints.verify()


@pytest.mark.untraced
def test_killed_gateways_adopt_what_was_committed() -> None:
    """The soak test at a length that suits a test run: a fifth of the changes ends with `kill -9`."""
    soaked = control.soak(1, seed=1, kinds=("leave_unconfirmed",), kills=0.2)
    assert not soaked.faults
    assert soaked.kills
