"""Loads a `Lambda` subclass from a Python file. Each failure is one line with its place and cause."""

import hashlib
import linecache
import sys
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from types import ModuleType

from meltica.errors import LambdaDefinitionError, LambdaLoadError, suggestion
from meltica.lambdas import shipped
from meltica.lambdas.base import Lambda
from meltica.lambdas.modules import names
from meltica.lambdas.strategy import description
from meltica.validation.paths import from_folder

_locks: dict[str, threading.RLock] = {}
"""A lock per module, held while the module is executed."""
_path_lock = threading.Lock()
_REVISION = "__meltica_revision__"
"""Attribute of a module with the hash of its source."""


def load(reference: str) -> type[Lambda]:
    """Returns the class that `FILE.py:ClassName` or the name of a shipped strategy refers to.

    The class name may be left out when the file has exactly one class. Raises LambdaLoadError.
    """
    path_text, name = _split(resolved := resolve(reference))
    path = Path(path_text)
    if names.stored(resolved) is not None:
        text = "only a gateway whose database has this module can load it"
        raise LambdaLoadError(
            f"strategy `{resolved}` not loaded: {text}; upload it, then refresh the strategies"
        )
    if path.is_file():
        return pick(load_module(path), path, name)
    module = import_module(shipped.module(path_text))
    setattr(module, _REVISION, revision(source_of(reference)))
    return pick(module, path, None)


def revision(path: Path) -> str | None:
    """Returns the revision of a strategy's file, `sha256:...`, or None when the file cannot be read."""
    try:
        return _revision(path.read_bytes())
    except OSError:
        # Loading the file reports the cause.
        return None


def _revision(source: bytes) -> str:
    return f"sha256:{hashlib.sha256(source).hexdigest()}"


def revision_of(cls: type[Lambda]) -> str | None:
    """Returns the revision of a loaded class: `sha256:` and the hash of its module's source."""
    return getattr(sys.modules.get(cls.__module__), _REVISION, None)


def source_of(reference: str) -> Path:
    """Returns the source file of a strategy. Raises LambdaLoadError when it does not exist."""
    path = Path(_split(resolve(reference))[0])
    if path.is_file():
        return path
    return shipped.source(path.name)


def resolve(reference: str, folder: Path = Path()) -> str:
    """Returns an unambiguous reference: the name of a shipped strategy, or a path resolved against `folder`,
    or the selector of a stored module, which has a tag or a hash.

    Strategy code does not run. Raises LambdaLoadError when the file or name does not exist. Whether a stored
    module exists is not checked.
    """
    path_text, name = _split(reference)
    path = from_folder(folder, Path(path_text))
    try:
        is_file = path.is_file()
    except OSError as error:
        raise LambdaLoadError(f"{path}: cannot be read: {error.strerror}") from None
    if is_file:
        return f"{path}:{name}" if name else str(path)
    name_of_shipped = shipped.find(reference)
    if name_of_shipped is not None:
        return name_of_shipped
    selector = _selector(reference)
    if selector is not None:
        return selector
    if Path(path_text).suffix or path.name != path_text or name or path.is_dir():
        problem = "is a directory" if path.is_dir() else "does not exist"
        raise LambdaLoadError(f"{path}: expected a Python file, but it {problem}; give FILE.py:ClassName")
    hint = suggestion(reference, shipped.names())
    raise LambdaLoadError(f"`{reference}` is neither FILE.py:ClassName nor a shipped strategy{hint}")


def _selector(reference: str) -> str | None:
    """Returns the selector of a stored module in its canonical form, or None. Raises LambdaLoadError."""
    try:
        selector = names.stored(reference)
    except ValueError as error:
        raise LambdaLoadError(str(error)) from None
    if selector is None:
        return None
    if selector.name is None:
        raise LambdaLoadError(f"`{reference}`: expected a module and a hash, `name@sha256:...`")
    if shipped.find(selector.name) is not None:
        raise LambdaLoadError(f"`{reference}`: a shipped strategy has neither tags nor hashes; give its name")
    return str(selector)


