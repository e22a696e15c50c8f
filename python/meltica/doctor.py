"""The checks of `meltica doctor`. Read-only: starts no component and changes no state."""

import asyncio
import errno
import json
import os
import platform
import resource
import shutil
import ssl
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
from meltica.errors import AddressInUse, ConfigError, DatabaseUnavailable, MelticaError, one_line
from meltica.http.address import bind
from meltica.lambdas.modules.check import UploadCheck
from meltica.persistence import migrate
from meltica.persistence.database import connect, error_text, shown
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.account import server_account, user
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.settings.runtime import Values, layer, unedited

Verdict = Literal["ok", "warn", "fail"]

NEWEST_YEAR = 2100
BUILT_YEAR = 2025
CLOCK_WARN, CLOCK_FAIL = 0.5, 30.0
"""Offset from the database's clock in seconds. Venues refuse requests with a wrong time."""
DISK_WARN, DISK_FAIL = 2 << 30, 200 << 20
FILES_WARN, FILES_FAIL = 1024, 256
FLEETING, DISTANT = ("tmpfs", "ramfs"), ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs")


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    check: str
    verdict: Verdict
    seen: str
    cure: str = ""
    """The remedy; empty if the check passed."""

    def as_dict(self) -> dict[str, str]:
        """Returns the finding as JSON."""
        return {key: value for key, value in asdict(self).items() if value}


def examine(config: Path | None, overrides: Mapping[str, object] | None = None) -> Iterator[Finding]:
    """Yields the finding of each check; `overrides` win over the config."""
    yield python()
    yield package()
    yield clock()
    yield _guarded("clock source", clock_source)
    yield _guarded("open files", open_files)
    yield _guarded("upload check", upload_check)
    try:
        loaded = settings.load(config, overrides)
    except ConfigError as error:
        for fault in error.faults:
            yield Finding(
                "config", "fail", f"{error.subject}: {fault}", "correct the file; see docs/configuration.md"
            )
        return
    yield Finding("config", "ok", f"{loaded.path}: no faults")
    for warning in loaded.warnings:
        yield Finding("config", "warn", warning, "remove the key")
    api, database = loaded.settings.api_server, loaded.settings.database
    yield _guarded("address", lambda: address(api.host, api.port, encrypted=api.tls.certificate is not None))
    if database.dsn is not None:
        yield from asyncio.run(server(database.dsn.get_secret_value(), loaded))
        return
    try:
        postgres = EmbeddedPostgres(database.home)
    except DatabaseUnavailable as error:
        yield Finding("database", "fail", one_line(error), "see the message")
        return
    place = nearest(postgres.home)
    yield _guarded("database", lambda: embedded(postgres))
    yield _guarded("disk", lambda: disk(place))
    yield _guarded("file system", lambda: file_system(place))
    try:
        dsn = postgres.dsn if postgres.running else None
    except (MelticaError, OSError) as error:
        yield Finding("server", "fail", one_line(error), "run doctor as the user of the gateway")
    else:
        if dsn is not None:
            yield from asyncio.run(server(dsn, loaded))


def python() -> Finding:
    """Checks the interpreter."""
    seen = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    if platform.python_implementation() != "CPython":
        return Finding("python", "fail", seen, "run Meltica on CPython 3.11 or newer")
    if hasattr(sys, "gettotalrefcount"):
        return Finding("python", "warn", f"{seen}, a debug build", "install a release build, which is faster")
    return Finding("python", "ok", seen)


def package() -> Finding:
    """Checks that the package and its compiled module have the same version."""
    core = _core.__version__
    try:
        wheel = version("meltica")
    except PackageNotFoundError:
        return Finding("meltica", "warn", f"{core}, not installed as a package", "pip install meltica")
    if wheel != core:
        seen = f"the package has version {wheel}, its compiled module {core}"
        return Finding("meltica", "fail", seen, "pip install --force-reinstall meltica")
    profile = getattr(_core, "BUILD_PROFILE", None)
    if profile == "debug":
        cure = "build it with `maturin develop --release`; a debug build is many times slower"
        return Finding("meltica", "warn", f"{core}, a debug build", cure)
    return Finding("meltica", "ok", core if profile is None else f"{core}, {profile} build")


