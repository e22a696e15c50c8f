"""What webhooks send, and what their settings accept."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any, get_args

import orjson
import pytest
from pydantic import ValidationError

from meltica.notifications.messages import MAX_TEXT, body_of, headers_of, message_id, text_of
from meltica.notifications.spec import BAD_NEWS, EventType, NotificationsSettings, WebhookSettings
from meltica.persistence.stores.outbox import Delivery
from meltica.runtime.lifecycle import InstanceState, ProviderState

URL = "https://hooks.example/T0/secret-path"
SECRET = "0123456789abcdef"


def delivery(event_type: str, payload: dict[str, Any]) -> Delivery:
    return Delivery(
        id=7,
        aggregate_type="risk",
        aggregate_id="global",
        event_type=event_type,
        payload=payload,
        headers={},
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        attempts=1,
    )


def settings(**values: Any) -> WebhookSettings:
    return WebhookSettings.model_validate({"url": URL, **values})


HALT = delivery(
    "risk.halted", {"scope": "global", "mode": "paper", "by": "ann", "reason": "$id <!here>\n@all"}
)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (HALT, "global is halted in paper by ann: $id <!here> @all"),
        (delivery("risk.resumed", {"scope": "provider:main"}), "provider:main is resumed"),
        (
            delivery(
                "order.unknown",
                {
                    "client_order_id": "m1",
                    "side": "BUY",
                    "quantity": "0.5",
                    "symbol": "BTC-USDT",
                    "instance": "maker",
                    "provider": "main",
                },
            ),
            "order m1 (BUY 0.5 BTC-USDT) of maker at main is unknown: its outcome is open",
        ),
        (
            delivery("instance.failed", {"kind": "instance", "name": "maker", "error": "no licence"}),
            "instance maker is failed: no licence",
        ),
    ],
)
def test_the_text_of_each_event(event: Delivery, text: str) -> None:
    assert text_of(event) == text


def test_a_long_text_is_cut() -> None:
    assert len(text_of(delivery("instance.failed", {"name": "a", "error": "x" * 5000}))) == MAX_TEXT


def test_the_forms_hold_the_text_as_it_is() -> None:
    text = text_of(HALT)
    bodies = {
        name: orjson.loads(body_of(settings(template=name), HALT)) for name in ("event", "slack", "discord")
    }
    assert (bodies["event"]["text"], bodies["event"]["payload"]["by"]) == (text, "ann")
    assert bodies["event"]["id"] == message_id(HALT)
    assert bodies["slack"]["blocks"][0]["text"] == {"type": "plain_text", "text": text}
    assert bodies["discord"] == {"content": text, "allowed_mentions": {"parse": []}}
    own = settings(template={"chat_id": 12, "text": "$type: $text", "more": ["$about", "$unknown"]})
    assert orjson.loads(body_of(own, HALT)) == {
        "chat_id": 12,
        "text": f"risk.halted: {text}",
        "more": ["global", "$unknown"],
    }


def test_the_signature_covers_id_time_and_body() -> None:
    body = b'{"a": 1}'
    headers = headers_of(settings(secret=SECRET), "17-7", body, 1700000000.9)
    signed = b"17-7.1700000000." + body
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-id"] == "17-7"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert "webhook-signature" not in headers_of(settings(), "17-7", body, 1.0)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"url": "http://hooks.example/secret-path"}, "expected https"),
        ({"url": "http://8.8.8.8/secret-path"}, "expected https"),
        ({"url": "file:///secret-path"}, "expected a URL"),
        ({"url": "https://user:secret-path@hooks.example/"}, "without a user"),
        ({"url": "https://hooks.example:99999/secret-path"}, "expected a URL"),
        ({"url": "https://hooks.example/secret-path\n"}, "expected a URL"),
        ({"secret": "secret-path"}, "at least 16"),
        ({"events": []}, "at least 1"),
        ({"events": ["order.filled"]}, "order.unknown"),
        ({"template": {}}, "expected the keys"),
    ],
)
def test_refused_settings(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault) as refused:
        settings(**values)
    assert "secret-path" not in str(refused.value)


def test_private_receivers_need_no_encryption() -> None:
    for host in ("localhost:1", "127.0.0.1", "10.0.0.7:8080", "[::1]"):
        assert settings(url=f"http://{host}/x")


def test_a_fail_url_needs_a_url() -> None:
    with pytest.raises(ValidationError, match="only together"):
        NotificationsSettings.model_validate({"heartbeat": {"failUrl": URL}})


def test_the_types_of_events_exist() -> None:
    states = {f"instance.{each}" for each in InstanceState} | {f"provider.{each}" for each in ProviderState}
    others = {"risk.halted", "risk.resumed", "order.unknown"}
    assert set(get_args(EventType)) - states == others
    assert set(BAD_NEWS) <= set(get_args(EventType))
