"""Refusals of what an instance trades through; those that risk has not seen are recorded as well."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, NoReturn, ParamSpec, Protocol, TypeVar

from meltica.errors import OrderRefused


class Recorder(Protocol):
    """What the methods belong to."""

    def refused(self, error: OrderRefused, /) -> None:
        """Records a refusal, unless it is recorded."""
        ...


R = TypeVar("R", bound=Recorder)
P = ParamSpec("P")
T = TypeVar("T")


def recorded(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], T]:
    """Returns a method that records each refusal that it raises."""

    @wraps(method)
    def call(self: R, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except OrderRefused as error:
            if not error.recorded:
                self.refused(error)
            raise

    return call


def refuse_scope(text: str) -> NoReturn:
    """Raises the refusal of a symbol or provider outside the scope of an instance."""
    raise OrderRefused("out_of_scope", f"{text} of the instance")