def embedded(postgres: EmbeddedPostgres) -> Finding:
    """Checks the embedded PostgreSQL and its directory."""
    installed = binaries.find()
    account = server_account(postgres.data)
    barrier = account.barrier(postgres.data)
    server_version = f"embedded PostgreSQL {installed.major} ({installed.directory})"
    seen = f"{server_version} in {postgres.home}, run by {account.name}"
    if barrier is not None:
        cure = "choose another directory: database.home"
        return Finding("database", "fail", f"{seen}, which cannot access {barrier}", cure)
    place = nearest(postgres.home)
    if not os.access(place, os.W_OK | os.X_OK):
        me = user(os.geteuid())
        cure = f"make {place} writable for {me}, or choose another directory: database.home"
        return Finding("database", "fail", f"{seen}; {place} is not writable for {me}", cure)
    version_file = postgres.data / "PG_VERSION"
    if version_file.exists() and (major := version_file.read_text().strip()) != str(installed.major):
        seen = (
            f"{postgres.data} was created by PostgreSQL {major}, {installed.directory} is {installed.major}"
        )
        return Finding(
            "database", "fail", seen, "start the gateway, which prints the commands that migrate the data"
        )
    state = (
        "runs"
        if postgres.running
        else "is stopped"
        if postgres.data.exists()
        else "is created at the first start"
    )
    return Finding("database", "ok", f"{seen}; it {state}")


async def server(dsn: str, loaded: settings.Loaded) -> list[Finding]:
    """Checks a running database: connection, schema, clock, and the settings that it has."""
    try:
        async with await connect(dsn) as connection:
            started_at = time.time()
            row = await (
                await connection.execute("select extract(epoch from clock_timestamp())::float8, version()")
            ).fetchone()
            middle = (started_at + time.time()) / 2
    except MelticaError as error:
        return [Finding("server", "fail", str(error), "start the database, or correct database.dsn")]
    except psycopg.Error as error:
        return [Finding("server", "fail", error_text(error), "check the log of the server")]
    assert row is not None
    server_time, name = cast(tuple[float, str], row)
    response = Finding("server", "ok", f"{' '.join(name.split()[:2])}: {shown(dsn)}")
    found = [response, await _guarded_async("schema", lambda: schema(dsn)), offset(server_time - middle)]
    if found[1].verdict == "ok":
        found.append(await _guarded_async("settings", lambda: stored_settings(dsn, loaded)))
    return found


async def stored_settings(dsn: str, loaded: settings.Loaded) -> Finding:
    """Checks the settings that were set over REST, which the next start reads."""
    async with await connect(dsn) as connection:
        query = "select settings, configured from meltica.runtime_configuration"
        row = await (await connection.execute(query)).fetchone()
    stored, stated = cast(tuple[Values, Values], row or ({}, {}))
    kept = unedited(loaded, stored, stated)
    texts = [f"set over REST: {', '.join(sorted(kept))}"] if kept else []
    edited = sorted(stored.keys() - kept.keys())
    texts += [f"edited in the file since they were set over REST: {', '.join(edited)}"] if edited else []
    try:
        loaded.inputs.load(layer(kept))
    except ConfigError as error:
        seen = f"what was set over REST would not apply with this file: {'; '.join(error.faults)}"
        return Finding("settings", "warn", seen, "correct the file, or run `meltica config reset KEY`")
    return Finding("settings", "ok", "; ".join(texts) or "none was set over REST")


async def schema(dsn: str) -> Finding:
    """Checks the migrations of a database."""
    states = await migrate.status(dsn)
    faults = migrate.faults(states)
    if faults:
        cure = "install the version of Meltica that created it, or restore a dump; see meltica db status"
        return Finding("schema", "fail", "; ".join(faults), cure)
    pending = sum(state.state == "pending" for state in states)
    seen = f"{len(states)} migrations, {pending} pending"
    if pending:
        return Finding(
            "schema", "warn", seen, "the next start runs them; to keep a copy: meltica db dump FILE"
        )
    return Finding("schema", "ok", seen)


def offset(seconds: float) -> Finding:
    """Checks the offset of the database's clock from the local clock."""
    seen = f"{seconds * 1000:+.0f} ms from the database's clock"
    if abs(seconds) < CLOCK_WARN:
        return Finding("clock offset", "ok", seen)
    verdict: Verdict = "warn" if abs(seconds) < CLOCK_FAIL else "fail"
    return Finding("clock offset", verdict, seen, "synchronise the clocks of both machines with NTP")


def address(host: str, port: int, *, encrypted: bool = False) -> Finding:
    """Checks that the control plane's address is free, or used by a gateway."""
    place = f"{host}:{port}"
    if port == 0:
        return Finding("address", "ok", f"{host}, with a free port chosen at start")
    try:
        bind(host, port).close()
    except AddressInUse as error:
        cause = error.__cause__
        taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
        if taken and _is_gateway(host, port, encrypted=encrypted):
            return Finding("address", "ok", f"{place} is used by a Meltica gateway")
        return Finding("address", "fail", str(error), "choose another address with apiServer.addr or --port")
    return Finding("address", "ok", f"{place} is free")


