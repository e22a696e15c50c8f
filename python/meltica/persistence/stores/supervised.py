"""Base class of the stores of supervised components: declaration, desired state and actual state.

The SQL statements are generated from the fields of two structs. The fields of the row are the columns; the
fields of the record are the columns that callers declare. Desired and actual state are written separately.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, LiteralString, Protocol, TypeVar

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composed, Identifier, Placeholder
from psycopg.types.json import Jsonb

from meltica.errors import Conflict
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.store import Store
from meltica.runtime.lifecycle import Desired

Origin = Literal["baseline", "dynamic"]


class Declared(Protocol):
    """The declaration of a component: a frozen `msgspec.Struct`."""

    __struct_fields__: ClassVar[tuple[str, ...]]

    @property
    def enabled(self) -> bool | None:
        """`enabled` in the configuration file; None when the file does not declare the component."""
        ...


class Stateful(Protocol):
    """A row, also a struct. Changes of the actual state do not affect `updated_at`."""

    __struct_fields__: ClassVar[tuple[str, ...]]

    @property
    def origin(self) -> Origin:
        """`baseline` when the configuration file declares it."""
        ...

    @property
    def enabled(self) -> bool | None:
        """`enabled` at the last reading of the file; None when the file does not declare the component."""
        ...

    @property
    def desired(self) -> Desired:
        """The state that the operator requested last."""
        ...


Spec = TypeVar("Spec", bound=Declared)


@dataclass(frozen=True)
class RowChanges(Generic[Spec]):
    """Rows to be written together. What is created or updated is to be stopped."""

    removed: Sequence[str] = ()
    """Deleted first, so that a key may also be created."""
    updated: Sequence[Spec] = ()
    created: Sequence[Spec] = ()


StateRow = TypeVar("StateRow", bound=Stateful)
State = TypeVar("State", bound=str)


class StateStore(Store[StateRow], Generic[StateRow, Spec, State]):
    """A table of components, by their key."""

    def __init__(
        self,
        database: Database,
        row: type[StateRow],
        spec: type[Spec],
        noun: str,
        table: LiteralString,
        key: LiteralString,
        lock: GatewayLock | None = None,
    ) -> None:
        fields = self._declared = spec.__struct_fields__
        self._parts = {
            "table": Identifier(table),
            "columns": _names(row.__struct_fields__),
            "key": SQL("{} = {}").format(Identifier(key), Placeholder(key)),
            "names": _names(fields),
            "values": SQL(", ").join(map(Placeholder, fields)),
            "changes": SQL(", ").join(
                SQL("{} = {}").format(Identifier(name), Placeholder(name)) for name in fields if name != key
            ),
        }

        statement = self._statement
        super().__init__(database, row, noun, key, statement("select {columns} from {table}"), lock)
        self._add = statement(
            "insert into {table} ({names}, desired) values ({values}, %(desired)s)"
            " on conflict do nothing returning {columns}"
        )
        self._update = statement(
            "update {table} set {changes}, desired = coalesce(%(desired)s, desired), updated_at = now()"
            " where {key} returning {columns}"
        )
        self._set_desired = statement(
            "update {table} set desired = %(desired)s, updated_at = now() where {key} returning {columns}"
        )
        self._set_actual = statement(
            "update {table} set actual = %(actual)s,"
            " last_error = nullif(coalesce(%(error)s::text, last_error), '') where {key} returning {columns}"
        )
        self._keep_absent = statement(
            "update {table} set enabled = false, desired = 'stopped', actual = 'stopped', updated_at = now()"
            " where {key} returning {columns}"
        )
        self._delete = statement("delete from {table} where {key} returning {columns}")

    async def add(self, spec: Spec, desired: Desired = Desired.STOPPED) -> StateRow:
        """Inserts a component in state pending. Raises AlreadyExists."""
        values = self._values(spec)
        return await self._insert(values[self._key], self._add, {**values, "desired": desired}, "create")

    async def update(self, spec: Spec, desired: Desired | None = None) -> StateRow:
        """Replaces the declaration of a component and, if given, its desired state. Raises NotFound."""
        values = self._values(spec)
        return await self._change(values[self._key], self._update, {**values, "desired": desired}, "update")

    async def set_desired(self, key: str, desired: Desired) -> StateRow:
        """Stores the desired state. Raises NotFound."""
        action = "start" if desired is Desired.RUNNING else "stop"
        return await self._change(key, self._set_desired, {self._key: key, "desired": desired}, action)

    async def set_actual(self, key: str, actual: State, error: str | None = None) -> StateRow:
        """Stores the actual state; `error` None keeps the last error, "" clears it. Raises NotFound."""
        values = {self._key: key, "actual": actual, "error": error}
        return await self._change(key, self._set_actual, values)

    async def keep_absent(self, key: str) -> StateRow:
        """Stops a component that is no longer in the file; its return enables it. Raises NotFound."""
        return await self._change(key, self._keep_absent, {self._key: key}, "stop")

    async def delete(self, key: str) -> None:
        """Deletes a component; orders and balances that refer to it remain. Raises NotFound."""
        await self._remove(key, self._delete, "delete")

    async def apply(self, connection: AsyncConnection, changes: RowChanges[Spec]) -> None:
        """Writes rows in the transaction of a connection, for the holder of `writing`.

        Raises Conflict for a row that was created or deleted meanwhile.
        """
        stopped = {"desired": Desired.STOPPED}
        statements: list[tuple[Composed, dict[str, Any]]] = [
            *((self._delete, {self._key: key}) for key in changes.removed),
            *((self._update, self._values(spec) | stopped) for spec in changes.updated),
            *((self._add, self._values(spec) | stopped) for spec in changes.created),
        ]
        for query, values in statements:
            if await (await connection.execute(query, values)).fetchone() is None:
                text = "was created or deleted meanwhile"
                raise Conflict(f"nothing changed: {self._noun} `{values[self._key]}` {text}; retry")

    def _audited(self, row: StateRow) -> dict[str, object]:
        """Returns the declaration and the desired state: what the gateway does by itself is not audited."""
        shown = super()._audited(row)
        return {name: shown[name] for name in (*self._declared, "desired")}

    def _statement(self, text: LiteralString) -> Composed:
        """Returns a statement for this table."""
        return SQL(text).format(**self._parts)

    def _values(self, spec: Spec) -> dict[str, Any]:
        # The one place where a spec enters the database; it leaves it where `Store` makes rows.
        values = ((name, getattr(spec, name)) for name in spec.__struct_fields__)
        return {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values}


def _names(fields: tuple[str, ...]) -> Composed:
    return SQL(", ").join(map(Identifier, fields))
