"""Every error that Meltica raises.

The base class and the errors of the core are compiled (`meltica._core`); the others are defined here.

MelticaError
  CodecError        a codec declaration is invalid
  CapacityError     an instance needs more memory than the pools may still allocate
  LambdaError       an instance cannot perform an operation
    LambdaDefinitionError  a Lambda subclass is declared incorrectly
    LambdaLoadError        a file contains no usable Lambda
    StrategyRaised         strategy code raised; the text was made on its thread
    StartError             an instance could not be started
  ConfigError       settings or a config do not match their declaration
  OrderRefused      an order, an amendment or a cancellation was refused; nothing changed
  VenueError        a venue did not execute a request; `terminal` says whether a retry is pointless
    VenueUnavailable       the venue is unreachable or out of service; nothing changed
      RateLimited          the request exceeds a rate limit; nothing changed
    Unauthenticated        the venue rejects the key, the signature or the timestamp; nothing changed
    OutcomeUnknown         the request was sent, but whether the venue executed it is unknown
    ProtocolError          the response is not what the adapter expects
  ReplayError       a recording cannot be replayed
  DatabaseError     the database cannot be used in its current state
    DatabaseUnavailable    the database cannot be started or reached, or the connection was lost
      ChangeInDoubt        a write may have been committed; the database did not confirm it
      LockNotHeld          the gateway does not hold the lock of its database
    MigrationError         a migration failed, or the migrations of files and database differ
    GatewayAlreadyRunning  another gateway holds the database
  AlreadyExists     a provider or an instance of that name exists already
  NotFound          a provider, instance, adapter or strategy of that name does not exist
  Conflict          the operation does not fit the current state
  AddressInUse      the control plane cannot listen on its address

Outside this tree:

LambdaStopped       (BaseException) raised inside a callback that outlives its instance's stop
Overdue             (TimeoutError) a call exceeded its time limit

`HttpError`, a MelticaError with an HTTP status and a code, is defined in `meltica.http.errors`.
"""

from collections.abc import Iterable
from typing import Final

from meltica._core import CapacityError, CodecError, LambdaError, LambdaStopped, MelticaError

