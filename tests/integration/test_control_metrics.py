"""The metrics of a running gateway, compared with their documentation."""

import re
from collections.abc import Iterable
from io import StringIO

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from meltica import _core
from meltica.adapters.replay import sample
from meltica.telemetry.registry import Scrape
from tests.support import venue
from tests.support.gateway import Running
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "TELEMETRY_POINTS.md"
TRADING = ("meltica_trading_", "meltica_risk_")
"""Prefixes of the metrics that only a gateway has in which lambdas trade."""
_ROW = re.compile(r"\| `(\w+)` \| (\w+) \| ?(\w*) \| ?([^|]*)\| ([^|]+) \|")


@pytest.fixture(scope="module")
def busy(control: Running) -> Running:
    """A gateway in which every counter has been raised."""
    control.until(lambda: control.gateway.providers.get("main").running)
    producer = venue.Venue.producers["main"]
    frames = [line.partition(b" ")[2] for line in sample.lines(steps=40)]
    diffs = [frame for frame in frames if b'"btcusdt@depth' in frame]
    venue.GATE.clear()
    for frame in frames:
        # Without one diff of one book, the rest of it does not fit.
        if frame != diffs[20]:
            producer.feed(frame)
    producer.feed(b"garbage")
    venue.GATE.set()
    assert producer.drain(20)
    control.client.get("/no/such/path")
    return control


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Returns the type and the labels of the metrics on the page."""
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, _, labels, _ in _ROW.findall(PAGE.read_text())
    }


def families(running: Running) -> dict[str, Metric]:
    text = running.client.get("/metrics").text
    return {_name(family): family for family in plain(text)}


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> set[frozenset[str]]:
    return {frozenset(sample.labels) - {"le"} for sample in family.samples}


def value(running: Running, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in families(running).values()
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    (one,) = found
    return one


def test_metrics_and_their_documentation_agree(busy: Running) -> None:
    page = documented()
    # A gateway without webhooks has no metric of them.
    assert page.pop("meltica_webhook_messages_total") == ("counter", {"webhook", "outcome"})
    page = {name: row for name, row in page.items() if not name.startswith(TRADING)}
    exposed = {name: (family.type, _labels(family)) for name, family in families(busy).items()}
    assert {name for name, (_, labels) in exposed.items() if not labels} == set(), "has no sample"
    assert exposed == {name: (kind, {labels}) for name, (kind, labels) in page.items()}


def test_names_end_in_the_documented_unit(busy: Running) -> None:
    units = {name: unit for name, _, unit, _, _ in _ROW.findall(PAGE.read_text())}
    for name in families(busy):
        base = name.removesuffix("_total")
        assert name.startswith(("meltica_", "process_", "python_gc_"))
        assert name.count("meltica") == name.startswith("meltica_")
        for unit in ("seconds", "bytes"):
            assert base.endswith(f"_{unit}") == (units[name] == unit), name


def test_values_equal_the_stats_of_the_core(busy: Running) -> None:
    stats = busy.gateway.core.stats()
    main = stats["providers"]["main"]
    for name, expected in {
        "meltica_provider_frames_total": main["frames"],
        "meltica_provider_frame_bytes_total": main["bytes"],
        "meltica_provider_book_gaps_total": main["gaps"],
        "meltica_dispatcher_events_unwanted_total": main["unwanted"],
    }.items():
        assert value(busy, name, provider="main") == expected
    assert main["gaps"] == 1
    assert value(busy, "meltica_provider_books_stale_total", provider="main", reason="gap") == 1
    assert sum(main["errors"].values()) == 1
    watcher = busy.gateway.instances.get("slowly").stats()
    assert watcher is not None
    for field in ("delivered", "conflated", "dropped"):
        assert watcher[field], field
        for kind, n in watcher[field].items():
            name = f"meltica_lambda_events_{field}_total"
            assert value(busy, name, **{"lambda": "slowly", "event_type": kind}) == n
    assert value(busy, "meltica_eventbus_subscribers", event_type="Trade") == 3
    assert value(busy, "meltica_gateway_lock_held") == 1
    assert value(busy, "meltica_pool_limit_bytes") == busy.gateway.settings.pools.max_bytes
    assert value(busy, "meltica_pool_reserved_bytes") == busy.gateway.core.stats()["reserved_bytes"]
    assert value(busy, "meltica_eventbus_extension_bytes") == stats["extension_bytes"]
    slots = [
        value(busy, f"meltica_pool_{name}", pool_name="book")
        for name in ("capacity", "available", "objects_active")
    ]
    assert slots[0] == slots[1] + slots[2] == stats["book_pool"]["capacity"] > slots[2]


def test_states(busy: Running) -> None:
    for state in ("pending", "starting", "running", "stopped", "failed"):
        assert value(busy, "meltica_provider_state", provider="main", state=state) == (state == "running")
    assert value(busy, "meltica_provider_desired", provider="main") == 1
    assert value(busy, "meltica_provider_desired", provider="spare") == 0
    labels = {"lambda": "unloaded", "state": "pending"}
    assert value(busy, "meltica_lambda_state", **labels) == 1
    revision = busy.gateway.instances.stored("large-trades").revision or ""
    name = "meltica_strategy_revision_instances"
    assert value(busy, name, strategy="LargeTrades", hash=revision) == 1


def test_histograms_equal_those_of_the_core_in_seconds(busy: Running) -> None:
    run = busy.gateway.instances.get("slowly").run
    assert run is not None
    [(provider, (counts, total, number))] = run.core.histograms()["callback"].items()
    family = families(busy)["meltica_lambda_callback_duration_seconds"]
    rows = [sample for sample in family.samples if sample.labels["lambda"] == "slowly"]
    buckets = {sample.labels["le"]: sample.value for sample in rows if sample.name.endswith("_bucket")}
    assert [float(bound) for bound in buckets][:-1] == [bound / 1e9 for bound in _core.HISTOGRAM_BOUNDS_NS]
    assert [int(n) for n in buckets.values()][:-1] == counts
    by_name = {sample.name.rpartition("_")[2]: sample.value for sample in rows}
    assert buckets["+Inf"] == by_name["count"] == number == run.stats()["callback_ns"]["count"] > 0
    assert {sample.labels["provider"] for sample in rows} == {provider}
    assert by_name["sum"] == total / 1e9


def test_histograms_are_cumulative(busy: Running) -> None:
    for family in families(busy).values():
        if family.type != "histogram":
            continue
        last: dict[str, float] = {}
        for row in family.samples:
            if row.name.endswith("_bucket"):
                who = ",".join(text for label, text in row.labels.items() if label != "le")
                assert row.value >= last.get(who, 0)
                last[who] = row.value


def test_a_client_cannot_add_label_values(busy: Running) -> None:
    def series() -> set[tuple[str, ...]]:
        family = families(busy)["meltica_api_requests_total"]
        names = ("method", "route", "status")
        return {tuple(sample.labels[name] for name in names) for sample in family.samples}

    def send_requests() -> None:
        for name in ("a", "b"):
            busy.client.get(f"/{name}")
            busy.client.get(f"/providers/{name}")
            busy.client.get("/providers", headers={"host": f"{name}.example"})
            busy.client.request("PROPFIND" if name == "a" else "MKCOL", f"/providers/{name}")

    send_requests()
    families(busy)
    before = series()
    send_requests()
    assert series() == before
    assert ("GET", "/providers/{name}", "404") in before
    assert ("GET", "unknown", "404") in before
    assert ("other", "unknown", "405") in before


def test_symbols_are_not_exposed(busy: Running) -> None:
    for accept in ("", "application/openmetrics-text"):
        text = busy.client.get("/metrics", headers={"accept": accept}).text
        assert "BTC" not in text
        assert "btc" not in text


def test_openmetrics_is_negotiated(busy: Running) -> None:
    answer = busy.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    parsed = openmetrics.text_fd_to_metric_families(  # pyright: ignore[reportUnknownMemberType]
        StringIO(answer.text)
    )
    assert {_name(one) for one in parsed} == set(families(busy))
    usual = busy.client.get("/metrics", headers={"accept": "*/*"})
    assert usual.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_scrape_is_read_off_the_loops_thread(busy: Running) -> None:
    scrape = busy.submit(_scrape(busy)).result(10)
    text, _ = scrape.render("")
    assert set(_families(plain(text))) == set(families(busy))


async def _scrape(running: Running) -> Scrape:
    return running.gateway.metrics.scrape()


def _families(found: Iterable[Metric]) -> dict[str, Metric]:
    return {_name(family): family for family in found}
