"""Every command of every page runs, in order, and prints what the page shows; some set up a machine."""

import contextlib
import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meltica.client import Client
from meltica.persistence.access_folder import AccessFolder
from meltica.persistence.postgres.server import wait_until
from tests.support import pages
from tests.support.pages import Step
from tests.support.paths import ROOT
from tests.support.serving import PATIENCE, Gateway, Project, project
from tests.support.sessions import HOME, Session
from tests.unit.docs.test_examples import PAGES, name

NOT_RUN = {
    "python3 -m venv .venv": "the commands of the page use the environment of the tests",
    ". .venv/bin/activate": "the same",
    "pip install .": "installs what is tested",
    ".venv/bin/pip install nox maturin": "downloads packages",
    ".venv/bin/pip install nox": "downloads packages",
    "pip install --upgrade meltica": "downloads packages",
    "pip install -e .": "downloads what builds a package",
    "cargo install cargo-fuzz --locked": "downloads packages",
    ".venv/bin/maturin develop --release": "compiles what is tested",
    ".venv/bin/nox --list": "needs nox, with which the tests are run",
    ".venv/bin/nox -s tests": "runs this test",
    ".venv/bin/nox -s fuzz": "takes six minutes",
    ".venv/bin/nox -s fuzz -- 600 feed book": "takes 20 minutes",
    "meltica trace b54cb4a0-2a33-49ed-acd5-452f992cef7f": "needs the order whose trace the page shows",
    "meltica bench": "takes a minute",
    "meltica bench --json": "takes a minute",
    "cargo bench -p meltica-core --features workload": "takes minutes",
    "python docs/charts/market.py docs/charts/market.svg --symbol BTC-USDT --seed 1 --duration 1h --speed 100":  # noqa: E501
        "takes 36 seconds, and writes into the page",
}  # fmt: skip
"""Commands that are only checked, with the reason."""
BODIES = ["POST /providers", "POST /strategy/instances", "PUT /risk/limits", "PUT /config/runtime"]
"""The requests whose bodies the reference of the REST API shows."""
SHELLS = ("sh", "console")
BEFORE = {
    "docs/gateway.md": ["meltica init ."],
    "python/meltica/project/README.md": ["meltica init ."],
}
"""What the reader of a page has done before."""


def steps(page: Path) -> list[Step]:
    return [step for block in pages.blocks(page) for step in pages.steps(block)]


WITH_COMMANDS = [page for page in PAGES if any(each.language in SHELLS for each in pages.blocks(page))]


@contextlib.contextmanager
def machine() -> Generator[tuple[Project, dict[Path, Gateway]]]:
    """Yields a home, and the gateways that a session starts; kills them at the end."""
    gateways = dict[Path, Gateway]()
    with project() as created:
        created.prepare()
        try:
            yield created, gateways
        finally:
            for gateway in gateways.values():
                gateway.kill()


@pytest.fixture(name="shared", scope="module")
def _shared() -> Generator[tuple[Project, dict[Path, Gateway]]]:
    """A gateway with the shipped config, for pages that start none."""
    with machine() as (created, gateways), Session(created.folder / "work", created, gateways) as session:
        session.follow(Step("meltica serve"))
        yield created, gateways
        session.stop(created.home)


@contextlib.contextmanager
def opened(page: Path, request: pytest.FixtureRequest) -> Generator[Session]:
    """Yields the session of a page."""
    if any(step.command.startswith("meltica serve") for step in steps(page)):
        with machine() as (created, gateways), Session(created.folder / "work", created, gateways) as session:
            yield session
    else:
        with Session(request.getfixturevalue("tmp_path"), *request.getfixturevalue("shared")) as session:
            yield session


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_the_commands_of_a_page_print_what_it_shows(page: Path, request: pytest.FixtureRequest) -> None:
    with opened(page, request) as session:
        for command in BEFORE.get(name(page), ()):
            session.follow(Step(command, code=0))
        for block in pages.blocks(page):
            session.save(block)
            for step in pages.steps(block):
                if step.command in NOT_RUN:
                    pages.check(step)
                else:
                    session.follow(step)


def test_the_bodies_of_the_reference_are_accepted(
    tmp_path: Path, shared: tuple[Project, dict[Path, Gateway]]
) -> None:
    bodies = [block for block in pages.blocks(ROOT / "docs/rest.md") if block.language == "json"]
    with Session(tmp_path, *shared) as session:
        for block, request in zip(bodies, BODIES, strict=True):
            block.save(tmp_path, "body.json")
            session.follow(Step(f"meltica api {request}?plan=1 --data @body.json", code=0))


def test_the_function_that_reads_all_pages_does(shared: tuple[Project, dict[Path, Gateway]]) -> None:
    names = dict[str, Any]()
    [code] = [block.code for block in pages.blocks(ROOT / "docs/lambdas-api.md") if "pages(" in block.code]
    exec(code, names)
    created, gateways = shared
    gateway = gateways[created.home]
    with Client(gateway.address, AccessFolder(created.home / "access").token()) as client:
        assert wait_until(lambda: client.trading.orders(instance="market-making").count > 0, PATIENCE)
        assert len(names["orders_of"](client, "market-making")) > 0


def test_the_requests_of_other_programs_succeed(
    tmp_path: Path, shared: tuple[Project, dict[Path, Gateway]]
) -> None:
    names = ("rest.md", "telemetry.md")
    blocks = [block for name in names for block in pages.blocks(ROOT / "docs" / name)]
    files: list[Any] = [yaml.safe_load(block.code) for block in blocks if block.language == "yaml"]
    kubernetes, traefik, prometheus = (each for each in files if "telemetry" not in each)
    commands = [shlex.join(probe["exec"]["command"]) for probe in kubernetes.values()]
    assert len(commands) == 3
    [service] = traefik["http"]["services"].values()
    [server] = service["loadBalancer"]["servers"]
    check = service["loadBalancer"]["healthCheck"]
    commands.append(f"curl -fsS --head -X {check['method']} {server['url']}{check['path']}")
    [job] = prometheus["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    assert job["authorization"].keys() == {"credentials_file"}
    token = f'"Authorization: Bearer $(cat {HOME}/access/token)"'
    commands.append(f"curl -fsS -H {token} http://{target}/metrics")
    with Session(tmp_path, *shared) as session:
        for command in commands:
            session.follow(Step(command, code=0))


def test_the_commands_that_are_not_run_are_on_pages() -> None:
    assert NOT_RUN.keys() <= {step.command for page in PAGES for step in steps(page)}
