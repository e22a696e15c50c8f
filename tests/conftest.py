"""Fixtures: recorded data, a small data plane to run frames through, and a PostgreSQL."""

import asyncio
import gzip
import io
import itertools
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import hypothesis
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.persistence import migrate
from meltica.persistence.postgres.embedded import EmbeddedPostgres

# Examples have no time limit: a busy machine must not fail a test.
hypothesis.settings.register_profile("meltica", deadline=None)
hypothesis.settings.load_profile("meltica")

# Processes of the tests inherit ignored signals, as under nohup or in the background; some tests send them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

MEMORY = Path("/dev/shm")
"""Folder of database servers in tests: fsync is on, so a busy disk would dominate the run time."""

RECORDING = "data/binance/btcusdt_20240808"


def shared() -> Path | None:
    """Returns the folder of recorded data next to the project, or None."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data" / "binance").is_dir():
            return parent / "shared"
    return None


@pytest.fixture(scope="session")
def session_lines(session_path: Path) -> list[bytes]:
    """The lines of a real Binance session."""
    with gzip.open(session_path) as file:
        return file.read().splitlines()


@pytest.fixture(scope="session")
def session_path() -> Path:
    """The path of the recording."""
    folder = shared()
    if folder is None:
        pytest.skip("needs the recorded session in ../shared/data/binance, which is absent")
    return folder / f"{RECORDING}.gz"


class Run:
    """The result of one replay."""

    def __init__(
        self, producer: dict[str, Any], instances: list[dict[str, Any]], core: dict[str, Any]
    ) -> None:
        self.producer, self.instances, self.core = producer, instances, core


def replay(
    lines: Iterable[bytes],
    *callbacks: Mapping[str, Callable[[Any], object]],
    mode: str = "thread",
    kinds: Iterable[str] = ("BookSnapshot", "Trade", "Ticker"),
    codec: object = BINANCE,
    **options: Any,
) -> Run:
    """Replays lines into one instance per set of callbacks, without loss, on the events' clock."""
    core = _core.Core()
    producer = core.producer("binance", _core.Codec(codec))
    shared_host = core.host("shared", clock="event") if mode == "shared" else None
    hosts: list[_core.Host] = [shared_host] if shared_host else []
    instances: list[_core.Instance] = []
    for number, each in enumerate(callbacks):
        host = shared_host or core.host("thread", clock="event")
        if host not in hosts:
            hosts.append(host)
        instance = host.add(
            f"i{number}",
            callbacks=each,
            routes=[("binance", kind, None) for kind in kinds],
            policies=dict.fromkeys(_core.KINDS, "block"),
            **options,
        )
        instance.start()
        instances.append(instance)
    producer.replay([io.BytesIO(b"\n".join(lines))])
    assert producer.drain(30)
    assert all(host.stop(10) for host in hosts)
    return Run(producer.stats(), [instance.stats() for instance in instances], core.stats())


def folder_for_server(parent: Path = MEMORY) -> Path:
    """Creates a directory that the server's user may enter, unlike pytest's directories when run as root."""
    usable = parent.is_dir() and shutil.disk_usage(parent).free > 2 << 30
    folder = Path(tempfile.mkdtemp(prefix="meltica-", dir=parent if usable else None))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def cluster() -> Generator[EmbeddedPostgres]:
    """One PostgreSQL for the session. Its database `template` is migrated."""
    folder = folder_for_server()
    with EmbeddedPostgres(folder / "pg") as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("create database template")
        asyncio.run(migrate.up(make_conninfo(server.dsn, dbname="template")))
        yield server
    shutil.rmtree(folder)


_numbers = itertools.count()


@pytest.fixture
def database_url(cluster: EmbeddedPostgres) -> Generator[str]:
    """A new database with the schema."""
    yield from _clone(cluster, "template")


@pytest.fixture
def empty_database_url(cluster: EmbeddedPostgres) -> Generator[str]:
    """A new empty database."""
    yield from _clone(cluster, "template0")


def _clone(cluster: EmbeddedPostgres, template: str) -> Generator[str]:
    name = f"test{next(_numbers)}"
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute(
            SQL("create database {} template {}").format(Identifier(name), Identifier(template))
        )
        yield make_conninfo(cluster.dsn, dbname=name)
        connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escapes text that is not valid Unicode: a worker could not send what such a test logged."""
    return _valid((yield))


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_valid(key): _valid(each) for key, each in cast(dict[Any, Any], value).items()}
    if isinstance(value, list):
        return [_valid(each) for each in cast(list[Any], value)]
    if isinstance(value, tuple):  # the summary wants that of a skipped test
        return tuple(_valid(each) for each in cast(tuple[Any, ...], value))
    return value