def load_module(path: Path) -> ModuleType:
    """Returns the module of a file, the same one for the same content. Raises LambdaLoadError."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise LambdaLoadError(f"{path}: cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()[:16]
    name = f"meltica_lambda_{''.join(c if c.isalnum() else '_' for c in path.stem)}_{digest}"
    # Several instances of one file may start at once; only a completely executed module is usable.
    with _locks.setdefault(name, threading.RLock()):
        module = sys.modules.get(name)
        return module if module is not None else _execute(name, path, source)


def load_source(source: bytes, filename: str) -> ModuleType:
    """Returns the module of a source that is not in a file, the same one for the same content.

    Tracebacks show its lines under `filename`. Raises LambdaLoadError.
    """
    digest = hashlib.sha256(filename.encode() + b"\0" + source).hexdigest()[:16]
    name = f"meltica_module_{digest}"
    with _locks.setdefault(name, threading.RLock()):
        module = sys.modules.get(name)
        if module is not None:
            return module
        # An entry without a time of change is never compared with a file.
        lines = source.decode(errors="replace").splitlines(keepends=True)
        linecache.cache[filename] = (len(source), None, lines, filename)
        return _execute(name, filename, source)


def pick(module: ModuleType, path: Path | str, name: str | None) -> type[Lambda]:
    """Returns the class `name` of a module, or its only Lambda, and describes it. Raises LambdaLoadError."""
    cls = _picked(module, path, name)
    description(cls)
    return cls


def _picked(module: ModuleType, path: Path | str, name: str | None) -> type[Lambda]:
    defined = {key: value for key, value in vars(module).items() if _is_own_lambda(module, key, value)}
    if name is None:
        # A class that another one extends is a base class; it can only be selected by name.
        leaves = [key for key, cls in defined.items() if not any(_extends(c, cls) for c in defined.values())]
        if len(leaves) != 1:
            actual = f"several: {', '.join(leaves)}" if leaves else "none"
            raise LambdaLoadError(f"{path}: expected exactly one Lambda, saw {actual}; give {path}:ClassName")
        return defined[leaves[0]]
    value: object = getattr(module, name, None)
    if isinstance(value, type) and issubclass(value, Lambda) and value is not Lambda:
        return value
    if value is None:
        raise LambdaLoadError(f"{path}: class `{name}` does not exist{suggestion(name, defined)}")
    raise LambdaLoadError(f"{path}: `{name}` is not a subclass of meltica.Lambda{suggestion(name, defined)}")


def _split(reference: str) -> tuple[str, str | None]:
    path, colon, name = reference.rpartition(":")
    if not colon or not name.isidentifier() or (len(path) == 1 and path.isalpha()):
        return reference.removesuffix(":"), None
    return path, name


def _is_own_lambda(module: ModuleType, key: str, value: object) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Lambda)
        and value.__module__ == module.__name__
        and value.__name__ == key
        and not key.startswith("_")
    )


def _extends(cls: type, base: type) -> bool:
    return cls is not base and issubclass(cls, base)


def _execute(name: str, path: Path | str, source: bytes) -> ModuleType:
    """Executes a module; of one in a file, the folder is importable meanwhile."""
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise LambdaLoadError(f"{path}{line}: syntax error: {error.msg}") from None
    except ValueError as error:
        raise LambdaLoadError(f"{path}: not valid Python source: {error}") from None
    module = ModuleType(name)
    module.__file__ = str(path)
    setattr(module, _REVISION, _revision(source))
    sys.modules[name] = module
    linecache.checkcache(str(path))
    try:
        with _importable(path.resolve().parent) if isinstance(path, Path) else nullcontext():
            exec(code, module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        failure = LambdaLoadError(_explain(path, error))
        # What was executed may have finalizers, which run on this thread.
        vars(module).clear()
        raise failure from error
    return module


@contextmanager
def _importable(folder: Path) -> Generator[None]:
    """Puts a folder first on the import path.

    The list is replaced, not changed: another thread may be searching it, for example for shipped strategies,
    and would skip an entry when one before it is removed.
    """
    entry = str(folder)
    with _path_lock:
        sys.path = [entry, *sys.path]
    try:
        yield
    finally:
        with _path_lock:
            kept = list(sys.path)
            if entry in kept:  # the module may have removed it
                kept.remove(entry)
            sys.path = kept


def _explain(path: Path | str, error: BaseException) -> str:
    """Formats an error as one line with the last line of the user's file in its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    where = f"{path}, line {frames[-1].lineno}" if frames else str(path)
    if isinstance(error, LambdaDefinitionError):
        return f"{where}: {error}"
    text = " ".join(str(error).split())
    return f"{where}: {type(error).__name__}: {text}" if text else f"{where}: {type(error).__name__}"
