"""What an instance requests, and the refusals of it; those that risk has not seen are recorded as well."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, NoReturn, ParamSpec, Protocol, TypeVar

from meltica.errors import OrderRefused
from meltica.trading.order import Intent


class Recorder(Protocol):
    """What the methods belong to."""

    def intend(self) -> Intent:
        """Returns the intent of a request that begins now."""
        ...

    def refused(self, error: OrderRefused, intent: Intent, /) -> None:
        """Records a refusal, unless it is recorded."""
        ...


R = TypeVar("R", bound=Recorder)
P = ParamSpec("P")
T = TypeVar("T")


def recorded(method: Callable[Concatenate[R, Intent, P], T]) -> Callable[Concatenate[R, P], T]:
    """Returns a method that passes the intent of each call, and records each refusal that it raises."""

    @wraps(method)
    def call(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        intent = self.intend()
        try:
            return method(self, intent, *args, **kwargs)
        except OrderRefused as error:
            if not error.recorded:
                self.refused(error, intent)
            raise

    return call


def refuse_scope(text: str) -> NoReturn:
    """Raises the refusal of a symbol or provider outside the scope of an instance."""
    raise OrderRefused("out_of_scope", f"{text} of the instance")
