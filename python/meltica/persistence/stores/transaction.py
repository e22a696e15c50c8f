"""A transaction over several stores: all of them change, or none."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection

from meltica.errors import ChangeInDoubt, DatabaseError, DatabaseUnavailable
from meltica.persistence.database import Database, error_text
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.store import WRITE_TIMEOUT, Store


@asynccontextmanager
async def transaction(
    database: Database, lock: GatewayLock, stores: Sequence[Store[Any]], subject: str, failed: str
) -> AsyncGenerator[AsyncConnection]:
    """Yields the connection of a transaction that proves the epoch of the gateway. No store writes meanwhile.

    The stores are read again after the commit. `subject` and `failed` begin messages.

    Raises LockNotHeld, DatabaseUnavailable, ChangeInDoubt when the outcome is unknown, and DatabaseError when
    the database refuses the change.
    """
    epoch = lock.epoch
    async with AsyncExitStack() as stack:
        for store in stores:
            await stack.enter_async_context(store.writing)
        committing = False
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                async with database.connection() as connection, connection.transaction():
                    await lock.prove(connection, epoch)
                    yield connection
                    committing = True
                for store in stores:
                    await store.read_again()
        except (TimeoutError, DatabaseUnavailable) as error:
            text = str(error) or f"the database did not respond within {WRITE_TIMEOUT:g} s"
            if not committing:
                kind = DatabaseUnavailable if isinstance(error, TimeoutError) else type(error)
                raise kind(f"{failed}, nothing changed: {text}") from None
            for store in stores:
                store.doubt()
            raise ChangeInDoubt(
                f"{subject}: outcome unknown: {text}; it is read when the database responds"
            ) from None
        except psycopg.Error as error:
            text = f"{failed}, nothing changed: the database refused it: {error_text(error)}"
            raise DatabaseError(text) from error
