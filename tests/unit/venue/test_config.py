"""The settings of `meltica venue serve` and the two forms of `fake`: every fault at once."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from meltica.adapters.fake.settings import FakeSettings
from meltica.errors import ConfigError
from meltica.simulator.settings import MarketSettings, VenueBehavior
from meltica.validation.models import load, masked
from meltica.venue import config

ENDPOINT = "http://127.0.0.1:8890"


def faults(path: Path, text: str, **overrides: object) -> tuple[str, ...]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides, {"SECRET": "hush"})
    assert caught.value.subject == str(path)
    return caught.value.faults


def test_the_default_config_has_one_account() -> None:
    settings = config.load(None, {})
    assert list(settings.accounts) == ["main"]
    main = settings.accounts["main"]
    assert (main.key, main.secret.get_secret_value()) == ("main", "main-secret")
    assert settings.rate_limit == 50
    assert settings.market == MarketSettings()


def test_environment_and_options_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "venue.yaml"
    path.write_text(
        "market: {seed: 7, speed: 10, symbols: [BTC-USDT], venue_behavior: {latency_max: 20ms}}\n"
        "accounts:\n  big: {key: k, secret: '${SECRET}', balances: {USDT: '1000000.5'}}\n"
        "  small: {key: s, secret: t}\n"
        "rate_limit: 0\n"
    )
    settings = config.load(path, {"seed": 8}, {"SECRET": "hush"})
    assert (settings.market.seed, settings.market.speed, settings.rate_limit) == (8, 10, 0)
    assert settings.market.venue_behavior.options()["latency_max"] == 20_000_000
    assert settings.accounts["big"].secret.get_secret_value() == "hush"
    assert settings.market.funds(settings.accounts["big"].balances) == {"USDT": Decimal("1000000.5")}
    assert settings.market.funds(settings.accounts["small"].balances) == {"BTC": 1000, "USDT": 1_000_000}
    assert "hush" not in repr(settings)
    assert "hush" not in str(masked(settings))


def test_one_error_lists_every_fault_of_a_file_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "venue.yaml"
    text = (
        "market:\n  seed: -1\n  sped: 2\n  venue_behavior: {reject: 2}\n"
        "accounts:\n  a b: {key: k, secret: s}\n  c: {key: '', balances: {USDT: -1}}\n"
        "rate_limit: '${NONE}'\nport: 1\n"
    )
    told = faults(path, text)
    for number, start in enumerate(
        (
            "`rate_limit` (line 8)",
            "`market.seed` (line 2)",
            "`market.sped` (line 3) is unknown; did you mean `speed`?",
            "`market.venue_behavior.reject` (line 4)",
            "`accounts.a b` (line 6)",
            "`accounts.c.key` (line 7)",
            "`accounts.c.secret` (line 7) is required",
            "`accounts.c.balances.USDT` (line 7)",
            "`port` (line 9) is unknown",
        )
    ):
        assert any(fault.startswith(start) for fault in told), (number, told)
    assert len(told) == 9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("market: {rate: max}", 'keeps pace, saw "max"'),
        ("market: {duration: 1h}", "serves until it is stopped"),
        ("accounts: {a: {key: k, secret: s}, b: {key: k, secret: t}}", "each key once, saw 'k' twice"),
        (
            "accounts: {a: {key: k, secret: s, balances: {EUR: 1}}}",
            "`accounts.a.balances`: expected currencies",
        ),
        ("accounts: {}", "`accounts`"),
        ("rate_limit: -1", "`rate_limit`"),
        (
            "market: {venue_behavior: {latency_min: 5ms}}",
            "`latency_max` of `latency_min` or more, saw 0s and 5ms",
        ),
        ("market: 3", "`market`"),
        ("- a", "expected keys with values"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, text: str, words: str) -> None:
    [told] = faults(tmp_path / "venue.yaml", text)
    assert words in told


def test_overrides_are_validated(tmp_path: Path) -> None:
    [told] = faults(tmp_path / "venue.yaml", "market: {seed: 3}", speed=-1.0)
    assert told.startswith("`market.speed`")


def test_a_secret_is_never_shown(tmp_path: Path) -> None:
    for told in faults(
        tmp_path / "venue.yaml", "accounts: {a: {key: k, secret: [hush]}, b: hush}\nrate_limit: x"
    ):
        assert "hush" not in told


def test_the_default_behavior_has_no_faults() -> None:
    durations = {"disconnect_for": 5_000_000_000, "report_late_for": 1_000_000_000}
    for name, value in VenueBehavior().options().items():
        assert value == durations.get(name, 0), name


def test_an_endpoint_selects_the_wire_form() -> None:
    here = load(FakeSettings, {"seed": 3}, subject="fake")
    assert (here.endpoint, here.seed) == (None, 3)
    there = load(FakeSettings, {"endpoint": f"{ENDPOINT}/", "key": "main", "secret": "hush"}, subject="fake")
    assert there.endpoint == ENDPOINT
    assert there.secret is not None
    assert "hush" not in repr(there)
    assert load(FakeSettings, {"endpoint": ENDPOINT}, subject="fake").key is None
    assert here.instrument_refresh_interval == timedelta(minutes=30)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"endpoint": ENDPOINT, "seed": 1, "speed": 2}, "whose venue has its own; saw `seed`, `speed`"),
        ({"endpoint": ENDPOINT, "venue_behavior": {}}, "saw `venue_behavior`"),
        ({"endpoint": ENDPOINT, "key": "main"}, "saw `key` without `secret`"),
        ({"endpoint": ENDPOINT, "secret": "hush"}, "saw `secret` without `key`"),
        ({"key": "main", "secret": "hush"}, "expected `key` only together with an `endpoint`"),
        ({"endpoint": "ftp://127.0.0.1"}, "expected an address such as http://127.0.0.1:8890"),
        ({"endpoint": f"{ENDPOINT}/v1"}, "expected an address such as"),
        ({"endpoint": "127.0.0.1:8890"}, "expected an address such as"),
    ],
)
def test_market_settings_and_an_endpoint_exclude_each_other(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(FakeSettings, values, subject="fake")
    assert words in str(caught.value)
    assert "hush" not in str(caught.value)
