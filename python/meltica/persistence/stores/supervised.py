"""Stores of what is run: each row says what a thing is, what is wanted of it and how it goes.

The statements are made of the fields of two structs: the row's are the columns, the spec's what callers
write of them, the desired and the actual state apart.
"""

from typing import Any, ClassVar, Generic, Literal, LiteralString, Protocol, TypeVar

from psycopg.sql import SQL, Composed, Identifier, Placeholder
from psycopg.types.json import Jsonb

from meltica.persistence.database import Database
from meltica.persistence.stores.store import Store
from meltica.runtime.lifecycle import Desired

Origin = Literal["baseline", "dynamic"]


class Declared(Protocol):
    """What something is: a frozen `msgspec.Struct`."""

    __struct_fields__: ClassVar[tuple[str, ...]]

    @property
    def enabled(self) -> bool | None:
        """What the file says; None for what is not from the file."""
        ...


class Stateful(Protocol):
    """A row: a struct too. `updated_at` tells of the spec and the desired state, not of the actual one."""

    __struct_fields__: ClassVar[tuple[str, ...]]

    @property
    def origin(self) -> Origin:
        """`baseline` when the configuration file declares it."""
        ...

    @property
    def enabled(self) -> bool | None:
        """What the file said last; None for what is not from the file."""
        ...

    @property
    def desired(self) -> Desired:
        """What was asked for last."""
        ...


Spec = TypeVar("Spec", bound=Declared)
StateRow = TypeVar("StateRow", bound=Stateful)
State = TypeVar("State", bound=str)


class StateStore(Store[StateRow], Generic[StateRow, Spec, State]):
    """A table of rows, by their key."""

    def __init__(
        self,
        database: Database,
        row: type[StateRow],
        spec: type[Spec],
        noun: str,
        table: LiteralString,
        key: LiteralString,
    ) -> None:
        fields = spec.__struct_fields__
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

        made = self._made
        super().__init__(database, row, noun, key, made("select {columns} from {table}"))
        self._add = made(
            "insert into {table} ({names}, desired) values ({values}, %(desired)s)"
            " on conflict do nothing returning {columns}"
        )
        self._update = made(
            "update {table} set {changes}, desired = coalesce(%(desired)s, desired), updated_at = now()"
            " where {key} returning {columns}"
        )
        self._set_desired = made(
            "update {table} set desired = %(desired)s, updated_at = now() where {key} returning {columns}"
        )
        self._set_actual = made(
            "update {table} set actual = %(actual)s,"
            " last_error = nullif(coalesce(%(error)s::text, last_error), '') where {key} returning {columns}"
        )
        self._delete = made("delete from {table} where {key} returning {columns}")

    async def add(self, spec: Spec, desired: Desired = Desired.STOPPED) -> StateRow:
        """Stores something new, pending. Raises AlreadyExists."""
        values = self._values(spec)
        return await self._insert(values[self._key], self._add, {**values, "desired": desired})

    async def update(self, spec: Spec, desired: Desired | None = None) -> StateRow:
        """Replaces what it is, and if one is given the desired state; the rest stays. Raises NotFound."""
        values = self._values(spec)
        return await self._change(values[self._key], self._update, {**values, "desired": desired})

    async def set_desired(self, key: str, desired: Desired) -> StateRow:
        """Stores what the operator wants. Raises NotFound."""
        return await self._change(key, self._set_desired, {self._key: key, "desired": desired})

    async def set_actual(self, key: str, actual: State, error: str | None = None) -> StateRow:
        """Stores how it goes. Without `error` the last one stays; an empty one clears it. Raises NotFound."""
        values = {self._key: key, "actual": actual, "error": error}
        return await self._change(key, self._set_actual, values)

    async def delete(self, key: str) -> None:
        """Removes it; orders and balances that name it stay. Raises NotFound."""
        await self._remove(key, self._delete)

    def _made(self, text: LiteralString) -> Composed:
        """Returns a statement about this table."""
        return SQL(text).format(**self._parts)

    def _values(self, spec: Spec) -> dict[str, Any]:
        # The one place where a spec enters the database; it leaves it where `Store` makes rows.
        values = ((name, getattr(spec, name)) for name in spec.__struct_fields__)
        return {name: Jsonb(value) if isinstance(value, dict) else value for name, value in values}


def _names(fields: tuple[str, ...]) -> Composed:
    return SQL(", ").join(map(Identifier, fields))
