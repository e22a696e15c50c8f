"""What is sent about an event: the body in the form of the receiver, and its headers.

The id and the signature are those of Standard Webhooks (https://www.standardwebhooks.com). The signature
covers the id, the time of the attempt and the body, so a receiver can refuse what is old or was changed.
"""

import base64
import hmac
from collections.abc import Mapping
from string import Template
from typing import Any, Final, cast

import orjson

from meltica._core import __version__
from meltica.notifications.spec import WebhookSettings
from meltica.persistence.stores.outbox import Delivery

MAX_TEXT: Final = 1500
"""Characters of a text; the chat services accept at least 2,000."""

FORMS: Final[dict[str, dict[str, Any]]] = {
    # Neither form lets a text mention people: a reason may have any content.
    "slack": {"blocks": [{"type": "section", "text": {"type": "plain_text", "text": "$text"}}]},
    "discord": {"content": "$text", "allowed_mentions": {"parse": []}},
}


def text_of(delivery: Delivery) -> str:
    """Returns one line about an event."""
    payload = cast(dict[str, Any], delivery.payload)
    match delivery.event_type:
        case "risk.halted":
            by, reason = payload.get("by"), payload.get("reason")
            text = f"{payload['scope']} is halted{_mode(payload)} by {by}: {reason}"
        case "risk.resumed":
            text = f"{payload['scope']} is resumed{_mode(payload)}"
        case "order.unknown":
            what = f"{payload.get('side')} {payload.get('quantity')} {payload.get('symbol')}"
            whose = f"{payload.get('instance')} at {payload.get('provider')}"
            text = (
                f"order {payload.get('client_order_id')} ({what}) of {whose} is unknown: its outcome is open"
            )
        case _:
            kind, _, state = delivery.event_type.partition(".")
            text = f"{kind} {payload.get('name', delivery.aggregate_id)} is {state}"
            if error := payload.get("error"):
                text += f": {error}"
    line = " ".join(text.split())
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 3] + "..."


def message_id(delivery: Delivery) -> str:
    """Returns the id of an event, the same for each attempt: receivers recognize repetitions by it."""
    return f"{int(delivery.created_at.timestamp() * 1e6)}-{delivery.id}"


def body_of(settings: WebhookSettings, delivery: Delivery) -> bytes:
    """Returns the body of a message about an event."""
    known = {
        "id": message_id(delivery),
        "type": delivery.event_type,
        "about": delivery.aggregate_id,
        "at": delivery.created_at.isoformat(),
        "text": text_of(delivery),
    }
    if settings.template == "event":
        return orjson.dumps({**known, "payload": delivery.payload})
    form = FORMS[settings.template] if isinstance(settings.template, str) else settings.template
    return orjson.dumps(_filled(form, known))


def headers_of(settings: WebhookSettings, id: str, body: bytes, now: float) -> dict[str, str]:
    """Returns the headers of an attempt to send a body at `now`, in seconds since 1970."""
    headers = {
        "content-type": "application/json",
        "user-agent": f"meltica/{__version__}",
        "webhook-id": id,
        "webhook-timestamp": str(int(now)),
    }
    if settings.secret is not None:
        signed = f"{id}.{int(now)}.".encode() + body
        digest = hmac.digest(settings.secret.get_secret_value().encode(), signed, "sha256")
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _filled(form: Any, known: Mapping[str, str]) -> Any:
    """Returns a form whose texts have the values of what they name. Other `$names` stay as they are."""
    match form:
        case str():
            return Template(form).safe_substitute(known)
        case dict():
            return {key: _filled(value, known) for key, value in cast(dict[str, Any], form).items()}
        case list():
            return [_filled(value, known) for value in cast(list[Any], form)]
        case _:
            return form


def _mode(payload: Mapping[str, Any]) -> str:
    return f" in {payload['mode']}" if "mode" in payload else ""
