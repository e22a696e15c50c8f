"""The routes of the four lines of an account: its ledger, bookings, and lost orders."""

from collections.abc import Generator
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest

from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState, Side
from meltica.model.orders import NewOrder
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.trading import service
from meltica.trading.balances import SETTLES_WITHIN
from tests.support.control_world import actions, controlled, get, plan, post
from tests.support.gateway import Running
from tests.support.risk import BTC
from tests.support.trading_world import IDS, TradingWorld

WHY = {"reason": "a gift"}
BOOK = {"mode": "live", "currency": "USDT", **WHY}
PATH = "/providers/p"
CONFIG = """
environment: ci
providers:
  fake: {adapter: fake, enabled: false}
lambdas:
  a: {strategy: large-trades, scope: {fake: [BTC-USDT]}, dryRun: false, enabled: false}
  paper: {strategy: large-trades, scope: {fake: [BTC-USDT]}, enabled: false}
"""
World = tuple[Running, TradingWorld]


@pytest.fixture(name="world", scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory, cluster: EmbeddedPostgres) -> Generator[World]:
    config = tmp_path_factory.mktemp("accounts") / "meltica.yaml"
    config.write_text(CONFIG)
    with controlled(config, cluster) as world:
        yield world


def _line(running: Running, currency: str) -> dict[str, Any]:
    [line] = [each for each in get(running, f"{PATH}/lines")["lines"] if each["currency"] == currency]
    return line


def _receive(world: TradingWorld, amount: str) -> None:
    """Lets the venue report a balance that ours cannot explain."""
    lines = world.books.lines("p", "USDT")
    assert lines.venue is not None
    total = lines.venue + Decimal(amount)
    world.desk.balance("p", Mode.LIVE, "USDT", Balance(total, total, world.desk.clock()))


def differ(world: TradingWorld, amount: str) -> None:
    """Lets the venue report a balance that ours cannot explain, until that is a fault."""
    _receive(world, amount)
    with world.desk.lock:
        for now in (world.desk.clock(), world.desk.clock() + SETTLES_WITHIN):
            world.books.check(now)


def lose(world: TradingWorld, price: str) -> str:
    """Places an order of this home that the database does not have; returns its client order id."""
    id = IDS.next()
    order = NewOrder(id, BTC, Side.BUY, Decimal(2), Decimal(price))
    world.call_loop(lambda: world.account.submit(order))
    world.lossy.disconnect()
    world.wait_until(lambda: id in world.desk.accounts.link("p", Mode.LIVE).lost)
    return id


def test_a_difference_is_shown_and_booked_once(world: World) -> None:
    running, trading = world
    opening = {
        "mode": "live",
        "currency": "USDT",
        "venue": "1000000",
        "instances": "0",
        "notOurs": "1000000",
        "difference": "0",
        "fault": False,
    }
    assert _line(running, "USDT") == opening
    _receive(trading, "0.50")
    assert _line(running, "USDT") == {**opening, "venue": "1000000.5", "difference": "0.5"}
    text = post(running, f"{PATH}/lines/book", {**BOOK, "amount": "0.5"}, 409)["error"]
    assert "may settle by itself" in text
    differ(trading, "0")
    assert _line(running, "USDT")["fault"]
    text = post(running, f"{PATH}/lines/book", {**BOOK, "amount": "0.4"}, 409)["error"]
    assert "the difference, which is 0.5" in text
    booking = f"{PATH}/lines/book", {**BOOK, "amount": "0.5"}
    assert plan(world, *booking) == ("book", {"difference": ("0.50", "0")})
    booked = {"provider": "p", "mode": "live", "currency": "USDT", "amount": "0.5"}
    assert post(running, f"{PATH}/lines/book", {**BOOK, "amount": "0.50"}) == booked
    booked_line = {**opening, "venue": "1000000.5", "notOurs": "1000000.5"}
    trading.wait_until(lambda: _line(running, "USDT") == booked_line)
    assert "which is 0" in post(running, f"{PATH}/lines/book", {**BOOK, "amount": "0.5"}, 409)["error"]
    assert actions(trading)[-1] == ("book", "p:live:USDT", running.actor, "a gift")
    [entry] = get(running, f"{PATH}/ledger", kind="booking")["entries"]
    assert (entry["amount"], entry["bookedBy"], entry["note"]) == ("0.5", running.actor, "a gift")


def test_a_lasting_difference_is_a_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running, trading = world
    monkeypatch.setattr("meltica.trading.balances.SETTLES_WITHIN", 0)
    _receive(trading, "7")
    trading.wait_until(lambda: _line(running, "USDT")["fault"])
    faults = get(running, "/risk/status")["faults"]
    assert [(each["kind"], each["subject"]) for each in faults] == [("difference", "USDT")]
    post(running, f"{PATH}/lines/book", {**BOOK, "amount": "7"})
    trading.wait_until(lambda: not _line(running, "USDT")["fault"])
    assert get(running, "/risk/status")["faults"] == []


def test_a_booking_that_is_not_recorded_yet_acts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running, trading = world
    monkeypatch.setattr(service, "RECORD_SECONDS", 0.2)
    differ(trading, "3")
    with psycopg.connect(trading.url, options="-c search_path=meltica") as connection:
        connection.execute("lock table operator_actions in access exclusive mode")
        assert post(running, f"{PATH}/lines/book", {**BOOK, "amount": "3"}, 202)["recorded"] is False
        assert _line(running, "USDT")["difference"] == "0"
    monkeypatch.undo()
    trading.operate(lambda operator: operator.recorded())
    [entry] = get(running, f"{PATH}/ledger", kind="booking", limit=1)["entries"]
    assert entry["amount"] == "3"


