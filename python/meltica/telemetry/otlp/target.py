"""Where telemetry is exported to: the settings, and the standard variables for what they leave open."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from meltica.errors import ConfigError

VARIABLES: Final = (
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_INSECURE",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
)
"""The standard variables that have an effect."""
EXPECTED: Final = "expected host:port or http(s)://host:port/path, without a password"
TIMEOUT: Final = 10_000
INTERVAL: Final = 30_000
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OTLP: Final = "OTEL_EXPORTER_OTLP_"


class Target(NamedTuple):
    """A collector, and what is sent to it."""

    traces: str | None
    """URL of the traces; None if they are not exported."""
    metrics: str | None
    headers: Mapping[str, str]
    timeout: float
    """Seconds of one request."""
    interval: float
    """Seconds between two exports of metrics."""
    ca: Path | None
    certificate: Path | None
    key: Path | None
    resource: Mapping[str, str]
    """Attributes of the gateway."""


def target_of(
    environment: Mapping[str, str],
    *,
    endpoint: str | None,
    insecure: bool | None,
    metrics: bool | None,
    service_name: str | None,
    attributes: Mapping[str, str],
) -> Target | None:
    """Returns where to export to; None if nothing is exported.

    Settings that are None are those of the standard variables. Raises ConfigError.
    """
    values = {name: text for name in VARIABLES if (text := environment.get(name, "").strip())}
    if insecure is None:
        insecure = values.get(f"{_OTLP}INSECURE", "").lower() == "true"
    signals = {name: _signal(values, name, endpoint, insecure) for name in ("traces", "metrics")}
    if metrics is not None:
        if not metrics:
            signals["metrics"] = None
        elif signals["metrics"] is None:
            signals["metrics"] = _url(values, "metrics", endpoint, insecure)
    if values.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(signals.values()):
        return None
    resource = _pairs("OTEL_RESOURCE_ATTRIBUTES", values.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    name = service_name or values.get("OTEL_SERVICE_NAME") or resource.get("service.name") or "meltica"
    headers = _pairs(f"{_OTLP}HEADERS", values.get(f"{_OTLP}HEADERS", ""))
    if not all(_HEADER.fullmatch(key) and value.isprintable() for key, value in headers.items()):
        raise ConfigError("OTLP", [f"{_OTLP}HEADERS: expected name=value,name=value, names of headers"])
    return Target(
        signals["traces"],
        signals["metrics"],
        headers,
        _milliseconds(values, f"{_OTLP}TIMEOUT", TIMEOUT),
        _milliseconds(values, "OTEL_METRIC_EXPORT_INTERVAL", INTERVAL),
        _file(values, "CERTIFICATE"),
        _file(values, "CLIENT_CERTIFICATE"),
        _file(values, "CLIENT_KEY"),
        {**resource, **attributes, "service.name": name},
    )


def is_endpoint(text: str) -> bool:
    """Returns whether a text is the address of a collector; the scheme may be absent."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    extra = parts.username is not None or parts.query or parts.fragment
    return bool(valid) and not extra and text.isascii() and text.isprintable() and " " not in text


def _signal(values: Mapping[str, str], name: str, endpoint: str | None, insecure: bool) -> str | None:
    exporter = values.get(f"OTEL_{name.upper()}_EXPORTER", "otlp").lower()
    return None if exporter == "none" else _url(values, name, endpoint, insecure)


def _url(values: Mapping[str, str], name: str, endpoint: str | None, insecure: bool) -> str | None:
    own = None if endpoint else values.get(f"{_OTLP}{name.upper()}_ENDPOINT")
    text = own or endpoint or values.get(f"{_OTLP}ENDPOINT")
    if not text:
        return None
    url = text if "://" in text else f"http{'' if insecure else 's'}://{text}"
    if not is_endpoint(url):
        # Without the text: it may have a password.
        raise ConfigError("OTLP", [f"endpoint of {name}: {EXPECTED}"])
    return url if own else f"{url.rstrip('/')}/v1/{name}"


def _pairs(variable: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ConfigError("OTLP", [f"{variable}: expected name=value,name=value"])
        found[unquote(name.strip())] = unquote(value.strip())
    return found


def _milliseconds(values: Mapping[str, str], name: str, default: int) -> float:
    text = values.get(name, str(default))
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise ConfigError("OTLP", [f"{name}: expected a number of milliseconds, saw {text[:20]!r}"])
    return int(text) / 1000


def _file(values: Mapping[str, str], name: str) -> Path | None:
    text = values.get(f"{_OTLP}{name}")
    return None if text is None else Path(text)
