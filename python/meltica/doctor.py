"""What `meltica doctor` looks at, before a gateway starts or while it runs. Nothing is started or changed."""

import asyncio
import errno
import json
import os
import platform
import resource
import shutil
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, cast

import psycopg

from meltica import _core, settings
from meltica.errors import AddressInUse, ConfigError, MelticaError, one_line
from meltica.http.address import bind
from meltica.persistence import migrate
from meltica.persistence.database import connect, error_text, shown
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.account import server_account, user
from meltica.persistence.postgres.embedded import EmbeddedPostgres

Verdict = Literal["ok", "warn", "fail"]

NEWEST_YEAR = 2100
BUILT_YEAR = 2025
CLOCK_WARN, CLOCK_FAIL = 0.5, 30.0
"""Seconds of difference from the database's clock. Venues refuse requests that are seconds off."""
DISK_WARN, DISK_FAIL = 2 << 30, 200 << 20
FILES_WARN, FILES_FAIL = 1024, 256
FLEETING, DISTANT = ("tmpfs", "ramfs"), ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")


@dataclass(frozen=True)
class Finding:
    """What one check saw."""

    check: str
    verdict: Verdict
    seen: str
    cure: str = ""
    """What to do; empty when all is well."""

    def as_dict(self) -> dict[str, str]:
        """Returns it as JSON."""
        return {key: value for key, value in asdict(self).items() if value}


def examine(config: Path | None, overrides: Mapping[str, object] | None = None) -> Iterator[Finding]:
    """Yields the finding of each check; `overrides` win over the config."""
    yield python()
    yield package()
    yield clock()
    yield _guarded("clock source", clock_source)
    yield _guarded("open files", open_files)
    try:
        loaded = settings.load(config, overrides)
    except ConfigError as error:
        for fault in error.faults:
            yield Finding("config", "fail", f"{error.what}: {fault}", "correct it; see docs/configuration.md")
        return
    yield Finding("config", "ok", f"{loaded.path}: no faults")
    for warning in loaded.warnings:
        yield Finding("config", "warn", warning, "take it out")
    api, database = loaded.settings.api_server, loaded.settings.database
    yield _guarded("address", lambda: address(api.host, api.port))
    if database.dsn is not None:
        yield from asyncio.run(server(database.dsn.get_secret_value()))
        return
    postgres = EmbeddedPostgres(database.home)
    place = nearest(postgres.home)
    yield _guarded("database", lambda: embedded(postgres))
    yield _guarded("disk", lambda: disk(place))
    yield _guarded("file system", lambda: file_system(place))
    try:
        dsn = postgres.dsn if postgres.running else None
    except (MelticaError, OSError) as error:
        yield Finding("server", "fail", one_line(error), "run doctor as the user who runs the gateway")
    else:
        if dsn is not None:
            yield from asyncio.run(server(dsn))


def python() -> Finding:
    """Looks at the interpreter."""
    seen = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    if platform.python_implementation() != "CPython":
        return Finding("python", "fail", seen, "run Meltica on CPython 3.11 or newer")
    if hasattr(sys, "gettotalrefcount"):
        return Finding("python", "warn", f"{seen}, a debug build", "install an ordinary build: it is faster")
    return Finding("python", "ok", seen)


def package() -> Finding:
    """Looks at the wheel and its compiled part."""
    core = _core.__version__
    try:
        wheel = version("meltica")
    except PackageNotFoundError:
        return Finding("meltica", "warn", f"{core}, not installed as a package", "pip install meltica")
    if wheel != core:
        seen = f"the package is {wheel}, its compiled part {core}"
        return Finding("meltica", "fail", seen, "pip install --force-reinstall meltica")
    profile = getattr(_core, "BUILD_PROFILE", None)
    if profile == "debug":
        cure = "build it with `maturin develop --release`: a debug build is many times slower"
        return Finding("meltica", "warn", f"{core}, a debug build", cure)
    return Finding("meltica", "ok", core if profile is None else f"{core}, {profile} build")


