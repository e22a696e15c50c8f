"""Settings that are set over REST: `meltica serve` killed, without its database or lock, with a successor."""

import contextlib
import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

from meltica.persistence.postgres.server import wait_until
from tests.integration.test_state_recovery import holding_the_lock, terminate
from tests.support.serving import PATIENCE, Gateway, free_port, frozen, project

PATH = "/config/runtime"


def put(gateway: Gateway, body: Any) -> tuple[int, Any]:
    headers = gateway.project.authorization() | {"content-type": "application/json"}
    request = urllib.request.Request(gateway.address + PATH, json.dumps(body).encode(), headers, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def get(gateway: Gateway) -> Any:
    status, body = gateway.get(PATH)
    assert status == 200, body
    return body


def debugged(gateway: Gateway) -> bool:
    return any(line["level"] == "debug" for line in gateway.lines())


def test_what_was_set_survives_a_kill_and_applies_at_the_next_start() -> None:
    port = free_port()
    body = {
        "log": {"level": "debug"},
        "apiServer": {"addr": f"127.0.0.1:{port}"},
        "eventbus": {"bufferSize": 333},
        "risk": {"maxOpenOrders": 6},
    }
    waiting = ["apiServer.addr", "eventbus.bufferSize"]
    with project() as created:
        with created.serving() as gateway:
            gateway.wait_ready()
            assert not debugged(gateway)
            status, shown = put(gateway, body)
            assert (status, shown["restartRequired"]) == (200, waiting)
            os.kill(gateway.process.pid, signal.SIGKILL)
            gateway.ended()
        gateway.log.unlink()
        with created.serving() as gateway:
            gateway.wait_ready()
            assert gateway.address == f"http://127.0.0.1:{port}"
            assert get(gateway) == {**shown, "restartRequired": []}
            logged = [line["message"] for line in gateway.lines()]
            assert f"`apiServer.addr` was set over REST to 127.0.0.1:{port}" in logged
            assert debugged(gateway), "the level of the log applies from the start on"
            assert put(gateway, {"log": {"level": None}})[1]["config"]["log"]["level"] == "info"
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
        # The command line comes first, so an address that cannot be used prevents no start.
        with created.serving("--port", "0", "--set", "log.level=warning") as gateway:
            assert gateway.address != f"http://127.0.0.1:{port}"
            assert get(gateway)["sources"]["apiServer.addr"] == "given at start"


def test_without_database_or_lock_nothing_changes() -> None:
    with project() as created, created.database() as url, created.serving(database=url) as gateway:
        gateway.wait_ready()
        before = get(gateway)
        body = {"log": {"level": "debug"}, "eventbus": {"bufferSize": 333}, "risk": {"maxOpenOrders": 6}}
        with holding_the_lock(url, gateway):
            assert (put(gateway, body)[0], put(gateway, body)[1]["code"]) == (503, "lock_not_held")
            assert get(gateway) == before
        gateway.wait_ready()
        with psycopg.connect(url) as connection:
            [server] = connection.execute(
                "select pid from pg_stat_activity where backend_type = 'checkpointer'"
            ).fetchall()
        with frozen(parent(server[0])):
            status, answer = put(gateway, body)
            assert (status, answer["code"]) in ((503, "database_unavailable"), (503, "outcome_unknown"))
            assert get(gateway) == before
        gateway.wait_ready()
        # The change ends, and what was not confirmed is read: it is there as a whole, or not at all.
        assert wait_until(lambda: put(gateway, {})[0] == 200, PATIENCE)
        gateway.wait_ready()
        after = get(gateway)
        limited = after["config"]["risk"].get("maxOpenOrders") == 6
        assert (after["config"]["eventbus"]["bufferSize"] == 333) == limited
        assert (after["config"]["log"]["level"] == "debug") == limited
        assert put(gateway, body)[0] == 200


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_gateway_that_returns_adopts_what_its_successor_has_set() -> None:
    with project() as created, created.database() as url, created.serving(database=url) as first:
        first.wait_ready()
        assert put(first, {"eventbus": {"bufferSize": 111}})[0] == 200
        pid = first.process.pid
        os.kill(pid, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            stack.callback(os.kill, pid, signal.SIGCONT)
            terminate(url, str(pid))
            second = stack.enter_context(created.serving(database=url))
            second.wait_ready()
            assert get(second)["restartRequired"] == []
            body = {"eventbus": {"bufferSize": 222}, "log": {"level": "error"}, "risk": {"maxOpenOrders": 2}}
            assert put(second, body)[0] == 200
            os.kill(pid, signal.SIGCONT)
            assert wait_until(lambda: "lock" in first.get("/health/ready")[1].get("faults", {}), PATIENCE)
            assert put(first, {"log": {"level": "debug"}})[1]["code"] == "lock_not_held"
            second.signal(signal.SIGTERM)
            assert second.ended() == 0
            first.wait_ready()
            shown = get(first)
        assert (shown["config"]["eventbus"]["bufferSize"], shown["config"]["log"]["level"]) == (222, "error")
        assert shown["config"]["risk"]["maxOpenOrders"] == 2
        assert shown["restartRequired"] == ["eventbus.bufferSize"]
