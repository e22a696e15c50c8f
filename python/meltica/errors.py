"""Every error Meltica raises. The base and the core's own are compiled; the rest stands here.

MelticaError
  CodecError        a codec declaration is wrong
  CapacityError     an instance asked for more memory than there is
  LambdaError       an instance cannot do what was asked of it
    LambdaDefinitionError  a Lambda subclass is declared wrongly
    LambdaLoadError        a file holds no usable Lambda
  ConfigError       settings or a config do not fit their declaration
  OrderRefused      an order, an amendment or a cancellation was refused and changed nothing
  VenueError        a venue did not do what it was asked to; `terminal` tells whether asking again can help
    VenueUnavailable       it cannot be reached, or does not serve now; nothing changed
      RateLimited          it was asked too often; nothing changed
    Unauthenticated        it does not accept the key, the signature or the clock; nothing changed
    OutcomeUnknown         it was asked, and whether it did so is not known
    ProtocolError          its answer is not what the adapter expects
  ReplayError       a recording cannot be replayed
  DatabaseError     the database cannot be used as it is
    DatabaseUnavailable    it cannot be started or reached, or went away
    MigrationError         a migration failed, or files and database differ
    GatewayAlreadyRunning  another gateway holds it
  AlreadyExists     a provider or an instance of that name is there
  NotFound          no provider or instance has that name
LambdaStopped       (BaseException) raised inside a callback that outlives its instance's stop
"""

from collections.abc import Iterable

from meltica._core import CapacityError, CodecError, LambdaError, LambdaStopped, MelticaError

__all__ = [
    "AlreadyExists",
    "CapacityError",
    "CodecError",
    "ConfigError",
    "DatabaseError",
    "DatabaseUnavailable",
    "GatewayAlreadyRunning",
    "LambdaDefinitionError",
    "LambdaError",
    "LambdaLoadError",
    "LambdaStopped",
    "MelticaError",
    "MigrationError",
    "NotFound",
    "OrderRefused",
    "OutcomeUnknown",
    "Overdue",
    "ProtocolError",
    "RateLimited",
    "ReplayError",
    "Unauthenticated",
    "VenueError",
    "VenueUnavailable",
    "nearest",
    "one_line",
    "suggestion",
]


class LambdaDefinitionError(LambdaError):
    """A Lambda subclass is declared wrongly; the text lists every fault."""

    def __init__(self, name: str, faults: Iterable[str]) -> None:
        self.name = name
        self.faults = tuple(faults)
        super().__init__(f"{name}: {'; '.join(self.faults)}")

    def __reduce__(self) -> tuple[type["LambdaDefinitionError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.name, self.faults)


class LambdaLoadError(LambdaError):
    """A file holds no usable Lambda: one line that says where and why."""


class ConfigError(MelticaError):
    """Settings do not fit their declaration; `faults` lists each with its key path."""

    def __init__(self, what: str, faults: Iterable[str]) -> None:
        self.what = what
        self.faults = tuple(faults)
        super().__init__(f"{what}: {'; '.join(self.faults)}")

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.what, self.faults)


class OrderRefused(MelticaError):
    """An order, an amendment or a cancellation was refused and changed nothing; `reason` is a code for it."""

    def __init__(self, reason: str, message: str = "") -> None:
        self.reason = reason
        self.message = message
        super().__init__(f"{reason}: {message}" if message else reason)

    def __reduce__(self) -> tuple[type["OrderRefused"], tuple[str, str]]:
        return type(self), (self.reason, self.message)


class VenueError(MelticaError):
    """A venue did not do what it was asked to; `code` is the venue's, or one of ours."""

    terminal = False
    """Whether the same request will fail for ever."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}" if message else code)

    def __reduce__(self) -> tuple[type["VenueError"], tuple[object, ...]]:
        return type(self), (self.code, self.message)


class VenueUnavailable(VenueError):
    """The venue cannot be reached, or says that it does not serve now; nothing changed."""


class RateLimited(VenueUnavailable):
    """The venue, or our own count of its limit, refuses a request that comes too soon; nothing changed."""

    def __init__(self, code: str, message: str = "", retry_after: float = 0.0) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after
        """Seconds until the next request may go out."""

    def __reduce__(self) -> tuple[type[VenueError], tuple[object, ...]]:
        return type(self), (self.code, self.message, self.retry_after)


class Unauthenticated(VenueError):
    """The venue does not accept the key, the signature or the clock; nothing changed."""

    terminal = True


class OutcomeUnknown(VenueError):
    """The request was sent, and no answer tells whether the venue did it."""


class ProtocolError(VenueError):
    """The venue's answer is not what the adapter expects of it: another protocol, a page of maintenance."""


class ReplayError(MelticaError):
    """A recording cannot be replayed: missing, damaged, or of another form."""


class DatabaseError(MelticaError):
    """The database cannot be used as it is."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be started or reached, or went away while it was used."""


class MigrationError(DatabaseError):
    """A migration failed, or the migrations in the database are not those of this Meltica."""


class GatewayAlreadyRunning(DatabaseError):
    """Another gateway holds the database; the text names it."""


class AlreadyExists(MelticaError):
    """A provider or an instance of that name is there already."""


class NotFound(MelticaError):
    """No provider, instance, adapter or strategy has that name."""


class Conflict(MelticaError):
    """What was asked does not fit the present state: it runs already, it does not run."""


class StartError(LambdaError):
    """A lambda could not start: its file, its config, its `__init__` or its `on_start`."""


class AddressInUse(MelticaError):
    """The control plane's address is taken or cannot be listened on."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that `name` was probably meant to be, None when none is close."""
    from difflib import get_close_matches

    flat = {_flat(other): other for other in known}
    close = get_close_matches(_flat(name), flat, n=1, cutoff=0.6)
    return flat[close[0]] if close else None


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns ``; did you mean `x`?`` where a known name is close, else the list of all known names."""
    names = list(known)
    close = nearest(name, names)
    if close is not None:
        return f"; did you mean `{close}`?"
    return f"; expected one of {', '.join(names)}" if names else "; there is none"


def _flat(name: str) -> str:
    return name.replace("_", "").replace("-", "").replace(".", "").lower()


class Overdue(TimeoutError):
    """A call did not end in its time. Not what the call itself may raise."""


def one_line(error: BaseException) -> str:
    """Returns an error in one line; Meltica's own need no name."""
    text = " ".join(str(error).split())
    if isinstance(error, MelticaError | Overdue) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
