"""Pages of lists: `limit` rows after a cursor.

A cursor names the last row of a page by what the list is sorted by, so that rows that are added or removed
meanwhile move nothing. Clients get it with the page and send it back as it is.
"""

import base64
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from litestar.params import QueryParameter
from msgspec import UNSET, UnsetType

from meltica.control.bodies import bad_parameter
from meltica.persistence.stores.trading.queries import MAX_LIMIT, Page

Row = TypeVar("Row")
Key = TypeVar("Key", bound=tuple[object, ...])

Cursor = Annotated[str | None, QueryParameter(description="The `cursor` of the page before.")]
Limit = Annotated[int, QueryParameter(ge=1, description="At most 500; a higher number counts as 500.")]
AnyLimit = Annotated[int | None, QueryParameter(ge=1, description="All without it.")]
__all__ = ["MAX_LIMIT", "AnyLimit", "Cursor", "Limit", "key_of", "next_cursor", "page_of"]


def key_of(cursor: str | None, kind: type[Key]) -> Key | None:
    """Returns the key of the last row of the page before. Raises HttpError."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        key = msgspec.json.decode(text, type=kind)
    except ValueError:  # also for what is not base64, not JSON, or of another list
        key = None
    if key is None or any("\0" in each for each in key if isinstance(each, str)):
        raise bad_parameter("cursor", f"expected that of a response, saw {cursor[:40]!r}")
    return key


def next_cursor(page: Page[Row], key: Callable[[Row], tuple[object, ...]]) -> str | UnsetType:
    """Returns the cursor of the next page; absent on the last one."""
    if not page.has_more:
        return UNSET
    return base64.urlsafe_b64encode(msgspec.json.encode(key(page.rows[-1]))).decode().rstrip("=")


def page_of(
    rows: Iterable[Row],
    key: Callable[[Row], tuple[Any, ...]],
    after: tuple[Any, ...] | None,
    limit: int | None,
) -> Page[Row]:
    """Returns a page of rows in memory, which are sorted by their keys; all of them without a limit."""
    found = sorted((row for row in rows if after is None or key(row) > after), key=key)
    return Page(found[:limit], limit is not None and len(found) > limit)
