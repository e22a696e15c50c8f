"""Which settings and variables decide where telemetry is exported to."""

from pathlib import Path
from typing import Any

import pytest

from meltica.errors import ConfigError
from meltica.telemetry.otlp.target import VARIABLES, Target, is_endpoint, target_of
from tests.support.paths import ROOT

OTLP = "OTEL_EXPORTER_OTLP_"


def found(environment: dict[str, str] | None = None, **settings: Any) -> Target | None:
    given: dict[str, Any] = dict.fromkeys(("endpoint", "insecure", "metrics", "service_name")) | settings
    return target_of(environment or {}, attributes={"deployment.environment.name": "ci"}, **given)


def target(environment: dict[str, str] | None = None, **settings: Any) -> Target:
    result = found(environment, **settings)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("endpoint", "insecure", "url"),
    [
        ("collector:4318", None, "https://collector:4318/v1/traces"),
        ("collector:4318", True, "http://collector:4318/v1/traces"),
        ("https://collector", True, "https://collector/v1/traces"),
        ("http://[::1]:4318/base/", False, "http://[::1]:4318/base/v1/traces"),
    ],
)
def test_a_scheme_decides_about_tls_before_the_setting(
    endpoint: str, insecure: bool | None, url: str
) -> None:
    assert target(endpoint=endpoint, insecure=insecure).traces == url


def test_the_endpoint_of_the_settings_replaces_those_of_the_variables() -> None:
    environment = {
        f"{OTLP}ENDPOINT": "http://all:1",
        f"{OTLP}TRACES_ENDPOINT": "http://one:2/custom",
        f"{OTLP}INSECURE": "true",
    }
    assert target(environment)[:2] == ("http://one:2/custom", "http://all:1/v1/metrics")
    assert target(environment, endpoint="mine:3")[:2] == (
        "http://mine:3/v1/traces",
        "http://mine:3/v1/metrics",
    )
    assert target(environment, endpoint="mine:3", insecure=False).traces == "https://mine:3/v1/traces"


def test_signals_can_be_left_out() -> None:
    environment = {"OTEL_METRICS_EXPORTER": "none"}
    assert target(environment, endpoint="a").metrics is None
    assert target(environment, endpoint="a", metrics=True).metrics is not None
    assert target(endpoint="a", metrics=False).metrics is None
    assert target({"OTEL_TRACES_EXPORTER": "none"}, endpoint="a").traces is None
    assert found({"OTEL_TRACES_EXPORTER": "none"}, endpoint="a", metrics=False) is None
    assert found({"OTEL_SDK_DISABLED": "TRUE"}, endpoint="a") is None
    assert found() is None
    assert found({f"{OTLP}ENDPOINT": " "}) is None


def test_headers_times_files_and_attributes() -> None:
    environment = {
        f"{OTLP}HEADERS": "authorization=Bearer%20a%3Db , x-tenant=7,",
        f"{OTLP}TIMEOUT": "1500",
        f"{OTLP}CERTIFICATE": "/ca.pem",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
        "OTEL_RESOURCE_ATTRIBUTES": "host.name=h,service.name=low,deployment.environment.name=x",
    }
    result = target(environment, endpoint="a")
    assert result.headers == {"authorization": "Bearer a=b", "x-tenant": "7"}
    assert (result.timeout, result.interval, result.ca) == (1.5, 0.5, Path("/ca.pem"))
    expected = {"host.name": "h", "service.name": "low", "deployment.environment.name": "ci"}
    assert result.resource == expected
    environment["OTEL_SERVICE_NAME"] = "variable"
    assert target(environment, endpoint="a").resource["service.name"] == "variable"
    assert target(environment, endpoint="a", service_name="set").resource["service.name"] == "set"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (f"{OTLP}HEADERS", "secret"),
        (f"{OTLP}HEADERS", "a=x%0d%0asecret: y"),
        (f"{OTLP}HEADERS", "a b=secret"),
        (f"{OTLP}TIMEOUT", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
        (f"{OTLP}METRICS_ENDPOINT", "grpc://secret"),
        (f"{OTLP}ENDPOINT", "http://user:secret@host"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=secret"),
    ],
)
def test_a_fault_is_reported_without_secrets(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        found({f"{OTLP}ENDPOINT": "a", name: text})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["http://", "ftp://a", "http://a:0", "a:99999", "http://a b", "http://u:p@a", "http://a?x", "[::1", "é"],
)
def test_what_is_no_endpoint(text: str) -> None:
    assert not is_endpoint(text)


def test_the_page_has_every_variable() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text()
    assert [name for name in VARIABLES if f"`{name}`" not in page] == []
