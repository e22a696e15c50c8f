"""Environment variables: the name of each key, and the faults of names that do not match any key."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.settings.document import read
from meltica.settings.environment import OTHERS, layer, variable, variables
from meltica.settings.loading import load, shipped
from meltica.settings.shape import shape

VALUES: dict[str, object] = {
    "providers": {"binance-main": {"adapter": "replay", "settings": {}}, "a.b": {"adapter": "nothing"}},
    "lambdas": {"big": {"config": {"notional": 1, "maxSize": 2, "deep": {"x": 1}}, "scope": {"a.b": "*"}}},
}
VARIABLES = variables(VALUES)
EXAMPLE = shape(read(shipped("example"), {}).values).values


def faults(**environment: str) -> list[str]:
    return layer(environment, VALUES).faults


def values(**environment: str) -> dict[str, object]:
    result = layer(environment, VALUES)
    assert not result.faults
    return result.values


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("apiServer", "addr"), "MELTICA_APISERVER__ADDR"),
        (("eventbus", "extensionPayloadCapBytes"), "MELTICA_EVENTBUS__EXTENSIONPAYLOADCAPBYTES"),
        (("environment",), "MELTICA_ENVIRONMENT"),
        (("providers", "binance-main", "settings"), "MELTICA_PROVIDERS__BINANCE_MAIN__SETTINGS"),
        (("providers", "a.b", "settings"), "MELTICA_PROVIDERS__A_B__SETTINGS"),
        (("providers", "a.b", "enabled"), "MELTICA_PROVIDERS__A_B__ENABLED"),
        (("lambdas", "big", "config", "maxSize"), "MELTICA_LAMBDAS__BIG__CONFIG__MAXSIZE"),
        (("lambdas", "big", "scope", "a.b"), "MELTICA_LAMBDAS__BIG__SCOPE__A_B"),
        (("lambdas", "big", "policies", "Trade"), "MELTICA_LAMBDAS__BIG__POLICIES__TRADE"),
    ],
)  # fmt: skip
def test_names(key: tuple[str, ...], name: str) -> None:
    assert variable(key) == name
    assert [loc for loc, _ in VARIABLES[name]] == [key]


@given(st.sampled_from(sorted(VARIABLES)), st.integers(min_value=0))
def test_names_are_case_insensitive(name: str, bits: int) -> None:
    mixed = "".join(char.lower() if bits >> number & 1 else char for number, char in enumerate(name))
    result = layer({mixed: "{}"}, VALUES)
    assert not result.faults
    assert set(result.origins.values()) == {mixed}
    assert VARIABLES[name][0][0] in result.origins


@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ_", min_size=1, max_size=30))
def test_a_name_sets_a_key_or_is_refused(rest: str) -> None:
    name = f"MELTICA_{rest}"
    result = layer({name: "{}"}, VALUES)
    if name in OTHERS:
        assert not result.faults
        assert not result.values
    elif name in VARIABLES or name.startswith("MELTICA_LAMBDAS__BIG__CONFIG__"):
        assert bool(result.faults) != bool(result.values)
    else:
        assert len(result.faults) == 1
        assert f"`{name}` does not match any key; " in result.faults[0]


@given(
    st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ_", max_size=30).filter(lambda text: text[:8] != "MELTICA_")
)
def test_variables_without_the_prefix_are_ignored(name: str) -> None:
    result = layer({name: "x"}, VALUES)
    assert (result.values, result.faults) == ({}, [])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("MELTICA_API_SERVER__ADDR", "did you mean `MELTICA_APISERVER__ADDR`?"),
        ("MELTICA_APISERVER_ADDR", "did you mean `MELTICA_APISERVER__ADDR`?"),
        ("MELTICA_EVENTBUS__BUFFER_SIZE", "did you mean `MELTICA_EVENTBUS__BUFFERSIZE`?"),
        ("MELTICA_EVENTBUS__BUFERSIZE", "did you mean `MELTICA_EVENTBUS__BUFFERSIZE`?"),
        ("MELTICA_ENV", "did you mean `MELTICA_ENVIRONMENT`?"),
        ("MELTICA_CONFIG", "did you mean `MELTICA_CONFIG_PATH`?"),
        ("MELTICA_SECRETKEY", "did you mean `MELTICA_SECRET_KEY`?"),
        ("MELTICA_PROVIDERS__BINANCE__ENABLED", "did you mean `MELTICA_PROVIDERS__BINANCE_MAIN__ENABLED`?"),
        ("MELTICA_LAMBDAS__BIGG__HOST", "did you mean `MELTICA_LAMBDAS__BIG__HOST`?"),
        ("MELTICA_LOG__LEVEL__X", "did you mean `MELTICA_LOG__LEVEL`?"),
        ("MELTICA_", "`meltica config show` lists them"),
        ("MELTICA_QQQ", "`meltica config show` lists them"),
    ],
)
def test_the_nearest_name_is_suggested(name: str, hint: str) -> None:
    assert faults(**{name: "x"}) == [f"`{name}` does not match any key; {hint}"]


def test_sections_are_json_and_single_keys_override_them() -> None:
    assert values(
        MELTICA_LOG__LEVEL="error",
        MELTICA_LOG='{"level": "info", "format": "json"}',
        MELTICA_ENVIRONMENT="ci",
    ) == {"log": {"level": "error", "format": "json"}, "environment": "ci"}
    assert values(
        MELTICA_LAMBDAS='[{"id": "new", "strategy": "x"}]', MELTICA_PROVIDERS='{"n": {"adapter": "replay"}}'
    ) == {"lambdas": {"new": {"strategy": "x"}}, "providers": {"n": {"adapter": "replay"}}}
    assert faults(MELTICA_LOG="{") == ['`MELTICA_LOG`: expected JSON such as {"key": "value"}']
    assert faults(MELTICA_LAMBDAS="[1]") == [
        "`lambdas[0]` (MELTICA_LAMBDAS): expected keys with values: id, strategy, scope and others"
    ]


def test_variables_can_add_keys_to_the_config_of_a_lambda() -> None:
    assert values(
        MELTICA_LAMBDAS__BIG__CONFIG__NOTIONAL="5",
        MELTICA_LAMBDAS__BIG__CONFIG__MAXSIZE="6",
        MELTICA_LAMBDAS__BIG__CONFIG__GRID__WIDTH="7",
    ) == {"lambdas": {"big": {"config": {"notional": "5", "maxSize": "6", "grid": {"width": "7"}}}}}
    assert len(faults(MELTICA_LAMBDAS__BIG__CONFIG__="5", MELTICA_LAMBDAS__NO__CONFIG__X="5")) == 2


def test_an_empty_variable_counts_as_unset_but_must_match_a_key() -> None:
    assert values(MELTICA_LOG__LEVEL="", MELTICA_LOG="") == {}
    assert len(faults(MELTICA_LOG__LEVL="")) == 1


def test_duplicate_and_ambiguous_names_are_refused() -> None:
    assert faults(MELTICA_LOG__LEVEL="info", meltica_log__level="info") == [
        "`meltica_log__level` sets the same key as `MELTICA_LOG__LEVEL`; keep one"
    ]
    alike: dict[str, object] = {"providers": {"a-b": None, "a_b": None}}
    assert layer({"MELTICA_PROVIDERS__A_B__ENABLED": "1"}, alike).faults == [
        "`MELTICA_PROVIDERS__A_B__ENABLED` is ambiguous: it sets a key of `a-b` or `a_b`; rename one"
    ]


def test_variables_reach_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(shipped("example").read_text())
    loaded = load(
        file,
        environ={
            "MELTICA_EVENTBUS__BUFFERSIZE": "7",
            "MELTICA_LAMBDAS__LARGE_TRADES__SCOPE__DEMO": "BTC/USDT, ETH-USDT,BTC-USDT",
            "MELTICA_LAMBDAS__LARGE_TRADES__CONFIG__NOTIONAL": "5",
            "MELTICA_PROVIDERS__DEMO__SETTINGS__PATHS": "a.gz, b.gz",
            "MELTICA_PROVIDERS__DEMO__SETTINGS__SAMPLE": "no",
            "MELTICA_RISK__ALLOWEDORDERTYPES": "market",
            "MELTICA_HOME": "/srv/meltica",
        },
    )
    spec = loaded.lambdas["large-trades"]
    assert spec.scope == {"demo": ("BTC-USDT", "ETH-USDT")}
    assert spec.config == {"notional": "5"}
    assert spec.buffer_size == 7
    settings = loaded.providers["demo"].settings.model_dump()
    assert settings["paths"] == [tmp_path / "a.gz", tmp_path / "b.gz"]
    assert loaded.settings.risk.allowed_order_types == ("Market",)
