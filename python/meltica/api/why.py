"""`/strategy/instances/{id}/why`: why an instance gets no event, or why its orders do not go out."""

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.runtime.lifecycle import InstanceState


class Cause(Schema, frozen=True, kw_only=True):
    """One cause, and what ends it."""

    kind: str
    """What is wrong; never reworded."""
    subject: str
    """What it is about: the instance, a provider, a symbol, a scope, an account, or an order."""
    detail: str
    """Text for people."""
    remedy: str
    """What ends it: a command, or what to change."""
    count: int | UnsetType = UNSET
    """With `refused`: how many orders the rule refused in the last 24 h."""
    last: int | UnsetType = UNSET
    """With `refused`: when it refused the latest one."""


class Why(Schema, frozen=True, kw_only=True):
    """The causes, those of the instance first."""

    id: str
    status: InstanceState
    """The actual state."""
    running: bool
    """True if `status` is `running` or `stuck`."""
    causes: list[Cause]
    """Empty if nothing prevents events or orders."""
