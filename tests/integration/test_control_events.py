"""`/events`: live events with filters, resumed by their number, and bounded for each client."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Thread
from typing import Any

import httpx
import psycopg
import pytest
from click.testing import CliRunner

from meltica.cli import cli
from meltica.control import sessions
from meltica.control.streams import hub, response, subscriber
from meltica.model.enums import Mode, OrderState
from meltica.persistence.postgres.server import wait_until
from meltica.persistence.stores.event_log import EventLog, LoggedEvent
from meltica.persistence.stores.outbox import Outbox, entry_event, event, fill_event, order_event
from meltica.persistence.stores.trading.rows import BalanceRow, EntryKind, LedgerEntryRow, OrderRow, Row
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.integration.test_tokens import created, id_of
from tests.support.event_stream import Received, Stream, stream
from tests.support.gateway import Running
from tests.support.trading_rows import START, fill, order, position

ORDERS = "?kind=order"


def commit(running: Running, rows: Iterable[Row]) -> None:
    """Commits rows as trading does."""
    gateway = running.gateway
    writer = GroupCommitWriter(gateway.database, gateway.lock)
    assert not running.submit(writer.commit(rows)).result(20).failures


def ordered(running: Running, *orders: OrderRow) -> list[str]:
    """Commits orders with their events; returns their ids."""
    commit(running, [*orders, *map(order_event, orders)])
    return [str(each.id) for each in orders]


def ended(running: Running, code: str) -> float:
    """Returns how many streams ended with a code."""
    name = f'meltica_event_streams_ended_total{{code="{code}"}} '
    lines = running.client.get("/metrics").text.splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def prune(running: Running) -> None:
    """Deletes all events, as if they were older than the retention."""
    running.submit(Outbox(running.gateway.database).prune(0.0)).result(20)


def ids(received: Iterable[Received]) -> list[str]:
    return [each.data["order"]["id"] for each in received]


def test_events_are_in_the_spelling_of_the_api(control: Running) -> None:
    filled = order(state=OrderState.FILLED, filled_quantity=Decimal("0.01"), filled_cost=Decimal(640))
    balance = BalanceRow(
        provider="main",
        mode=Mode.LIVE,
        currency="USDT",
        total=Decimal("1.50"),
        available=Decimal(1),
        snapshot_at=START,
    )
    with stream(control, "?kind=order,fill&kind=balance,risk") as events:
        ready = events.next()
        assert (ready.kind, ready.data) == ("ready", {"id": ready.id})
        bought = fill(filled)
        halted = event(
            "risk", "instance:maker", "risk.halted", {"scope": "instance:maker", "rule": "operator"}
        )
        entry = LedgerEntryRow(
            provider="main",
            mode=Mode.LIVE,
            kind=EntryKind.DEPOSIT,
            venue_id="7",
            currency="USDT",
            amount=Decimal("2.50"),
            booked_at=START,
        )
        rows = [order_event(filled), fill_event(bought), event("balance", "main", "balance", balance), halted]
        commit(control, [filled, bought, *rows, entry_event(entry)])
        received = [events.next() for _ in range(5)]
    booked = received.pop()
    assert (booked.kind, booked.data["type"]) == ("balance", "balance.entry")
    assert booked.data["entry"] == {
        "provider": "main",
        "mode": "live",
        "kind": "deposit",
        "venueId": "7",
        "currency": "USDT",
        "amount": "2.5",
        "bookedAt": START // 10**6,
    }
    assert [each.kind for each in received] == ["order", "fill", "balance", "risk"]
    numbers = [each.id for each in received]
    assert numbers == sorted(numbers, key=lambda id: id or 0)
    shown, execution, amounts, halt = (each.data for each in received)
    assert (shown["type"], shown["order"]["averagePrice"]) == ("order.filled", "64000")
    assert shown["order"]["strategyInstance"] == "maker"
    assert (execution["execution"]["symbol"], execution["execution"]["side"]) == ("BTC-USDT", "Buy")
    assert (amounts["balance"]["asset"], amounts["balance"]["total"]) == ("USDT", "1.5")
    assert (halt["type"], halt["rule"]) == ("risk.halted", "operator")
    assert abs(halt["at"] / 1000 - datetime.now(UTC).timestamp()) < 3600


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ("&instance=slow&instance=watcher", {"instance": "slow"}),
        ("&mode=paper", {"mode": Mode.PAPER}),
        ("&symbol=ETH-USDT", {"symbol": "ETH-USDT"}),
        ("&provider=spare", {"provider": "spare"}),
    ],
)
def test_filters_select_events(control: Running, query: str, changes: dict[str, Any]) -> None:
    with stream(control, ORDERS + query) as events:
        events.next("ready")
        _, wanted = ordered(control, order(), order(**changes))
        assert ids([events.next()]) == [wanted]


def test_a_stream_resumes_after_the_last_event(control: Running) -> None:
    with stream(control, ORDERS) as events:
        begin = events.next("ready").id
    assert begin is not None
    missed = ordered(control, *(order() for _ in range(hub.BATCH + 2)))
    commit(control, [event("balance", "main", "unwanted", {})])
    with stream(control, ORDERS, begin) as events:
        assert events.next().id == begin
        received = [events.next() for _ in missed]
        live = ordered(control, order(), order())
        received += [events.next(), events.next()]
    assert ids(received) == [*missed, *live]
    middle = received[len(missed) // 2].id
    # In place of the header, for browsers that open a stream with the place where a page ended.
    with stream(control, f"{ORDERS}&lastEventId={middle}") as events:
        events.next("ready")
        assert ids([events.next()]) == [missed[len(missed) // 2 + 1]]


def test_a_pruned_id_gets_a_reset_and_a_snapshot(control: Running) -> None:
    with stream(control, ORDERS) as events:
        begin = events.next("ready").id
    ended, kept = order(state=OrderState.CANCELLED), order(instance="kept")
    commit(control, [ended, kept, position(kept, "0.5"), order_event(ended), order_event(kept)])
    prune(control)
    with stream(control, "?kind=order,fill,risk,balance&instance=kept", begin) as events:
        reset, snapshot, ready = events.next(), events.next(), events.next()
        assert (reset.kind, reset.id, reset.data["code"]) == ("reset", None, "pruned")
        assert snapshot.kind == "snapshot"
        assert [each["id"] for each in snapshot.data["orders"]] == [str(kept.id)]
        assert [each["quantity"] for each in snapshot.data["positions"]] == ["0.5"]
        assert snapshot.data["halts"] == []
        assert (ready.kind, ready.id) == ("ready", snapshot.id)
        [live] = ordered(control, order(instance="kept"))
        assert ids([events.next()]) == [live]
    # Nothing is missing after the last event, however old it is.
    prune(control)
    with stream(control, ORDERS, snapshot.id) as events:
        assert events.next().kind == "reset"
    with stream(control, ORDERS) as events:
        latest = events.next("ready").id
    with stream(control, ORDERS, latest) as events:
        assert events.next().kind == "ready"
    # Of an id that does not exist yet, the events before it are unknown.
    with stream(control, ORDERS, (latest or 0) + 1000) as events:
        assert events.next().kind == "reset"


def test_events_around_a_hole_are_not_resumed(control: Running) -> None:
    """A consumer keeps an old event, and those after it are deleted: a longer retention restores nothing."""
    outbox = Outbox(control.gateway.database)
    control.submit(outbox.add_consumer("behind")).result(20)
    with stream(control, ORDERS) as events:
        ordered(control, order())
        kept = events.next("order").id
        [unseen] = ordered(control, order())
        assert ids([events.next("order")]) == [unseen]
    with psycopg.connect(control.gateway.database.dsn, options="-c search_path=meltica") as connection:
        connection.execute("delete from outbox_deliveries where event > %s", [kept])
    control.submit(outbox.prune(0.0)).result(20)
    assert kept in [each.id for each in control.submit(outbox.claim("behind")).result(20)]
    with stream(control, ORDERS, kept) as events:
        assert events.next().kind == "reset"
    control.submit(outbox.remove_consumer("behind")).result(20)


def test_an_event_that_an_operator_deletes_is_missed_openly(control: Running) -> None:
    with stream(control, ORDERS) as events:
        begin = events.next("ready").id
        ordered(control, order())
        deleted = events.next("order").id
    assert control.client.delete(f"/outbox/{deleted}").status_code == 200
    with stream(control, ORDERS, begin) as events:
        assert events.next().kind == "reset"
    with stream(control, ORDERS, deleted) as events:
        assert events.next().kind == "ready"


def test_events_that_are_deleted_while_a_stream_reads_them_end_it(
    control: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "BATCH", 2)
    with stream(control, ORDERS) as events:
        begin = events.next("ready").id
    ordered(control, *(order() for _ in range(6)))
    after = EventLog.after

    async def pruned(self: EventLog, id: int, limit: int) -> list[LoggedEvent]:
        found = await after(self, id, limit)
        if id == begin:
            await Outbox(control.gateway.database).prune(0.0)
            # What is committed now is read after what was deleted.
            await GroupCommitWriter(control.gateway.database, control.gateway.lock).commit(
                [event("balance", "main", "balance", {})]
            )
        return found

    monkeypatch.setattr(EventLog, "after", pruned)
    with stream(control, ORDERS, begin) as events:
        received = events.rest()
    assert [each.kind for each in received if each.kind == "order"] == ["order", "order"]
    assert (received[-1].kind, received[-1].data["code"]) == ("closed", "too_slow")


def test_states_come_at_the_begin_and_when_they_change(control: Running) -> None:
    with stream(control, "?kind=provider&provider=main") as events:
        events.next("ready")
        assert events.next().data == {"name": "main", "status": "running", "desired": "running"}
        assert control.client.post("/providers/main/stop").status_code in (200, 202)
        while (shown := events.next().data)["status"] != "stopped":
            assert shown["name"] == "main"
        assert control.client.post("/providers/main/start").status_code in (200, 202)
        while events.next().data["status"] != "running":
            pass


@pytest.mark.parametrize(
    "query", ["?kind=orders", "?lastEventId=x", "?lastEventId=99999999999999999999", "?mode=x"]
)
def test_queries_that_are_not_valid_are_refused(control: Running, query: str) -> None:
    refused = control.client.get(f"/events{query}")
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_parameter")


def test_a_ticket_opens_one_stream(control: Running) -> None:
    viewer = created(control, "viewer")
    issued = control.client.post("/events/tickets", headers=viewer)
    assert issued.status_code == 201
    query = f"?ticket={issued.json()['ticket']}"
    with stream(control, query, headers={}) as events:
        assert events.next().kind == "ready"
        # The stream has the rights of its client, and ends with its token.
        control.client.delete(f"/tokens/{id_of(viewer)}")
        closed = events.rest()[-1]
        assert (closed.kind, closed.data["code"]) == ("closed", "unauthenticated")
        assert closed.data["message"] == "its token was revoked"
    for refused in (query, "?ticket=x", "?ticket=", ""):
        answer = httpx.get(f"{control.url}/events{refused}")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert control.client.get(f"/providers?ticket={query}", headers={"authorization": ""}).status_code == 401
    assert httpx.post(f"{control.url}/events/tickets").status_code == 401


def test_a_ticket_ends_with_its_token_and_leaves_those_of_others(control: Running) -> None:
    """A stolen token neither opens streams after its revocation, nor keeps other browsers from it."""
    stolen, other = created(control, "viewer"), created(control, "viewer")
    tickets: list[str] = []
    while (answer := control.client.post("/events/tickets", headers=stolen)).status_code == 201:
        tickets.append(answer.json()["ticket"])
    assert (answer.json()["code"], len(tickets)) == ("too_many_tickets", 128)
    assert control.client.post("/events/tickets", headers=other).status_code == 201
    control.client.delete(f"/tokens/{id_of(stolen)}")
    refused = httpx.get(f"{control.url}/events?ticket={tickets[0]}")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert "was revoked" in refused.json()["error"]


def test_a_stream_ends_when_its_token_expires(control: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    expiry = datetime.now(UTC) + timedelta(hours=1)
    waits = list[float]()

    def call_soon(until: datetime) -> float:
        waits.append((until - expiry).total_seconds())
        return 0.0

    monkeypatch.setattr(sessions, "_seconds", call_soon)
    viewer = created(control, "viewer", expiresAt=int(expiry.timestamp() * 1000))
    with stream(control, headers=viewer) as events:
        closed = events.rest()[-1]
    assert (closed.kind, closed.data["message"]) == ("closed", "its token has expired")
    assert abs(waits[0]) < 0.01


def test_a_token_that_a_command_revokes_ends_its_streams(control: Running) -> None:
    viewer = created(control, "viewer")
    with stream(control, headers=viewer) as events:
        events.next("ready")
        store, authenticator = control.gateway.access.store, control.gateway.access.authenticator
        assert authenticator is not None
        control.submit(store.revoke(id_of(viewer), "command", keep_admin=False)).result(10)
        control.submit(authenticator.read()).result(10)
        assert events.rest()[-1].data["code"] == "unauthenticated"


def test_a_slow_client_is_closed_and_delays_no_other(
    control: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "MAX_EVENTS", 60)
    monkeypatch.setattr(response, "CLOSE_SECONDS", 0.1)
    host, port = control.gateway.api.address
    before = ended(control, "too_slow")
    with socket.socket() as slow, stream(control, ORDERS) as events:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((host, port))
        request = f"GET /events{ORDERS} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        slow.sendall(f"{request}Authorization: {control.authorization['authorization']}\r\n\r\n".encode())
        slow.recv(1)  # the stream is open; nothing more is read
        events.next("ready")
        sent, received = list[str](), list[Received]()
        for _ in range(20):
            many = [order(metadata={"text": "x" * 50_000}) for _ in range(10)]
            sent += ordered(control, *many)
            received += [events.next() for _ in many]
        assert ids(received) == sent
        assert wait_until(lambda: ended(control, "too_slow") == before + 1, 20)
        # Its connection is closed with what it has not read.
        slow.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            while slow.recv(1 << 20):
                pass


def test_a_client_that_is_closed_as_too_slow_resumes(
    control: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "MAX_EVENTS", 5)
    with stream(control, "?kind=order,provider") as events:
        begin = events.next("ready").id
        # States come after what was missed, so now its events are live: they go through the queue.
        events.next("provider")
        sent = ordered(control, *(order() for _ in range(20)))
        received = [each for each in events.rest() if each.kind != "provider"]
        assert (received[-1].kind, received[-1].data["code"]) == ("closed", "too_slow")
    last = received[-2].id if len(received) > 1 else begin
    monkeypatch.undo()
    with stream(control, ORDERS, last) as events:
        events.next("ready")
        assert ids([*received[:-1], *(events.next() for _ in sent[len(received) - 1 :])]) == sent


def test_many_clients_get_the_same_events(control: Running) -> None:
    count, sent, results = 24, list[str](), dict[int, list[str]]()

    def read(number: int, events: Stream) -> None:
        results[number] = ids(events.next() for _ in range(100))

    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(stream(control, ORDERS)) for _ in range(count)]
        for each in opened:
            each.next("ready")
        threads = [Thread(target=read, args=pair) for pair in enumerate(opened)]
        for thread in threads:
            thread.start()
        for _ in range(10):
            sent += ordered(control, *(order() for _ in range(10)))
        for thread in threads:
            thread.join(60)
    assert [results[number] for number in range(count)] == [sent] * count


def test_too_many_streams_are_refused(control: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with stream(control, ORDERS) as events:
        events.next("ready")
        monkeypatch.setattr(hub, "MAX_STREAMS", 1)
        refused = control.client.get("/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")


def test_streams_that_are_opened_at_once_are_counted(
    control: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would take all requests of their token, and a halt with it would be a 429."""
    monkeypatch.setattr(hub, "MAX_STREAMS", 3)

    async def status(client: httpx.AsyncClient, enough: asyncio.Event) -> int:
        async with client.stream("GET", "/events") as response:
            await enough.wait() if response.status_code == 200 else None
            return response.status_code

    async def statuses() -> list[int]:
        enough = asyncio.Event()
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(
            base_url=control.url, headers=control.authorization, timeout=20, limits=limits
        ) as client:
            tasks = [asyncio.ensure_future(status(client, enough)) for _ in range(40)]
            pending = set(tasks)
            while len(pending) > 3:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            enough.set()
            return await asyncio.gather(*tasks)

    found = asyncio.run(asyncio.wait_for(statuses(), 30))
    assert (found.count(200), found.count(503)) == (3, 37)


