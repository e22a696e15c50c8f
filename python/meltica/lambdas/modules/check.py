"""The check of an upload: the module is executed once, in a restricted process of its own.

At most two checks run at once. Each ends after 5 s of CPU or after 6 s, whichever comes first. The metadata
of a module is that of its class.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from meltica.api.envelope import without_nulls
from meltica.api.strategies import Strategy
from meltica.errors import MelticaError
from meltica.lambdas.modules.names import name_fault, tag_fault

CPU_SECONDS, WALL_SECONDS = 5, 6.0
MAX_OUTPUT = 64 << 10
MAX_CHECKS = 2

Stage = Literal["compile", "execute", "validation"]

_BOOT = (
    "import sys; sys.path[:] = sys.argv[2:]; from meltica.lambdas.modules.child import main; sys.exit(main())"
)


class TooManyChecks(MelticaError):
    """Two uploads are being checked already."""


class CheckFailed(MelticaError):
    """The process of the check could not run; this says nothing about the module."""


class Diagnostic(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A fault of a module."""

    stage: Stage
    message: str
    line: int | None = None
    column: int | None = None
    hint: str | None = None


class ModuleMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the class of a module says about itself."""

    class_name: str
    name: str
    display_name: str
    description: str
    version: str | None = None
    config: list[dict[str, Any]]
    events: list[str]


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a check: metadata or faults."""

    metadata: ModuleMetadata | None = None
    faults: list[Diagnostic] = []
    not_enforced: list[str] = []
    """Restrictions of the process that the system does not support."""


class UploadCheck:
    """Runs the checks of one gateway."""

    def __init__(self, cpu_seconds: int = CPU_SECONDS, wall_seconds: float = WALL_SECONDS) -> None:
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._running = 0
        self.not_enforced: tuple[str, ...] = ()
        """What the last check could not enforce."""

    async def run(self, source: bytes) -> CheckResult:
        """Checks a module. Raises TooManyChecks and CheckFailed."""
        if self._running >= MAX_CHECKS:
            raise TooManyChecks(
                f"upload not checked: {MAX_CHECKS} checks are running; retry in a few seconds"
            )
        self._running += 1
        try:
            with tempfile.TemporaryDirectory(prefix="meltica-check-") as folder:
                result = await self._check(source, folder)
        finally:
            self._running -= 1
        self.not_enforced = tuple(result.not_enforced)
        return result

    async def _check(self, source: bytes, folder: str) -> CheckResult:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-B", "-X", "utf8", "-c", _BOOT),
            str(self._cpu_seconds),
            *package_paths(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        late = False
        output = bytearray()
        try:
            async with asyncio.timeout(self._wall_seconds):
                await _converse(process, source, output)
        except TimeoutError:
            late = True
        finally:
            # Also what a module started where the system has no seccomp, unless it left the group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # Shielded, so that the process is reaped also when the request is cancelled.
            status = await asyncio.shield(process.wait())
        return self._result(bytes(output), status, late=late)

    def _result(self, output: bytes, status: int, *, late: bool) -> CheckResult:
        """Makes the result of what the process wrote and how it ended. Raises CheckFailed."""
        ready, newline, answer = output.partition(b"\n")
        if not newline:
            raise CheckFailed(f"upload not checked: the process of the check ended with status {status}")
        if late:
            text, hint = f"the module did not load within {self._wall_seconds:g} s", "remove waits"
        elif len(output) > MAX_OUTPUT:
            text = f"the description of the strategy is longer than {MAX_OUTPUT:,} bytes"
            hint = "shorten descriptions and defaults"
        elif status == -signal.SIGXCPU:
            text = f"loading the module used more than {self._cpu_seconds} s of CPU"
            hint = "move work to `on_start`"
        else:
            try:
                result = msgspec.json.decode(answer, type=CheckResult)
            except msgspec.DecodeError:
                end = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
                text, hint = f"the module ended its process with {end}", None
            else:
                if result.metadata is not None and (invalid := metadata_fault(result.metadata)) is not None:
                    result = CheckResult(faults=[Diagnostic(stage="validation", message=invalid)])
                return msgspec.structs.replace(result, not_enforced=msgspec.json.decode(ready))
        fault = Diagnostic(stage="execute", message=text, hint=hint)
        return CheckResult(faults=[fault], not_enforced=msgspec.json.decode(ready))


def metadata_fault(metadata: ModuleMetadata) -> str | None:
    """Returns why metadata cannot be stored and shown: a module can write the answer of its process."""
    fault = name_fault(metadata.name) or (metadata.version and tag_fault(metadata.version)) or None
    try:
        msgspec.convert(described(metadata), Strategy)
    except msgspec.ValidationError as error:
        fault = fault or f"the description of the class is not valid: {error}"
    if metadata.name != metadata.name.lower() or any("\0" in text for text in _texts(described(metadata))):
        fault = fault or "expected a name in lower case, and texts without NUL characters"
    return fault


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for pair in cast(dict[str, object], value).items() for text in _texts(list(pair)))
    elif isinstance(value, list):
        yield from (text for item in cast(list[object], value) for text in _texts(item))


def described(metadata: ModuleMetadata) -> dict[str, Any]:
    """Returns metadata as the control plane shows a strategy."""
    values = msgspec.to_builtins(metadata)
    shown = {"name": values["name"], "displayName": values["display_name"]}
    shown |= {key: values[key] for key in ("description", "config", "events")}
    return without_nulls(shown if metadata.version is None else {**shown, "version": metadata.version})


def package_paths() -> list[str]:
    """Returns the folders of `sys.path` with packages: without the current one and that of the program."""
    program = Path(sys.argv[0]).parent if sys.argv and sys.argv[0] else Path()
    refused = {Path().resolve(), program.resolve()}
    return [path for path in sys.path if path and Path(path).resolve() not in refused]


async def _converse(process: asyncio.subprocess.Process, source: bytes, output: bytearray) -> None:
    """Sends the source, and adds at most MAX_OUTPUT bytes and one of what the process writes to `output`."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):
        process.stdin.write(source)
        await process.stdin.drain()
        process.stdin.close()
    while len(output) <= MAX_OUTPUT:
        part = await process.stdout.read(MAX_OUTPUT + 1 - len(output))
        if not part:
            # The end of the output comes before the status of the process.
            await process.wait()
            break
        output += part
