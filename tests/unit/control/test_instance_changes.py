"""The strategy of an instance in the body of a request: what it selects, and what counts as no change."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from meltica.api.instances import StrategyRequest
from meltica.control.instance_changes import is_same, selector_of
from meltica.persistence.stores.instances import InstanceRow
from meltica.runtime.lifecycle import Desired, InstanceState

HASH, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
GRID: dict[str, Any] = {"strategy": "grid", "selector": "grid:latest", "tag": "latest"}
PINNED: dict[str, Any] = {"strategy": "grid", "selector": f"grid@{HASH}"}
SHIPPED: dict[str, Any] = {"strategy": "large-trades", "selector": "large-trades"}


def row(**values: Any) -> InstanceRow:
    return InstanceRow(
        id="a",
        revision=HASH,
        scope={"p": "*"},
        uid=UUID(int=1),
        desired=Desired.STOPPED,
        actual=InstanceState.STOPPED,
        last_error=None,
        created_at=datetime.now(UTC),
        updated_at=datetime.now(UTC),
        **values,
    )


@pytest.mark.parametrize(
    ("body", "selector"),
    [
        ({"identifier": " grid "}, "grid"),
        ({"identifier": "grid", "tag": "1.0.0"}, "grid:1.0.0"),
        ({"identifier": "grid", "tag": "1.0.0", "hash": HASH}, f"grid@{HASH}"),
        ({"identifier": "grid", "tag": "1", "hash": HASH, "selector": "net:2"}, "net:2"),
        ({"identifier": "grid", "version": "1.0.0"}, "grid"),
        ({"hash": HASH}, HASH),
        ({"tag": "1"}, ""),
        ({"identifier": "grid", "tag": "", "hash": " ", "selector": ""}, "grid"),
    ],
)
def test_selector_decides_else_hash_else_tag_else_the_identifier(body: Any, selector: str) -> None:
    assert selector_of(StrategyRequest(**body)) == selector


@pytest.mark.parametrize(
    ("stored", "body", "same"),
    [
        (GRID, {}, True),
        (GRID, {"identifier": "GRID"}, True),
        (GRID, {"identifier": "net"}, False),
        (GRID, {"identifier": "grid", "selector": "grid:latest", "tag": "latest", "hash": OTHER}, True),
        (GRID, {"selector": "Grid"}, True),
        (GRID, {"selector": "grid:1"}, False),
        (GRID, {"selector": f"grid@{HASH}"}, False),
        (GRID, {"identifier": "grid", "hash": HASH}, True),
        (GRID, {"identifier": "grid", "hash": OTHER}, False),
        (GRID, {"identifier": "net", "hash": HASH}, False),
        (GRID, {"identifier": "grid", "tag": "Latest"}, True),
        (GRID, {"identifier": "grid", "tag": "1"}, False),
        (PINNED, {"identifier": "grid", "selector": f"grid@{HASH}", "hash": HASH}, True),
        (PINNED, {"selector": HASH}, True),
        (PINNED, {"selector": "grid"}, False),
        (PINNED, {"identifier": "grid", "tag": "1"}, False),
        (SHIPPED, {"identifier": "LargeTrades", "hash": OTHER}, True),
        (SHIPPED, {"identifier": "noop"}, False),
    ],
)
def test_what_a_change_may_say_of_the_strategy(stored: Any, body: Any, same: bool) -> None:
    names = {stored["strategy"], stored["selector"], "LargeTrades" if stored is SHIPPED else "grid"}
    assert is_same(StrategyRequest(**body), row(**stored), names) is same