__all__ = [
    "AlreadyExists",
    "CapacityError",
    "ChangeInDoubt",
    "CodecError",
    "ConfigError",
    "DatabaseError",
    "DatabaseUnavailable",
    "GatewayAlreadyRunning",
    "LambdaDefinitionError",
    "LambdaError",
    "LambdaLoadError",
    "LambdaStopped",
    "LockNotHeld",
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
    """A Lambda subclass is declared incorrectly; the message lists every fault."""

    def __init__(self, name: str, faults: Iterable[str]) -> None:
        self.name = name
        self.faults = tuple(faults)
        super().__init__(f"{name}: {'; '.join(self.faults)}")

    def __reduce__(self) -> tuple[type["LambdaDefinitionError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.name, self.faults)


class LambdaLoadError(LambdaError):
    """A file contains no usable Lambda; the message is one line with the place and the cause."""


class ConfigError(MelticaError):
    """Settings do not match their declaration; `faults` lists each fault with its key path."""

    def __init__(self, subject: str, faults: Iterable[str]) -> None:
        self.subject = subject
        """The file or config that has the faults."""
        self.faults = tuple(faults)
        super().__init__(f"{subject}: {'; '.join(self.faults)}")

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.subject, self.faults)


class OrderRefused(MelticaError):
    """An order, an amendment or a cancellation was refused; nothing changed. `reason` is a stable code.

    A refusal by risk has the value that broke the rule and the limit too; a venue's refusal may have neither.
    """

    recorded = False
    """Whether risk has counted it; it becomes a row of the table `refusals` then."""

    def __init__(self, reason: str, message: str = "", seen: object = None, limit: object = None) -> None:
        self.reason = reason
        self.message = message
        self.seen = seen
        """The value that broke the rule: a Decimal, int or str; None where the rule has none."""
        self.limit = limit
        """What the rule allows: a Decimal, int or str; None where the rule has none."""
        super().__init__(f"{reason}: {message}" if message else reason)

    @property
    def rule(self) -> str:
        """The rule that refused the order: `reason`."""
        return self.reason

    def __reduce__(self) -> tuple[type["OrderRefused"], tuple[object, ...]]:
        return type(self), (self.reason, self.message, self.seen, self.limit)


class VenueError(MelticaError):
    """A venue did not execute a request; `code` is the venue's error code, or one of Meltica's."""

    terminal = False
    """Whether the same request would always fail, so that a retry is pointless."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.message = message
        super().__init__(f"{code}: {message}" if message else code)

    def __reduce__(self) -> tuple[type["VenueError"], tuple[object, ...]]:
        return type(self), (self.code, self.message)


class VenueUnavailable(VenueError):
    """The venue is unreachable or reports that it is out of service; nothing changed."""


class RateLimited(VenueUnavailable):
    """The venue, or the client-side rate limiter, refused a request; nothing changed."""

    def __init__(self, code: str, message: str = "", retry_after: float = 0.0) -> None:
        super().__init__(code, message)
        self.retry_after = retry_after
        """Seconds until the next request is allowed."""

    def __reduce__(self) -> tuple[type[VenueError], tuple[object, ...]]:
        return type(self), (self.code, self.message, self.retry_after)


class Unauthenticated(VenueError):
    """The venue rejects the key, the signature or the timestamp; nothing changed."""

    terminal = True


class OutcomeUnknown(VenueError):
    """The request was sent, but no response says whether the venue executed it."""


class ProtocolError(VenueError):
    """The venue's response is not what the adapter expects, such as a maintenance page instead of JSON."""


class ReplayError(MelticaError):
    """A recording cannot be replayed: it is missing, damaged, or in an unknown format."""


class DatabaseError(MelticaError):
    """The database cannot be used in its current state."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be started or reached, or the connection was lost during use."""


class ChangeInDoubt(DatabaseUnavailable):
    """A write was sent, and whether it was committed is unknown until the database responds."""


class LockNotHeld(DatabaseUnavailable):
    """The gateway does not hold the lock of its database, so nothing was written."""


class MigrationError(DatabaseError):
    """A migration failed, or the database's migrations are not those of this version of Meltica."""


class GatewayAlreadyRunning(DatabaseError):
    """Another gateway holds the database; the message names its host and process."""


class AlreadyExists(MelticaError):
    """A provider or an instance of that name exists already."""


class NotFound(MelticaError):
    """A provider, instance, adapter or strategy of that name does not exist."""


class Conflict(MelticaError):
    """The operation does not fit the current state: starting what is running, stopping what is not."""


class StrategyRaised(LambdaError):
    """Strategy code raised an error, of which only the text is kept: its `__str__` may do anything."""


class StartError(LambdaError):
    """A lambda could not be started, because of its file, its config, its `__init__` or its `on_start`."""


class AddressInUse(MelticaError):
    """The control plane's address is in use, or the process may not listen on it."""


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Returns the candidate that `name` was probably meant to be, or None when none is close."""
    from difflib import get_close_matches

    normalized = {_normalize(candidate): candidate for candidate in candidates}
    close = get_close_matches(_normalize(name), normalized, n=1, cutoff=0.6)
    return normalized[close[0]] if close else None


NAMED: Final = 50
"""How many candidates an error lists."""


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """Returns ``; did you mean `x`?`` when a candidate is close, else the first NAMED of the candidates."""
    names = list(candidates)
    close = nearest(name, names)
    if close is not None:
        return f"; did you mean `{close}`?"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"; expected one of {', '.join(names[:NAMED])}{more}" if names else "; none are defined"


def _normalize(name: str) -> str:
    return name.replace("_", "").replace("-", "").replace(".", "").lower()


class Overdue(TimeoutError):
    """A call exceeded its time limit; distinct from a TimeoutError that the call itself raises."""


LONGEST_LINE: Final = 8192
"""Characters of an error on one line; the rest is left out."""


def plain(text: str) -> str:
    """Returns a text that JSON and the database can hold: valid Unicode without NUL, and no subclass."""
    # Of a subclass of `str`, the methods may be overridden.
    exact = str.encode(text, "utf-8", "replace").decode()
    return exact.replace("\0", "\N{REPLACEMENT CHARACTER}")


def one_line(error: BaseException) -> str:
    """Formats an error as one line; the class name is left out for Meltica's own errors.

    Runs the `__str__` of the error: call it on the thread of the strategy that raised it.
    """
    name = type(error).__name__
    try:
        text = " ".join(plain(str(error)).split())
    except Exception:
        return plain(name)
    if len(text) > LONGEST_LINE:
        text = f"{text[:LONGEST_LINE]} [... {len(text) - LONGEST_LINE:,} characters ...]"
    if isinstance(error, MelticaError | Overdue) and text:
        return text
    return plain(f"{name}: {text}" if text else name)
