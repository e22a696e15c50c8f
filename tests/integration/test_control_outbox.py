"""The routes of the outbox and of refusals, with what trading wrote."""

from collections.abc import Coroutine, Generator
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest

from meltica.model.enums import Mode
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.outbox import Outbox, event
from meltica.persistence.stores.trading.rows import RefusalRow, Row, Verdict
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.integration.test_control_resources import failure
from tests.support import gateway
from tests.support.control_world import get, post
from tests.support.gateway import Running
from tests.support.trading_rows import START

T = TypeVar("T")
WHY = {"reason": "the hook is back"}
MS = 10**6


@pytest.fixture(name="running", scope="module")
def _running(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        yield running


def _wait(running: Running, work: Coroutine[Any, Any, T]) -> T:
    return running.submit(work).result(20)


def _write(running: Running, rows: list[Row]) -> None:
    writer = GroupCommitWriter(running.gateway.database, running.gateway.lock)
    _wait(running, writer.commit(rows))


def _audit(running: Running, action: str) -> list[tuple[str, Any]]:
    found = get(running, "/audit", action=action)["entries"]
    return [(each["actor"], each["subject"]) for each in found]


@pytest.fixture(name="outbox")
def _outbox(running: Running) -> Generator[Outbox]:
    """Two consumers, an event that both wait for, and one that `hook` has given up on."""
    running.settle()
    with psycopg.connect(running.gateway.database.dsn, options="-c search_path=meltica") as connection:
        connection.execute("delete from outbox")
    outbox = Outbox(running.gateway.database, max_attempts=1)
    for name in ("hook", "stream"):
        _wait(running, outbox.add_consumer(name))
    _write(running, [event("risk", "global", "halt", {"n": n}, {"trace": "t"}) for n in (1, 2)])
    first, second = [each.id for each in _wait(running, outbox.claim("hook"))]
    _wait(running, outbox.delivered("hook", [second]))
    assert _wait(running, outbox.failed("hook", first, "HTTP 500"))
    yield outbox
    for name in ("hook", "stream"):
        _wait(running, outbox.remove_consumer(name))
    with psycopg.connect(running.gateway.database.dsn, options="-c search_path=meltica") as connection:
        connection.execute("delete from outbox")


def test_events_show_who_waits_for_them(running: Running, outbox: Outbox) -> None:
    first, second = get(running, "/outbox")["events"]
    assert (first["aggregateType"], first["aggregateID"], first["eventType"]) == ("risk", "global", "halt")
    assert (first["payload"], first["headers"], first["delivered"]) == ({"n": 1}, {"trace": "t"}, False)
    assert (first["attempts"], first["lastError"]) == (1, "HTTP 500")
    assert [(each["consumer"], each["dead"]) for each in first["deliveries"]] == [
        ("hook", True),
        ("stream", False),
    ]
    assert [each["consumer"] for each in second["deliveries"]] == ["stream"]
    assert "publishedAt" in second
    assert "lastError" not in second

    def ids(**parameters: Any) -> list[int]:
        return [each["id"] for each in get(running, "/outbox", **parameters)["events"]]

    both = [first["id"], second["id"]]
    assert ids(dead=True) == ids(consumer="hook") == [first["id"]]
    assert ids(consumer="stream", dead=False) == both
    assert ids(aggregateType="risk", aggregateID="global") == both
    assert ids(aggregateType="order") == ids(aggregateID="x") == ids(consumer="none") == []
    page = get(running, "/outbox", limit=1)
    assert [each["id"] for each in page["events"]] == both[:1]
    assert ids(limit=1, cursor=page["cursor"]) == both[1:]
    assert ids(delivered=True) == []
    _wait(running, outbox.delivered("stream", both))
    assert ids(delivered=True) == ids(delivered=True, consumer="hook") == [second["id"]]
    assert ids() == [first["id"]]


def test_a_consumer_shows_what_it_has_given_up_on_and_gets_it_again(running: Running, outbox: Outbox) -> None:
    listed = get(running, "/outbox/consumers")
    assert [(each["name"], each["waiting"], each["dead"]) for each in listed["consumers"]] == [
        ("hook", 0, 1),
        ("stream", 2, 0),
    ]
    shown = get(running, "/outbox/consumers/hook")
    assert (shown["lastError"], shown["oldestAt"] >= shown["createdAt"]) == ("HTTP 500", True)
    [dead] = get(running, "/outbox", dead=True)["events"]
    path = "/outbox/consumers/hook/retry"
    assert post(running, path, {"events": [dead["id"], dead["id"] + 1], **WHY}, 409)["code"] == "conflict"
    assert _wait(running, outbox.claim("hook")) == []
    assert post(running, path, {"events": [dead["id"]], **WHY}) == {
        "consumer": "hook",
        "events": [dead["id"]],
    }
    assert [each.id for each in _wait(running, outbox.claim("hook"))] == [dead["id"]]
    assert _audit(running, "outbox.retry")[0] == (running.actor, "hook")
    assert _wait(running, outbox.failed("hook", dead["id"], "HTTP 502"))
    assert post(running, path, WHY)["events"] == [dead["id"]]
    assert post(running, path, WHY)["events"] == []
    assert get(running, "/outbox/consumers/hook")["dead"] == 0


def test_dead_letters_are_dropped_for_one_consumer(running: Running, outbox: Outbox) -> None:
    [dead] = get(running, "/outbox", dead=True)["events"]
    path = "/outbox/consumers/hook/drop"
    assert post(running, path, {"events": [dead["id"], dead["id"] + 1], **WHY}, 409)["code"] == "conflict"
    assert post(running, f"{path}?plan=1", WHY)["effect"] == "create"
    assert get(running, "/outbox/consumers/hook")["dead"] == 1
    assert post(running, path, WHY) == {"consumer": "hook", "events": [dead["id"]]}
    assert get(running, "/outbox/consumers/hook")["dead"] == 0
    assert _audit(running, "outbox.drop")[0] == (running.actor, "hook")
    assert dead["id"] in [each["id"] for each in get(running, "/outbox", consumer="stream")["events"]]
    assert _wait(running, outbox.claim("hook")) == []
    # Nothing to do is not audited.
    assert post(running, path, WHY)["events"] == []
    assert len(_audit(running, "outbox.drop")) == 1


def test_an_event_is_deleted_for_all_consumers(running: Running, outbox: Outbox) -> None:
    first, second = [each["id"] for each in get(running, "/outbox")["events"]]
    answer = running.client.delete(f"/outbox/{first}")
    assert (answer.status_code, answer.json()) == (200, {"id": first, "status": "deleted"})
    assert running.client.delete(f"/outbox/{first}").status_code == 404
    assert [each["id"] for each in get(running, "/outbox")["events"]] == [second]
    assert _wait(running, outbox.dead_letters("hook")) == []
    assert _audit(running, "outbox.delete")[0] == (running.actor, str(first))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/outbox/consumers/none/retry", WHY, 404),
        ("/outbox/consumers/hook/retry", {}, 400),
        ("/outbox/consumers/none/drop", WHY, 404),
        ("/outbox/consumers/hook/drop", {}, 400),
        ("/outbox/consumers/hook/drop", {"events": [0], **WHY}, 400),
        ("/outbox/consumers/hook/retry", {"reason": ""}, 400),
        ("/outbox/consumers/hook/retry", {"events": ["x"], **WHY}, 400),
        ("/outbox/consumers/hook/retry", {"events": [0], **WHY}, 400),
        ("/outbox/consumers/hook/retry", {"events": [2**70], **WHY}, 400),
        ("/outbox/consumers/hook/retry", {"event": [1], **WHY}, 400),
    ],
)
def test_a_retry_that_is_not_valid_changes_nothing(
    running: Running, outbox: Outbox, path: str, body: Any, status: int
) -> None:
    assert outbox is not None
    post(running, path, body, status)
    assert get(running, "/outbox/consumers/hook")["dead"] == 1


