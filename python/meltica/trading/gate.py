"""`Gate`: why no order leaves, of anybody or of one instance. The caller holds the lock of trading."""

from uuid import UUID

from meltica.trading.order import Owner

INSTANCE_STOPPING = "instance_stopping"
LEDGER_FROZEN = "ledger_frozen"
SUPERSEDED = "superseded"


class Gate:
    """What keeps orders from leaving, beside accounts and risk. Cancels leave, unless `rival`."""

    def __init__(self) -> None:
        self.blocked: str | None = None
        """Why no order may leave at all, such as `lock_not_held`; None otherwise."""
        self.rival = False
        """Whether another gateway is known to trade, or has traded, on the database: no cancel leaves."""
        self.frozen: frozenset[str] = frozenset()
        """Instances of which a fill could not be stored, so that their ledger is no longer written."""
        self.operators: set[UUID] = set()
        """Orders of an operator, which leave although their instance does not run."""
        self._stopping: set[Owner] = set()

    def close(self, owner: Owner) -> None:
        """Lets no further order of an owner leave."""
        self._stopping.add(owner)

    def open(self, owner: Owner) -> None:
        """Lets orders of an owner leave again."""
        self._stopping.discard(owner)

    def obstacle(self, owner: Owner, order: UUID | None = None) -> str | None:
        """Returns why no order of an owner, or not this one, leaves; None if orders may leave."""
        if self.blocked is not None:
            return self.blocked
        if owner in self._stopping and order not in self.operators:
            return INSTANCE_STOPPING
        return LEDGER_FROZEN if owner.instance in self.frozen else None