def test_the_ledger_is_read_in_pages(world: World) -> None:
    running, trading = world
    for amount in ("1", "2"):
        differ(trading, amount)
        post(running, f"{PATH}/lines/book", {**BOOK, "amount": amount})
    whole = get(running, f"{PATH}/ledger", mode="live", currency="usdt")
    assert [each["amount"] for each in whole["entries"]][:2] == ["2", "1"]
    assert whole["entries"][-1]["kind"] == "opening"
    assert "cursor" not in whole
    ids: list[int] = []
    parameters: dict[str, Any] = {"limit": 2, "currency": "usdt"}
    while True:
        page = get(running, f"{PATH}/ledger", **parameters)
        assert page["count"] == len(page["entries"]) > 0
        ids += [each["id"] for each in page["entries"]]
        if "cursor" not in page:
            break
        parameters["cursor"] = page["cursor"]
    assert ids == [each["id"] for each in whole["entries"]]
    for wrong in ("x", "-1", "1" * 19, "²"):
        assert get(running, f"{PATH}/ledger", 400, cursor=wrong)["code"] == "invalid_parameter"
    assert get(running, f"{PATH}/ledger", mode="paper") == {"entries": [], "count": 0}


def test_a_lost_order_is_adopted_by_an_instance(world: World) -> None:
    running, trading = world
    id = lose(trading, "50")
    assert get(running, f"{PATH}/lines")["lostOrders"] == [{"mode": "live", "clientOrderId": id}]
    adopt = {"mode": "live", "clientOrderId": id, "instance": "a", **WHY}
    path = f"{PATH}/lost-orders/adopt"
    assert "trades paper" in post(running, path, {**adopt, "instance": "paper"}, 409)["error"]
    assert post(running, path, {**adopt, "instance": "none"}, 404)["code"] == "not_found"
    assert post(running, path, {**adopt, "clientOrderId": "x" * 18}, 404)["code"] == "not_found"
    assert plan(world, path, adopt) == ("adopt", {"instance": (None, "a")})
    done = post(running, path, adopt)
    assert (done["clientOrderId"], done["state"]) == (id, "ACK")
    assert actions(trading)[-1] == ("adopt", id, running.actor, "a gift")
    shown = get(running, f"/orders/{done['orderId']}")["order"]
    assert (shown["strategyInstance"], shown["clientOrderId"]) == ("a", id)
    assert get(running, f"{PATH}/lines")["lostOrders"] == []
    post(running, f"/orders/{done['orderId']}/cancel", WHY)
    machine = trading.desk.find(UUID(done["orderId"]))
    assert machine is not None
    trading.wait_until(lambda: machine.record.state is OrderState.CANCELLED)
    trading.wait_until(lambda: trading.desk.accounts.link("p", Mode.LIVE).ready)


def test_a_lost_order_is_disowned(world: World) -> None:
    running, trading = world
    id = lose(trading, "51")
    body = {"mode": "live", "clientOrderId": id, **WHY}
    assert plan(world, f"{PATH}/lost-orders/disown", body) == ("disown", {"lost": (True, False)})
    assert post(running, f"{PATH}/lost-orders/disown", body) == {"mode": "live", "clientOrderId": id}
    assert actions(trading)[-1] == ("disown", id, running.actor, "a gift")
    assert get(running, f"{PATH}/lines")["lostOrders"] == []
    assert trading.call_loop(trading.account.open_orders) == []
    trading.wait_until(lambda: trading.desk.accounts.link("p", Mode.LIVE).ready)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/providers/none/lines/book", {**BOOK, "amount": "1"}, 404),
        (f"{PATH}/lines/book", {**BOOK, "mode": "paper", "amount": "1"}, 404),
        (f"{PATH}/lines/book", {**BOOK, "currency": "XYZ", "amount": "1"}, 409),
        *[
            (f"{PATH}/lines/book", {**BOOK, "amount": wrong}, 400)
            for wrong in ("", "x", "NaN", "Infinity", "1/3", "1" * 200, "\N{ARABIC-INDIC DIGIT ONE}", 5)
        ],
        (f"{PATH}/lines/book", {**BOOK, "amount": "1", "reason": ""}, 400),
        (f"{PATH}/lines/book", {**BOOK, "amount": "1", "asset": "USDT"}, 400),
        (f"{PATH}/lost-orders/disown", {"mode": "live", "clientOrderId": "x", **WHY}, 404),
    ],
)
def test_a_request_that_is_not_valid_changes_nothing(world: World, path: str, body: Any, status: int) -> None:
    running, trading = world
    before = actions(trading)
    lines = get(running, f"{PATH}/lines")
    post(running, path, body, status)
    assert actions(trading) == before
    assert get(running, f"{PATH}/lines") == lines
    assert trading.desk.accounts.keys() == [("p", Mode.LIVE)]


def test_an_account_that_does_not_exist_has_no_lines(world: World) -> None:
    running, _ = world
    assert get(running, "/providers/none/lines", 404)["code"] == "not_found"
    assert get(running, "/providers/fake/lines") == {"trading": True, "lines": [], "lostOrders": []}