def embedded(postgres: EmbeddedPostgres) -> Finding:
    """Looks at the PostgreSQL that the gateway would run, and at its directory."""
    found = binaries.find()
    account = server_account(postgres.data)
    barrier = account.barrier(postgres.data)
    seen = f"embedded PostgreSQL {found.major} ({found.directory}) in {postgres.home}, run by {account.name}"
    if barrier is not None:
        cure = "choose another directory: database.home"
        return Finding("database", "fail", f"{seen}, who cannot enter {barrier}", cure)
    place = nearest(postgres.home)
    if not os.access(place, os.W_OK | os.X_OK):
        me = user(os.geteuid())
        cure = f"give {place} to {me}, or choose another directory: database.home"
        return Finding("database", "fail", f"{seen}; {place} is closed to {me}", cure)
    made = postgres.data / "PG_VERSION"
    if made.exists() and (major := made.read_text().strip()) != str(found.major):
        seen = f"{postgres.data} was made by PostgreSQL {major}, {found.directory} is {found.major}"
        return Finding("database", "fail", seen, "start the gateway: it says how to carry the data over")
    state = (
        "runs"
        if postgres.running
        else "does not run now"
        if postgres.data.exists()
        else "is made at the start"
    )
    return Finding("database", "ok", f"{seen}; it {state}")


async def server(dsn: str) -> list[Finding]:
    """Looks at a database that runs: whether it answers, its schema, its clock."""
    try:
        async with await connect(dsn) as connection:
            began = time.time()
            row = await (
                await connection.execute("select extract(epoch from clock_timestamp())::float8, version()")
            ).fetchone()
            middle = (began + time.time()) / 2
    except MelticaError as error:
        return [Finding("server", "fail", str(error), "start it, or correct database.dsn")]
    except psycopg.Error as error:
        return [Finding("server", "fail", error_text(error), "look into the server's own log")]
    assert row is not None
    theirs, name = cast(tuple[float, str], row)
    answers = Finding("server", "ok", f"{' '.join(name.split()[:2])}: {shown(dsn)}")
    return [answers, await _guarded_async("schema", lambda: schema(dsn)), offset(theirs - middle)]


async def schema(dsn: str) -> Finding:
    """Looks at the migrations of a database."""
    states = await migrate.status(dsn)
    faults = migrate.faults(states)
    if faults:
        cure = "install the Meltica that made it, or restore a dump: meltica db status"
        return Finding("schema", "fail", "; ".join(faults), cure)
    pending = sum(state.state == "pending" for state in states)
    seen = f"{len(states)} migrations, {pending} pending"
    if pending:
        return Finding("schema", "warn", seen, "the next start runs them; dump before: meltica db dump FILE")
    return Finding("schema", "ok", seen)


def offset(seconds: float) -> Finding:
    """Judges how far the database's clock is ahead of ours."""
    seen = f"{seconds * 1000:+.0f} ms from the database's clock"
    if abs(seconds) < CLOCK_WARN:
        return Finding("clock offset", "ok", seen)
    verdict: Verdict = "warn" if abs(seconds) < CLOCK_FAIL else "fail"
    return Finding("clock offset", verdict, seen, "have both machines set their clocks by NTP")


def address(host: str, port: int) -> Finding:
    """Looks whether the control plane's address is free, and else who has it."""
    place = f"{host}:{port}"
    if port == 0:
        return Finding("address", "ok", f"{host}, a free port is taken at the start")
    try:
        bind(host, port).close()
    except AddressInUse as error:
        cause = error.__cause__
        taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
        ours = _gateway_at(host, port) if taken else None
        if ours is not None:
            return Finding("address", "ok", f"{place}: a Meltica gateway answers there, {ours}")
        return Finding("address", "fail", str(error), "choose another with apiServer.addr or --port")
    return Finding("address", "ok", f"{place} is free")


