"""Entry point of the process that checks an upload.

It reads a module's source and writes two lines of JSON: first the restrictions that the system does not
support, and once the module is loaded, the `CheckResult`.
"""

import os
import sys
import traceback
from types import ModuleType

import msgspec

from meltica.errors import LambdaDefinitionError, LambdaLoadError, one_line
from meltica.lambdas.base import Lambda
from meltica.lambdas.instances import start_faults
from meltica.lambdas.loader import load_source, pick
from meltica.lambdas.modules.check import CheckResult, Diagnostic, ModuleMetadata
from meltica.lambdas.modules.names import name_fault, tag_fault
from meltica.lambdas.modules.sandbox import readable_paths, restrict
from meltica.lambdas.strategy import describe

FILE = "module.py"


def main() -> int:
    """Checks the module on stdin. What the module prints is discarded."""
    source = sys.stdin.buffer.read()
    output = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    _write(output, msgspec.json.encode(restrict(int(sys.argv[1]), readable_paths(sys.path))) + b"\n")
    _write(output, msgspec.json.encode(examine(source), enc_hook=str))
    # Without waiting for threads of the module, and without its exit handlers.
    os._exit(0)


def _write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


def examine(source: bytes) -> CheckResult:
    """Compiles, executes and validates a module in this process."""
    try:
        code = compile(source, FILE, "exec", dont_inherit=True)
    except SyntaxError as error:
        return _faults(
            Diagnostic(stage="compile", message=error.msg, line=error.lineno, column=error.offset or None)
        )
    except (ValueError, RecursionError, MemoryError) as error:
        return _faults(Diagnostic(stage="compile", message=f"not valid Python source: {one_line(error)}"))
    del code
    try:
        return _validate(load_source(source, FILE))
    except LambdaLoadError as error:
        return _faults(*_execution_faults(error.__cause__ or error))
    except BaseException as error:
        # An interrupt of the module, or code of its class that the description calls.
        return _faults(*_execution_faults(error))


def _validate(module: ModuleType) -> CheckResult:
    try:
        cls = pick(module, FILE, None)
    except LambdaLoadError as error:
        text = str(error).partition(": ")[2].partition("; give")[0]
        hint = "define one subclass of meltica.Lambda; a name with `_` in front marks a base class"
        return _faults(Diagnostic(stage="validation", message=text, hint=hint))
    line = _line_of(cls)
    faults = [Diagnostic(stage="validation", message=text, line=line) for text in start_faults(cls)]
    described = describe(cls)
    metadata = ModuleMetadata(
        class_name=cls.__name__,
        name=str(described["name"]).lower(),
        display_name=str(described["displayName"]),
        description=str(described["description"]),
        version=_text(described.get("version")),
        config=described["config"],  # pyright: ignore[reportArgumentType]
        events=described["events"],  # pyright: ignore[reportArgumentType]
    )
    for fault, hint in (
        (name_fault(metadata.name), "name"),
        (None if metadata.version is None else tag_fault(metadata.version), "version"),
    ):
        if fault is not None:
            faults.append(Diagnostic(stage="validation", message=fault, line=line, hint=f"set `{hint}`"))
    return CheckResult(faults=faults) if faults else CheckResult(metadata=metadata)


def _execution_faults(error: BaseException) -> list[Diagnostic]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    line = frames[-1].lineno if frames else None
    if isinstance(error, LambdaDefinitionError):
        return [Diagnostic(stage="validation", message=text, line=line) for text in error.faults]
    column = None if not frames or frames[-1].colno is None else frames[-1].colno + 1
    hint = None
    if isinstance(error, ModuleNotFoundError):
        hint = f"install the package `{error.name}` beside Meltica; a module cannot import other files"
    elif isinstance(error, PermissionError):
        hint = "the check permits no files, sockets or processes; move this to `on_start`"
    return [Diagnostic(stage="execute", message=one_line(error), line=line, column=column, hint=hint)]


def _line_of(cls: type[Lambda]) -> int | None:
    import inspect

    try:
        return inspect.getsourcelines(cls)[1]
    except (OSError, TypeError):
        return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _faults(*faults: Diagnostic) -> CheckResult:
    return CheckResult(faults=list(faults))
