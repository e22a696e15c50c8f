"""`ManagedInstance`: an instance and its life cycle, as the manager keeps it."""

import asyncio
from typing import TYPE_CHECKING, Any

from meltica.runtime.lifecycle import Desired, InstanceState

if TYPE_CHECKING:
    from meltica._core import Host
    from meltica.lambdas.base import Lambda
    from meltica.lambdas.instances import LambdaInstance
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.stores.instances import InstanceRow


class ManagedInstance:
    """An instance and its life cycle. Only the loop's thread uses it."""

    def __init__(self, spec: "LambdaSpec", row: "InstanceRow") -> None:
        self.spec = spec
        self._row = row
        self.desired = Desired.STOPPED
        self.actual = InstanceState.PENDING
        self.last_error: str | None = None
        self.lock = asyncio.Lock()
        self.strategy: type[Lambda] | None = None
        """The class of the current or last run."""
        self.run: LambdaInstance | None = None
        """The current run, or the last one."""
        self.host: Host | None = None
        self.attempt: object = None
        """Token of the latest start; a start whose token is outdated was abandoned and must undo itself."""
        self.waiting: asyncio.Future[None] | None = None
        """The wait of a start until the accounts are reconciled; cancelling it ends the start."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.spec.id

    def latest(self, row: "InstanceRow | None") -> "InstanceRow":
        """Returns its row, which is `row`; if it has none any more, the last one."""
        self._row = row or self._row
        return self._row

    @property
    def running(self) -> bool:
        """Whether events are delivered to it, now or once its long-running callback returns."""
        stuck = self.actual is InstanceState.STUCK and self.run is not None and self.run.state == "running"
        return stuck or self.actual is InstanceState.RUNNING

    @property
    def abandoned(self) -> bool:
        """Whether its run was abandoned because a callback outlasted the stop."""
        return self.run is not None and self.run.state == "stuck"

    @property
    def in_callback_ns(self) -> int:
        """How long the current callback, which may be `on_start`, has been running."""
        return 0 if self.run is None else self.run.core.in_callback_ns

    def stats(self) -> dict[str, Any] | None:
        """Returns the counters of the current or last run, None before the first."""
        return None if self.run is None else self.run.stats()
