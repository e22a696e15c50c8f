"""Webhooks and the heartbeat, with real receivers and a real database."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from meltica.notifications import sender, webhooks
from meltica.notifications.heartbeat import Heartbeat
from meltica.notifications.spec import HeartbeatSettings, WebhookSettings
from meltica.notifications.webhooks import Webhook, Webhooks
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.outbox import Backlog, Outbox, event
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support import gateway

SECRET = "signing-secret-of-the-test"
Answer = Callable[[asyncio.StreamWriter], Awaitable[object]]


def status(line: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n".encode())

    return answer


async def silent(writer: asyncio.StreamWriter) -> None:
    """Never answers."""


async def endless(writer: asyncio.StreamWriter) -> None:
    """Never ends its answer."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"x-a: " + b"x" * 4096 + b"\r\n")
        await writer.drain()


async def rubbish(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\0\xff nothing of HTTP\r\n\r\n")


async def hung_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


class Receiver:
    """A server on loopback that keeps the requests it receives."""

    def __init__(self) -> None:
        self.answer: Answer = status("204 No Content")
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.arrived = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append((head[0].split()[1], headers, json.loads(body)))
                self.arrived.set()
                await self.answer(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def until(self, count: int) -> None:
        while len(self.requests) < count:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 20)


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()


@pytest.fixture(name="receiver")
async def _receiver() -> AsyncGenerator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture(name="outbox")
async def _outbox(database_url: str) -> AsyncGenerator[Outbox]:
    async with await Database.open(database_url) as database:
        yield Outbox(database, max_attempts=2)


async def write(database_url: str, *kinds: str) -> None:
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    async with await Database.open(database_url) as database:
        payload = {"scope": "global", "by": "ann", "reason": "test"}
        await GroupCommitWriter(database, lock).commit(
            [event("risk", "global", kind, payload) for kind in kinds]
        )
    await lock.release()


def due(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update meltica.outbox_deliveries set available_at = now() - interval '1 s'")


def settings(url: str, **values: Any) -> WebhookSettings:
    return WebhookSettings.model_validate({"url": f"{url}/secret-path", **values})


async def test_a_webhook_receives_its_events_signed_and_in_order(
    database_url: str, outbox: Outbox, receiver: Receiver
) -> None:
    all_webhooks = Webhooks(outbox, {"ops": settings(receiver.url, secret=SECRET)})
    await all_webhooks.prepare()
    await write(database_url, "risk.halted", "balance", "risk.resumed")
    all_webhooks.start()
    await receiver.until(2)
    await all_webhooks.stop()
    assert [(path, body["type"]) for path, _, body in receiver.requests] == [
        ("/secret-path", "risk.halted"),
        ("/secret-path", "risk.resumed"),
    ]
    for _, headers, body in receiver.requests:
        assert headers["webhook-id"] == body["id"]
        assert headers["webhook-signature"].startswith("v1,")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status("500 Oops"), "HTTP 500"),
        (status("302 Found\r\nlocation: http://127.0.0.1:1/other"), "redirects are not followed"),
        (silent, "did not answer within"),
        (endless_headers, "protocol error"),
        (rubbish, "protocol error"),
        (hung_up, "error"),
    ],
)
async def test_a_bad_receiver_costs_only_its_own_backlog(
    database_url: str,
    outbox: Outbox,
    receiver: Receiver,
    answer: Answer,
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(sender, "SEND_SECONDS", 0.2 if answer is silent else 10.0)
    receiver.answer = answer
    async with receiving() as good, sender.http_client() as client:
        both = {"bad": settings(receiver.url), "good": settings(good.url)}
        await Webhooks(outbox, both).prepare()
        await write(database_url, "risk.halted")
        bad, fine = (Webhook(name, each, outbox, client) for name, each in both.items())
        assert await bad.step() > 0
        assert await fine.step() == 0
        due(database_url)
        assert await bad.step() > 0
        assert (bad.counts["failed"], bad.counts["dead"], fine.counts["sent"]) == (2, 1, 1)
        [letter] = await outbox.dead_letters("webhook:bad")
        assert letter.last_error is not None
        assert error in letter.last_error
        assert "secret-path" not in letter.last_error + caplog.text
        first, second = [headers["webhook-id"] for _, headers, _ in receiver.requests]
        assert first == second
        # The dead letter is sent again on request.
        receiver.answer = status("200 OK")
        await outbox.retry("webhook:bad", [letter.id])
        assert await bad.step() == 0
    assert await outbox.backlog() == [Backlog("webhook:bad", 0, 0), Backlog("webhook:good", 0, 0)]


async def test_an_endless_answer_is_not_read(database_url: str, outbox: Outbox, receiver: Receiver) -> None:
    receiver.answer = endless
    async with sender.http_client() as client:
        webhook = Webhook("ops", settings(receiver.url), outbox, client)
        await outbox.add_consumer(webhook.consumer)
        await write(database_url, "risk.halted")
        assert await asyncio.wait_for(webhook.step(), 5) == 0


async def test_the_backlog_is_bounded_and_a_removed_webhook_leaves_none(
    database_url: str,
    outbox: Outbox,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(webhooks, "KEEP", 3)
    receiver.answer = status("503 No")
    await outbox.add_consumer("stream")
    former = Webhooks(outbox, {"ops": settings(receiver.url)})
    await former.prepare()
    await write(database_url, *["risk.halted"] * 8)
    former.start()
    await receiver.until(1)
    while not former.all[0].counts["dropped"]:
        await asyncio.sleep(0.01)
    counts = former.all[0].counts
    assert (counts["failed"], counts["dropped"], counts["sent"]) == (1, 5, 0)
    await former.stop()
    assert await outbox.backlog() == [Backlog("stream", 8, 0), Backlog("webhook:ops", 3, 0)]
    await Webhooks(outbox, {}).prepare()
    assert await outbox.backlog() == [Backlog("stream", 8, 0)]
    assert "removed with 3 events" in caplog.text


async def test_a_heartbeat_says_only_what_is_true(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: dict[str, str] = {}
    hangs = False

    async def ask() -> dict[str, str]:
        if hangs:
            await asyncio.Event().wait()
        return dict(faults)

    monkeypatch.setattr("meltica.notifications.heartbeat.READY_SECONDS", 0.2)
    given = {"url": f"{receiver.url}/ok", "failUrl": f"{receiver.url}/fail"}
    for with_fail_url in (True, False):
        beats = HeartbeatSettings.model_validate(given if with_fail_url else {"url": given["url"]})
        # The least interval of the settings is too long for a test.
        object.__setattr__(beats, "interval", beats.interval / 6000)
        heartbeat = Heartbeat(beats, ask)
        hangs = False
        faults.clear()
        receiver.requests.clear()
        heartbeat.start(asyncio.get_running_loop())
        await receiver.until(2)
        faults["database"] = "does not answer"
        if with_fail_url:
            await arrived(receiver, ("/fail", {"ready": False, "faults": dict(faults)}))
            hangs = True
            await arrived(
                receiver, ("/fail", {"ready": False, "faults": {"gateway": "did not answer within 0.2 s"}})
            )
        await heartbeat.stop()
        for path, _, body in receiver.requests:
            assert body["ready"] is (path == "/ok")
            assert bool(body["faults"]) is (path == "/fail")


async def arrived(receiver: Receiver, request: tuple[str, Any]) -> None:
    while request not in [(path, body) for path, _, body in receiver.requests]:
        await receiver.until(len(receiver.requests) + 1)


async def test_a_gateway_notifies_and_beats_and_shows_no_secret(
    config: Path, cluster: EmbeddedPostgres, receiver: Receiver
) -> None:
    given = {
        "webhooks": {
            "ops": {"url": f"{receiver.url}/secret-path", "secret": SECRET, "events": "instance.stopped"}
        },
        "heartbeat": {"url": f"{receiver.url}/beat-path", "failUrl": f"{receiver.url}/beat-path/fail"},
    }

    def run() -> str:
        with gateway.database(cluster) as dsn, gateway.running(config, dsn, notifications=given) as running:
            running.settle()
            client = running.client
            while "webhook:ops" not in client.get("/outbox/consumers").text:
                pass
            assert client.post("/strategy/instances/large-trades/stop").status_code == 200
            asyncio.run_coroutine_threadsafe(found("instance.stopped"), loop).result(30)
            paths = (
                "/metrics",
                "/outbox",
                "/outbox/consumers",
                "/config/runtime",
                "/health/ready",
                "/backup",
            )
            return "".join(client.get(path).text for path in paths)

    async def found(kind: str) -> None:
        while kind not in [body.get("type") for _, _, body in receiver.requests]:
            await receiver.until(len(receiver.requests) + 1)

    loop = asyncio.get_running_loop()
    shown = await asyncio.to_thread(run)
    assert 'meltica_webhook_messages_total{webhook="ops",outcome="sent"}' in shown
    assert "webhook:ops" in shown
    log = (config.parent / "gateway.log").read_text() if (config.parent / "gateway.log").exists() else ""
    for secret in ("secret-path", SECRET, "beat-path"):
        assert secret not in shown + log
    assert any(path.startswith("/beat-path") for path, _, _ in receiver.requests)


def test_the_url_is_a_secret() -> None:
    assert isinstance(settings("http://127.0.0.1:1").url, SecretStr)