def test_parameters_that_are_not_valid_are_named(running: Running) -> None:
    for path, parameters in (
        ("/outbox", {"limit": 0}),
        ("/outbox", {"cursor": "x"}),
        ("/refusals", {"cursor": "-1"}),
        ("/refusals", {"since": -1}),
    ):
        assert get(running, path, 400, **parameters)["code"] == "invalid_parameter", (path, parameters)
    for path, parameters in (("/outbox", {"consumer": "\0"}), ("/refusals", {"rule": "\0"})):
        assert get(running, path, 400, **parameters)["code"] == "bad_request"
    for id in ("0", "-1", "x", str(2**70)):
        assert failure(running.client.delete(f"/outbox/{id}"), 400, "invalid_parameter")
    assert get(running, "/outbox", aggregateType="x")["events"] == []
    assert get(running, "/outbox/consumers/none", 404)["code"] == "not_found"


def _refusal(instance: str, rule: str, after: int, **values: Any) -> RefusalRow:
    at = START + after * 10**9
    fields: dict[str, Any] = {"provider": "main", "symbol": "BTC-USDT", "message": f"{rule} was broken"}
    return RefusalRow(
        instance=instance,
        uid=UUID(int=7),
        mode=Mode.PAPER,
        rule=rule,
        refused_at=at,
        last_refused_at=at,
        **{**fields, **values},
    )


