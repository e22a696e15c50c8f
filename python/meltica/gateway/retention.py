"""Retention: deletes rows that are older than they are kept, and measures the tables.

Both run on the gateway's loop with the connections of the control plane, so neither delays an order: trading
has a loop and connections of its own, and rows are deleted in short transactions.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from meltica._core import Metrics
from meltica.errors import DatabaseError, one_line
from meltica.persistence.stores.outbox import Outbox
from meltica.persistence.stores.trading.retention import prune
from meltica.persistence.table_sizes import TableSize, table_sizes
from meltica.telemetry.families import counter, gauge
from meltica.telemetry.registry import Reading

if TYPE_CHECKING:
    from meltica.persistence.database import Database
    from meltica.settings.model import RetentionSettings

PRUNE_SECONDS: Final = 3600.0
MEASURE_SECONDS: Final = 60.0
_TABLES: Final[tuple[str, ...]] = (
    "refusals",
    "dead_letters",
    "reconciliations",
    "balances",
    "commits",
    "outbox",
)

log = logging.getLogger("meltica.gateway")


class Retention:
    """Prunes and measures the tables of a gateway, from `start` to `stop`."""

    def __init__(self, database: "Database", keep: "RetentionSettings") -> None:
        self._database = database
        self._keep = keep
        self._sizes: list[TableSize] = []
        self._deleted: dict[str, int] = dict.fromkeys(_TABLES, 0)
        self._pruned_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Measures the tables, and starts the task. Raises DatabaseError."""
        await self.measure()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="meltica-retention")

    async def stop(self) -> None:
        """Ends the task. A batch that is being deleted is rolled back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def prune(self) -> None:
        """Deletes what is too old, in batches. Raises DatabaseError."""
        keep = self._keep
        deleted = await prune(
            self._database,
            {
                "refusals": keep.refusals,
                "dead_letters": keep.dead_letters,
                "reconciliations": keep.reconciliations,
                "balances": keep.balances,
            },
        )
        outbox, events = Outbox(self._database), 0
        while count := await outbox.prune(keep.events.total_seconds()):
            events += count
        for table, count in {**deleted, "outbox": events}.items():
            self._deleted[table] = self._deleted.get(table, 0) + count

    async def measure(self) -> None:
        """Reads the sizes of the tables. Raises DatabaseError."""
        self._sizes = await table_sizes(self._database)

    def metrics(self) -> Reading:
        """Returns the sizes as they were last read, and how many rows were deleted."""
        sizes, deleted = self._sizes, dict(self._deleted)
        return lambda: _metrics(sizes, deleted)

    async def _run(self) -> None:
        failure: str | None = None
        while True:
            try:
                if time.monotonic() >= self._pruned_at + PRUNE_SECONDS:
                    await self.prune()
                    self._pruned_at = time.monotonic()
                await self.measure()
                failure = None
            except DatabaseError as error:
                if failure is None:
                    failure = one_line(error)
                    log.warning("old rows not deleted, retried each minute: %s", failure)
            except Exception:
                log.exception("old rows not deleted, retried in a minute")
            await asyncio.sleep(MEASURE_SECONDS)


def _metrics(sizes: list[TableSize], deleted: Mapping[str, int]) -> Iterator[Metrics]:
    labels, bytes_of = ("table",), [((each.table,), each.bytes) for each in sizes]
    yield gauge("meltica_db_table_bytes", "Size of a table with its indexes.", labels, bytes_of)
    rows = [((each.table,), each.rows) for each in sizes]
    yield gauge("meltica_db_table_rows", "Number of rows of a table, as estimated.", labels, rows)
    text = "Rows that were deleted because of their age."
    yield counter("meltica_db_rows_pruned", text, labels, [((name,), n) for name, n in deleted.items()])