def test_a_head_request_ends(control: Running) -> None:
    answer = httpx.head(f"{control.url}/events", headers=control.authorization, timeout=10)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_the_command_prints_what_happens(control: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MELTICA_TOKEN", control.authorization["authorization"].split()[1])
    with stream(control, ORDERS) as events:
        begin = events.next("ready").id
    sent = ordered(control, order(), order())
    command = ["events", "--url", control.url, "--kind", "order", "--after", str(begin), "--limit", "2"]
    shown = CliRunner().invoke(cli, [*command, "--json"], standalone_mode=False)
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [line["data"]["order"]["id"] for line in lines] == sent
    assert [line["event"] for line in lines] == ["order", "order"]
    text = CliRunner().invoke(cli, command, standalone_mode=False).stdout.splitlines()
    assert [sent[0] in text[0], sent[1] in text[1]] == [True, True]


def test_streams_without_numbers_do_not_disturb_those_with_numbers(control: Running) -> None:
    ordered(control, order())
    with stream(control, "?kind=provider") as states:
        assert states.next("ready") == Received("ready", None, {})
        prune(control)
        for _ in range(2):  # the second one is again the only one of its kind
            with stream(control, ORDERS) as events:
                events.next("ready")
                assert ordered(control, order()) == [events.next().data["order"]["id"]]
        control.client.post("/providers/demo/stop")
        while states.next("provider").data["status"] != "stopped":
            continue
    control.client.post("/providers/demo/start")
