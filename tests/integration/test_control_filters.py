"""Filters of lists and streams: what is misspelt is refused, what was removed can be listed."""

from uuid import UUID

import pytest

from meltica.model.enums import Mode
from tests.integration.test_control_events import ordered
from tests.integration.test_control_resources import failure, ok
from tests.support.event_stream import stream
from tests.support.gateway import Running
from tests.support.trading_rows import order

OF_INSTANCE = "/strategy/instances/watcher"
WITH_PROVIDER = (
    "/orders",
    "/refusals",
    "/refusals/counts",
    f"{OF_INSTANCE}/positions",
)
WITH_ALL = ("/orders", "/refusals", "/refusals/counts", "/events")


@pytest.fixture(name="stored", scope="module")
def _stored(control: Running) -> Running:
    """A gateway with an order of an instance and a provider that were removed."""
    row = order(instance="former", provider="closed", symbol="OLD-USDT", mode=Mode.PAPER, uid=UUID(int=7))
    ordered(control, row)
    return control


@pytest.mark.parametrize("path", WITH_ALL)
@pytest.mark.parametrize(
    ("text", "meant"),
    [("BTCUSDT", "BTC-USDT"), ("btc_usdt", "BTC-USDT"), ("BTC-USDX", "BTC-USDT"), ("*", "BTC/USDT")],
)
def test_a_misspelt_symbol_is_refused(stored: Running, path: str, text: str, meant: str) -> None:
    assert f"{meant}" in failure(stored.client.get(path, params={"symbol": text}), 400, "invalid_parameter")


@pytest.mark.parametrize("path", [*WITH_PROVIDER, "/events"])
def test_a_misspelt_provider_is_refused(stored: Running, path: str) -> None:
    text = failure(stored.client.get(path, params={"provider": "mian"}), 400, "invalid_parameter")
    assert text == "`provider`: 'mian' is unknown; did you mean `main`?"


@pytest.mark.parametrize("path", WITH_ALL)
def test_a_misspelt_instance_is_refused(stored: Running, path: str) -> None:
    text = failure(stored.client.get(path, params={"instance": "wacther"}), 400, "invalid_parameter")
    assert text == "`instance`: 'wacther' is unknown; did you mean `watcher`?"


@pytest.mark.parametrize(
    "query",
    [
        "instance=former",
        "provider=closed",
        "symbol=old/usdt",
        "instance=former&provider=closed&symbol=OLD-USDT",
    ],
)
def test_what_was_removed_is_listed(stored: Running, query: str) -> None:
    assert ok(stored.client.get(f"/orders?{query}"))["count"] == 1
    for more in ("state=ACK&mode=live", "since=9000000000000"):
        assert ok(stored.client.get(f"/orders?{query}&{more}"))["count"] == 0
    assert ok(stored.client.get(f"/refusals?{query}"))["count"] == 0
    with stream(stored, f"?{query}") as events:
        events.next("ready")
    provider = [each for each in query.split("&") if each.startswith("provider")]
    for path in ("orders", "executions", "positions") if provider else ():
        assert ok(stored.client.get(f"{OF_INSTANCE}/{path}?provider=closed"))["count"] == 0


def test_a_stream_of_states_knows_what_is_configured(stored: Running) -> None:
    with stream(stored, "?kind=provider&provider=main") as events:
        assert events.next("provider").data["name"] == "main"
    failure(stored.client.get("/events?kind=provider&provider=closed"), 400, "invalid_parameter")
