"""Errors of strategy code, described on the thread that ran it."""

import errno
from collections.abc import Callable
from typing import Final, TypeVar

from meltica.errors import MelticaError, Overdue, StrategyRaised, one_line

NO_DESCRIPTOR: Final = errno.EMFILE, errno.ENFILE
"""Errors for a lack of file descriptors."""

T = TypeVar("T")


def described(function: Callable[[], T]) -> T:
    """Calls a function that runs strategy code, for a caller on another thread.

    An error of a class of the strategy raises StrategyRaised instead, with the same traceback: formatting or
    releasing such an error runs code of the strategy, which may take any time.
    """
    try:
        return function()
    except Exception as error:
        if _is_own(error):
            raise
        failure = StrategyRaised(one_line(error)).with_traceback(error.__traceback__)
    raise failure


def is_explained(error: Exception) -> bool:
    """Returns whether the text of an error is enough, so that the log shows no traceback."""
    return _is_own(error) and not isinstance(error, StrategyRaised)


def _is_own(error: Exception) -> bool:
    """Returns whether an error is one of Meltica or of the system, whose text a strategy does not make."""
    if type(error) is OSError:
        return error.errno in NO_DESCRIPTOR
    return isinstance(error, MelticaError | Overdue) and type(error).__module__.partition(".")[0] == "meltica"
