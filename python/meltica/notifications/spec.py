"""The settings of notifications."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from meltica.validation.models import fault
from meltica.validation.section import Name, Section, words
from meltica.validation.units import Duration

EventType = Literal[
    "risk.halted",
    "risk.resumed",
    "order.unknown",
    "instance.failed",
    "instance.stuck",
    "instance.running",
    "instance.stopped",
    "provider.failed",
    "provider.running",
    "provider.stopped",
]
"""Types of events of the outbox that a webhook may receive."""

BAD_NEWS: Final[tuple[EventType, ...]] = (
    "risk.halted",
    "risk.resumed",
    "order.unknown",
    "instance.failed",
    "instance.stuck",
    "provider.failed",
)

MIN_SECRET: Final = 16


def _url(value: SecretStr) -> SecretStr:
    """Validates a URL, which may be a secret: encrypted, unless the host is a private address."""
    try:
        parts = urlsplit(value.get_secret_value())
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise fault("expected a URL such as https://hooks.example/path") from None
    if parts.scheme not in ("http", "https") or not host or not value.get_secret_value().isprintable():
        raise fault("expected a URL such as https://hooks.example/path")
    if parts.username is not None or parts.password is not None:
        raise fault("expected a URL without a user and a password")
    if parts.scheme == "http" and not _is_private(host):
        raise fault("expected https, since the host is neither localhost nor a private address")
    return value


def _is_private(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_private
    except ValueError:
        return False


def _template(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not value:
        raise fault("expected the keys of a JSON object")
    return value


Url = Annotated[SecretStr, AfterValidator(_url)]
Events = Annotated[tuple[EventType, ...], BeforeValidator(words), Field(min_length=1)]
Template = Annotated[dict[str, Any], AfterValidator(_template)]


class WebhookSettings(Section):
    """A receiver of events."""

    url: Url
    """Where events are posted; a secret, as those of chat services are."""
    events: Events = BAD_NEWS
    """Types of the events that are sent."""
    secret: SecretStr | None = None
    """Key of the signature of each message."""
    template: Literal["event", "slack", "discord"] | Template = "event"
    """Form of the body: a known one, or a JSON object in which `$text` and other names are replaced."""

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_SECRET:
            raise fault(f"expected at least {MIN_SECRET} characters")
        return value


class HeartbeatSettings(Section):
    """A URL that is requested as long as the gateway is ready."""

    url: Url | None = None
    """Requested while the gateway is ready; silence means that it is not."""
    fail_url: Url | None = Field(default=None, validate_default=True)
    """Requested while the gateway is not ready."""
    interval: Duration = Field(default=timedelta(minutes=1), ge=timedelta(seconds=1))
    """Time between two requests."""

    @field_validator("fail_url")
    @classmethod
    def _with_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and info.data.get("url") is None:
            raise fault("expected `failUrl` only together with `url`")
        return value


class NotificationsSettings(Section):
    """What is reported to the operator."""

    webhooks: dict[Name, WebhookSettings] = {}
    """Name -> receiver of events."""
    heartbeat: HeartbeatSettings = HeartbeatSettings()