def test_refusals_are_listed_filtered_and_counted(running: Running) -> None:
    _write(
        running,
        [
            _refusal("a", "throttle", 0, count=3),
            _refusal("a", "max_order_size", 1, seen="2", limit="1", verdict=Verdict.COUNTED),
            _refusal("b", "throttle", 2, symbol="ETH-USDT", order_id=UUID(int=9)),
            _refusal("a", "throttle", 3),
        ],
    )
    found = get(running, "/refusals")["refusals"]
    assert [(each["instance"], each["rule"]) for each in found] == [
        ("a", "throttle"),
        ("b", "throttle"),
        ("a", "max_order_size"),
        ("a", "throttle"),
    ]
    large = {**found[2]}
    assert large.pop("id") > 0
    assert large == {
        "instance": "a",
        "mode": "paper",
        "provider": "main",
        "symbol": "BTC-USDT",
        "rule": "max_order_size",
        "message": "max_order_size was broken",
        "seen": "2",
        "limit": "1",
        "verdict": "counted",
        "count": 1,
        "refusedAt": START // MS + 1000,
        "lastRefusedAt": START // MS + 1000,
    }
    assert found[1]["orderId"] == str(UUID(int=9))

    def ids(**parameters: Any) -> list[int]:
        return [each["id"] for each in get(running, "/refusals", **parameters)["refusals"]]

    newest, eth, size, oldest = [each["id"] for each in found]
    assert ids(instance="a", rule="throttle") == [newest, oldest]
    assert ids(symbol="ETH-USDT") == [eth]
    assert ids(mode="live") == ids(provider="spare") == []
    assert ids(since=START // MS + 1000, until=START // MS + 2000) == [size]
    page = get(running, "/refusals", limit=3)
    assert [each["id"] for each in page["refusals"]] == [newest, eth, size]
    assert ids(cursor=page["cursor"]) == [oldest]
    counts = get(running, "/refusals/counts")
    assert counts["total"] == 6
    assert [(each["instance"], each["rule"], each["count"]) for each in counts["counts"]] == [
        ("a", "throttle", 4),
        ("b", "throttle", 1),
        ("a", "max_order_size", 1),
    ]
    assert get(running, "/refusals/counts", instance="b")["total"] == 1
