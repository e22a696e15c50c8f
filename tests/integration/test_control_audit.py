"""`/audit`: who changed what, with filters and a cursor; and `meltica audit list`."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from meltica.cli import cli
from meltica.persistence.stores.audit import AuditEntry, append
from tests.support.gateway import Running

HOUR = 3_600_000


@pytest.fixture(name="entries", scope="module")
def _entries(control: Running) -> list[int]:
    """Five entries of this test; returns their numbers."""

    async def write() -> list[int]:
        database, ids = control.gateway.database, list[int]()
        for number in range(5):
            at = datetime.now(UTC) - timedelta(hours=number)
            entry = AuditEntry(
                actor=f"test {number % 2}",
                action=("listed.one", "listed.two")[number // 3],
                subject=f"s{number}",
                after={"n": number},
                acted_at=at,
            )
            async with database.transaction() as connection:
                await append(connection, entry)
                row = await (await connection.execute("select id from audit_head")).fetchone()
                assert row is not None
                ids.append(row[0])
        return ids

    return control.submit(write()).result(10)


def listed(control: Running, **query: str | int) -> list[str]:
    answer = control.client.get("/audit", params={"action": "listed.", **query})
    assert answer.status_code == 200, answer.text
    return [entry["subject"] for entry in answer.json()["entries"]]


def test_filters_select_entries(control: Running, entries: list[int]) -> None:
    assert listed(control) == ["s4", "s3", "s2", "s1", "s0"]
    assert listed(control, action="listed.two") == ["s4", "s3"]
    assert listed(control, action="listed") == []
    assert listed(control, actor="test 1") == ["s3", "s1"]
    assert listed(control, subject="s3") == ["s3"]
    now = int(datetime.now(UTC).timestamp() * 1000)
    assert listed(control, since=now - HOUR * 3 // 2) == ["s1", "s0"]
    assert listed(control, until=now - HOUR * 3 // 2) == ["s4", "s3", "s2"]
    answer = control.client.get("/audit", params={"subject": "s4"}).json()
    [entry] = answer["entries"]
    assert (entry["id"], entry["actor"], entry["after"]) == (entries[4], "test 0", {"n": 4})
    assert "before" not in entry
    assert (answer["count"], "cursor" in answer) == (1, False)


def test_the_cursor_leads_through_all_entries_once(control: Running, entries: list[int]) -> None:
    found = list[int]()
    query: dict[str, str] = {"action": "listed.", "limit": "2"}
    while True:
        answer = control.client.get("/audit", params=query).json()
        found += [entry["id"] for entry in answer["entries"]]
        if "cursor" not in answer:
            break
        query["cursor"] = answer["cursor"]
    assert found == entries[::-1]


@pytest.mark.parametrize(
    "query",
    [{"cursor": "x"}, {"cursor": str(2**63)}, {"cursor": "-1"}, {"limit": 0}, {"since": -1}],
)
def test_values_that_are_not_valid_are_refused(control: Running, query: dict[str, str]) -> None:
    answer = control.client.get("/audit", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


def test_a_nul_character_is_refused(control: Running) -> None:
    answer = control.client.get("/audit", params={"actor": "\0"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_the_command_lists_them(
    control: Running, entries: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELTICA_TOKEN", control.authorization["authorization"].split()[1])
    command = ["audit", "list", "--url", control.url, "--action", "listed.", "--since", "90m", "--limit", "1"]
    done = CliRunner().invoke(cli, command, standalone_mode=False)
    [heading, row] = [line.split() for line in done.stdout.splitlines()]
    assert heading == ["id", "at", "action", "subject", "by"]
    assert (row[0], row[3:]) == (str(entries[1]), ["listed.one", "s1", "test", "1"])
    shown = json.loads(CliRunner().invoke(cli, [*command, "--json"], standalone_mode=False).stdout)
    assert [entry["id"] for entry in shown["entries"]] == [entries[1]]
    assert shown["cursor"]
