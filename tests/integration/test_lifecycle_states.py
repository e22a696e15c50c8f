"""Every place that lists life-cycle states lists those of the enums: SQL checks, REST schemas and docs."""

import re
from enum import StrEnum
from typing import get_type_hints

import psycopg
import pytest

from meltica.api.instances import InstanceDetail
from meltica.api.providers import ProviderDetail
from meltica.runtime.lifecycle import Desired, InstanceState, ProviderState
from tests.support.paths import ROOT

CHECKS: tuple[tuple[str, str, type[StrEnum]], ...] = (
    ("providers", "desired", Desired),
    ("providers", "actual", ProviderState),
    ("instances", "desired", Desired),
    ("instances", "actual", InstanceState),
)


@pytest.mark.parametrize(("table", "column", "states"), CHECKS)
def test_sql_checks(database_url: str, table: str, column: str, states: type[StrEnum]) -> None:
    query = """
        select pg_get_constraintdef(c.oid) from pg_constraint c
        join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
        where c.contype = 'c' and c.conrelid = %s::regclass and a.attname = %s
    """
    with psycopg.connect(database_url) as connection:
        definitions = connection.execute(query, (table, column)).fetchall()
    listed = [set(re.findall(r"'(\w+)'::text", text)) for (text,) in definitions]
    assert listed == [set(states)]


@pytest.mark.parametrize(
    ("schema", "states"), [(ProviderDetail, ProviderState), (InstanceDetail, InstanceState)]
)
def test_rest_schemas(schema: type, states: type[StrEnum]) -> None:
    hints = get_type_hints(schema)
    assert (hints["status"], hints["desired"]) == (states, Desired)


@pytest.mark.parametrize(
    ("page", "line", "states"),
    [
        ("gateway.md", "| providers |", ProviderState),
        ("gateway.md", "| lambdas |", InstanceState),
        ("TELEMETRY_POINTS.md", "`meltica_provider_state`", ProviderState),
        ("TELEMETRY_POINTS.md", "`meltica_lambda_state`", InstanceState),
    ],
)
def test_docs(page: str, line: str, states: type[StrEnum]) -> None:
    text = next(row for row in (ROOT / "docs" / page).read_text().splitlines() if line in row)
    words = [word for word in re.findall(r"`(\w+)`", text) if word in set(InstanceState)]
    assert words == list(states)