def _gateway_at(host: str, port: int) -> str | None:
    """Returns the version of a gateway that answers at an address, None when it is something else."""
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/version"
    try:
        # Past any proxy: it is this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=2) as answer:
            known: object = json.load(answer)
    except (OSError, ValueError):
        return None
    found = cast(dict[str, object], known).get("version") if isinstance(known, dict) else None
    return f"version {found}" if found is not None else None


def clock(now: Callable[[], float] = time.time) -> Finding:
    """Looks whether the year can be right."""
    moment = datetime.fromtimestamp(now(), UTC)
    seen = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if BUILT_YEAR <= moment.year < NEWEST_YEAR:
        return Finding("clock", "ok", seen)
    return Finding("clock", "fail", seen, "set the clock, and keep it set by NTP")


def clock_source(
    path: Path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
) -> Finding:
    """Looks what the kernel measures time with."""
    if not path.exists():
        return Finding("clock source", "ok", "the system does not say")
    source = path.read_text().strip()
    if source in ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"):
        return Finding("clock source", "ok", source)
    cure = "on a machine of your own, boot with clocksource=tsc if its TSC is steady"
    return Finding("clock source", "warn", f"{source}: each reading of the clock costs a microsecond", cure)


def disk(place: Path) -> Finding:
    """Looks how much room there is for the database."""
    free = shutil.disk_usage(place).free
    seen = f"{free / (1 << 30):,.1f} GiB free in {place}"
    if free >= DISK_WARN:
        return Finding("disk", "ok", seen)
    verdict: Verdict = "warn" if free >= DISK_FAIL else "fail"
    return Finding("disk", verdict, seen, "make room, or choose another directory: database.home")


def file_system(place: Path, mounts: Path = Path("/proc/mounts")) -> Finding:
    """Looks whether what is committed there stays there."""
    directory = os.open(place, os.O_RDONLY)
    try:
        os.fsync(directory)
    except OSError as error:
        return Finding(
            "file system", "fail", f"{place} cannot be synced: {error.strerror}", "use a local disk"
        )
    finally:
        os.close(directory)
    kind = _mounted(place, mounts)
    if kind in FLEETING:
        seen = f"{place} is on {kind}: the database is gone after a restart of the machine"
        return Finding("file system", "warn", seen, "choose a directory on a disk: database.home")
    if kind in DISTANT:
        return Finding(
            "file system", "warn", f"{place} is on {kind}", "use a local disk: each commit waits for it"
        )
    return Finding("file system", "ok", f"{kind or 'unknown'}, {place} can be synced")


def _mounted(place: Path, mounts: Path) -> str | None:
    """Returns the type of the file system that a directory is on."""
    if not mounts.exists():
        return None
    rows = [line.split() for line in mounts.read_text().splitlines()]
    real = place.resolve()
    # An octal escape stands for a space in a name.
    known = [(Path(row[1].replace("\\040", " ")), row[2]) for row in rows]
    over = [
        (len(point.parts), number, kind)
        for number, (point, kind) in enumerate(known)
        if real.is_relative_to(point)
    ]
    return max(over)[2] if over else None


def open_files() -> Finding:
    """Looks how many files and sockets the process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    if soft == resource.RLIM_INFINITY or soft >= FILES_WARN:
        return Finding("open files", "ok", seen)
    verdict: Verdict = "warn" if soft >= FILES_FAIL else "fail"
    return Finding("open files", verdict, seen, f"ulimit -n 4096 (up to {hard:,} without asking)")


def nearest(path: Path) -> Path:
    """Returns a path itself, or the directory above it that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def _guarded(check: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except (MelticaError, OSError) as error:
        return Finding(check, "fail", one_line(error), "see above")


async def _guarded_async(check: str, look: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await look()
    except (MelticaError, psycopg.Error, OSError) as error:
        return Finding(check, "fail", one_line(error), "see above")
