"""Pages of a history: `limit` rows after a cursor, the latest first.

A cursor names the last row of a page, so that rows that are added meanwhile move nothing. Clients get it with
the page and send it back as it is.
"""

from collections.abc import Callable
from typing import Annotated, TypeVar

from litestar.params import QueryParameter
from msgspec import UNSET, UnsetType

from meltica.http.errors import HttpError
from meltica.persistence.stores.trading.queries import MAX_LIMIT, Page

Row = TypeVar("Row")

Cursor = Annotated[str | None, QueryParameter(description="The `cursor` of the page before.")]


__all__ = ["MAX_LIMIT", "Cursor", "next_cursor", "numbers"]


def numbers(cursor: str | None, count: int = 1) -> tuple[int, ...] | None:
    """Returns the numbers of a cursor. Raises HttpError."""
    if cursor is None:
        return None
    parts = cursor.split("-")
    if len(parts) != count or not all(
        each.isascii() and each.isdigit() and len(each) <= 18 for each in parts
    ):
        raise HttpError(
            400, "invalid_parameter", f"`cursor`: expected that of a response, saw {cursor[:40]!r}"
        )
    return tuple(map(int, parts))


def next_cursor(page: Page[Row], cursor: Callable[[Row], object]) -> str | UnsetType:
    """Returns the cursor of the next page; absent on the last one."""
    return str(cursor(page.rows[-1])) if page.has_more else UNSET