def _is_gateway(host: str, port: int, *, encrypted: bool) -> bool:
    """Returns whether a gateway responds at an address of this machine."""
    scheme = "https" if encrypted else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/health/live"
    context = ssl.create_default_context()
    # The certificate is for the names of clients, and nothing secret is sent.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        # Without a proxy, because it is this machine.
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(*handlers)
        with opener.open(url, timeout=2) as answer:
            body: object = json.load(answer)
    except (OSError, ValueError):
        return False
    return body == {"status": "live"}


def clock(now: Callable[[], float] = time.time) -> Finding:
    """Checks that the year is plausible."""
    moment = datetime.fromtimestamp(now(), UTC)
    seen = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    if BUILT_YEAR <= moment.year < NEWEST_YEAR:
        return Finding("clock", "ok", seen)
    return Finding("clock", "fail", seen, "set the clock, and synchronise it with NTP")


def clock_source(
    path: Path = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
) -> Finding:
    """Checks the clock source of the kernel."""
    if not path.exists():
        return Finding("clock source", "ok", "not reported by the system")
    source = path.read_text().strip()
    if source in ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"):
        return Finding("clock source", "ok", source)
    cure = "boot with clocksource=tsc if the TSC of the machine is reliable"
    return Finding("clock source", "warn", f"{source}: reading the clock takes about a microsecond", cure)


def disk(place: Path) -> Finding:
    """Checks the free disk space."""
    free = shutil.disk_usage(place).free
    seen = f"{free / (1 << 30):,.1f} GiB free in {place}"
    if free >= DISK_WARN:
        return Finding("disk", "ok", seen)
    verdict: Verdict = "warn" if free >= DISK_FAIL else "fail"
    return Finding("disk", verdict, seen, "free disk space, or choose another directory: database.home")


def file_system(place: Path, mounts: Path = Path("/proc/mounts")) -> Finding:
    """Checks that commits are durable in a directory."""
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
        seen = f"{place} is on {kind}: a restart of the machine deletes the database"
        return Finding("file system", "warn", seen, "choose a directory on a disk: database.home")
    if kind in DISTANT:
        return Finding(
            "file system", "warn", f"{place} is on {kind}", "use a local disk; each commit waits for the disk"
        )
    return Finding("file system", "ok", f"{kind or 'unknown'}, {place} can be synced")


def _mounted(place: Path, mounts: Path) -> str | None:
    """Returns the type of the file system that a directory is on."""
    if not mounts.exists():
        return None
    rows = [line.split() for line in mounts.read_text().splitlines()]
    real = place.resolve()
    # An octal escape is a space in a name.
    mount_points = [(Path(row[1].replace("\\040", " ")), row[2]) for row in rows]
    over = [
        (len(point.parts), number, kind)
        for number, (point, kind) in enumerate(mount_points)
        if real.is_relative_to(point)
    ]
    return max(over)[2] if over else None


def upload_check() -> Finding:
    """Checks which restrictions the system supports for the process that checks uploads."""
    result = asyncio.run(UploadCheck().run(b""))
    if not result.not_enforced:
        return Finding("upload check", "ok", "its process is restricted by limits, Landlock and seccomp")
    seen = f"the system does not support {', '.join(result.not_enforced)} for the process of the check"
    return Finding("upload check", "warn", seen, "upload only modules that you trust")


def open_files() -> Finding:
    """Checks the limit of open files and sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    if soft == resource.RLIM_INFINITY or soft >= FILES_WARN:
        return Finding("open files", "ok", seen)
    verdict: Verdict = "warn" if soft >= FILES_FAIL else "fail"
    return Finding("open files", verdict, seen, f"ulimit -n 4096 (up to {hard:,} without privileges)")


def nearest(path: Path) -> Path:
    """Returns a path, or its nearest parent that exists."""
    return next(place for place in (path, *path.parents) if place.exists())


def _guarded(check: str, run: Callable[[], Finding]) -> Finding:
    try:
        return run()
    except (MelticaError, OSError) as error:
        return Finding(check, "fail", one_line(error), "see the message")


async def _guarded_async(check: str, run: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await run()
    except (MelticaError, psycopg.Error, OSError) as error:
        return Finding(check, "fail", one_line(error), "see the message")
