"""`Gate`: why no order leaves, of anybody or of one instance. The caller holds the lock of trading."""

from uuid import UUID

from meltica._core import ChangeLock
from meltica.trading.order import Owner

INSTANCE_STOPPING = "instance_stopping"
LEDGER_FROZEN = "ledger_frozen"
SUPERSEDED = "superseded"
TRADING_FAILED = "trading_failed"


class Gate:
    """What keeps orders from leaving, beside accounts and risk. Cancels leave, unless `rival`."""

    def __init__(self, lock: ChangeLock) -> None:
        self.blocked: str | None = None
        """Why no order may leave at all, such as `lock_not_held`; None otherwise."""
        self._lock = lock
        self._failure: BaseException | None = None
        self.rival = False
        """Whether another gateway is known to trade, or has traded, on the database: no cancel leaves."""
        self.frozen: frozenset[str] = frozenset()
        """Instances of which a fill could not be stored, so that their ledger is no longer written."""
        self.operators: set[UUID] = set()
        """Orders of an operator, which leave although their instance does not run."""
        self._stopping: set[Owner] = set()

    @property
    def failure(self) -> BaseException | None:
        """The unexpected exception after which what is in memory is not trusted."""
        return self._failure or self._lock.failure

    def fail(self, error: BaseException) -> bool:
        """Lets no order leave any more; returns False if that was done before."""
        first = self._failure is None
        self._failure = self._failure or error
        return first

    def close(self, owner: Owner) -> None:
        """Lets no further order of an owner leave."""
        self._stopping.add(owner)

    def open(self, owner: Owner) -> None:
        """Lets orders of an owner leave again."""
        self._stopping.discard(owner)

    def obstacle(self, owner: Owner, order: UUID | None = None) -> str | None:
        """Returns why no order of an owner, or not this one, leaves; None if orders may leave."""
        if self.failure is not None:
            return TRADING_FAILED
        if self.blocked is not None:
            return self.blocked
        if owner in self._stopping and order not in self.operators:
            return INSTANCE_STOPPING
        return LEDGER_FROZEN if owner.instance in self.frozen else None
