"""Errors of strategy code, described on the thread that ran it."""

import errno
import traceback
from collections.abc import Callable
from typing import Any, Final, TypeVar

from meltica.errors import MelticaError, Overdue, StrategyRaised, one_line

NO_DESCRIPTOR: Final = errno.EMFILE, errno.ENFILE
"""Errors for a lack of file descriptors."""

T = TypeVar("T")


def described(function: Callable[[], T]) -> T:
    """Calls a function that runs strategy code, for a caller on another thread.

    - An error of a class of the strategy, or one that has values of a strategy, raises StrategyRaised
      instead, with the same traceback: formatting or releasing it runs code of the strategy, which may take
      any time.
    - For the same reason, the error has neither a cause nor the variables of its frames.
    """
    try:
        return function()
    except BaseException as error:
        _clear(error, set())
        if isinstance(error, Exception) and _is_own(error) and _is_plain([error.args, vars(error)]):
            error.__cause__ = error.__context__ = None
            failure = error
        else:
            failure = StrategyRaised(one_line(error)).with_traceback(error.__traceback__)
    try:
        raise failure
    finally:
        # The traceback has this frame.
        del failure


def is_explained(error: Exception) -> bool:
    """Returns whether the text of an error is enough, so that the log shows no traceback."""
    return _is_own(error) and not isinstance(error, StrategyRaised)


def _is_own(error: Exception) -> bool:
    """Returns whether an error is one of Meltica or of the system, whose text a strategy does not make."""
    if type(error) is OSError:
        return error.errno in NO_DESCRIPTOR
    return isinstance(error, MelticaError | Overdue) and type(error).__module__.partition(".")[0] == "meltica"


def _is_plain(value: object) -> bool:
    """Returns whether releasing a value runs no code of a strategy."""
    parts: Any = value
    if type(value) in (list, tuple):
        return all(_is_plain(each) for each in parts)
    if type(value) is dict:
        return all(_is_plain(each) for pair in parts.items() for each in pair)
    return type(value).__module__.partition(".")[0] in ("builtins", "decimal", "meltica")


def _clear(error: BaseException, cleared: set[int]) -> None:
    """Drops the variables of the frames of an error, and of those that it came from."""
    cleared.add(id(error))
    traceback.clear_frames(error.__traceback__)
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        if isinstance(other, BaseException) and id(other) not in cleared:
            _clear(other, cleared)
