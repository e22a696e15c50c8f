"""Providers and lambdas of the configuration: spellings, faults, specs of the managers, shipped files."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meltica.adapters import registry
from meltica.adapters.base import Adapter
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.errors import ConfigError
from meltica.lambdas.definition import CALLBACKS
from meltica.lambdas.launcher import trading_spec
from meltica.lambdas.loader import load as load_strategy
from meltica.model.trader import Inventory
from meltica.settings import Loaded, Settings, check_lambdas, load, shipped
from meltica.settings.entries import LambdaEntry, ProviderEntry
from meltica.settings.environment import OTHERS, layer
from meltica.strategies.large_trades import LargeTrades
from meltica.trading.risk.limits import GlobalRiskLimits
from meltica.validation.models import keys, model_of
from meltica.validation.section import NoEffect
from tests.support.paths import ROOT

MINE = """
    import meltica

    class Mine(meltica.Lambda):
        class Config(meltica.LambdaConfig):
            size: float
            api_key: int = 0

        def on_trade(self, trade): ...
"""
PROVIDER = "providers: {p: {adapter: replay, settings: {sample: true}}}\n"


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(dedent(MINE))
    return tmp_path


def config(folder: Path, text: str, **environ: str) -> Loaded:
    file = folder / "config.yaml"
    file.write_text(dedent(text))
    return load(file, environ=environ)


# Trading.


def test_limits_have_three_scopes_and_reach_the_specs(folder: Path) -> None:
    loaded = config(
        folder,
        """\
        risk: {maxOrderSize: 2}
        providers:
          p: {adapter: fake, risk: {maxOpenOrders: 7}, paper: {latency: 5ms, balances: {USDT: 10}}}
        lambdas:
          a: {strategy: large-trades, scope: {p: [BTC-USDT]}, onStop: keep, risk: {maxOrderSize: "0.5"}}
          b: {strategy: large-trades, scope: {p: [BTC-USDT]}, dryRun: false}
        """,
        MELTICA_PROVIDERS__P__RISK__MAXDAILYLOSS="100",
        MELTICA_LAMBDAS__A__RISK__CAPITAL="1000",
    )
    provider = loaded.settings.providers["p"]
    assert loaded.settings.risk.max_order_size == 2
    assert (provider.risk.max_open_orders, provider.risk.max_daily_loss) == (7, 100)
    assert provider.risk.max_order_size is None
    assert provider.paper.balances == {"USDT": 10}
    first, second = loaded.lambdas["a"], loaded.lambdas["b"]
    assert (first.dry_run, first.on_stop) == (True, "keep")
    assert first.risk == {"maxOrderSize": Decimal("0.5"), "capital": Decimal(1000)}
    assert (second.dry_run, second.on_stop, second.risk) == (False, "cancel", {})
    shown = cast(Any, loaded.shown())
    assert shown["providers"]["p"]["risk"]["maxOpenOrders"] == 7
    assert (shown["lambdas"]["a"]["onStop"], shown["lambdas"]["a"]["risk"]["capital"]) == ("keep", "1000")


def test_an_inventory_has_a_price_and_reaches_the_spec(folder: Path) -> None:
    loaded = config(
        folder,
        """\
        providers: {p: {adapter: fake}}
        lambdas:
          a:
            strategy: large-trades
            scope: {p: "*"}
            inventory: {p: {BTC/USDT: {quantity: 0.5, price: "60000"}}}
        """,
    )
    wanted = Inventory(quantity=Decimal("0.5"), price=Decimal(60000))
    assert loaded.lambdas["a"].inventory == {("p", "BTC-USDT"): wanted}
    assert trading_spec(loaded.lambdas["a"]).inventory == {("p", "BTC-USDT"): wanted}


class _Real(FakeAdapter):
    identifier = "real"
    simulated = False


@pytest.mark.parametrize("dry_run", ["false", "no", '"0"'])
def test_real_money_needs_consent_and_limits_at_the_provider(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dry_run: str
) -> None:
    known = registry.adapter

    def adapter(name: str) -> type[Adapter]:
        return _Real if name == "real" else known(name)

    monkeypatch.setattr(registry, "adapter", adapter)
    lambdas = f"lambdas: {{a: {{strategy: large-trades, scope: {{p: [BTC-USDT]}}, dryRun: {dry_run}}}}}"
    with pytest.raises(ConfigError, match="trades real money") as refused:
        config(folder, f"providers: {{p: {{adapter: real}}}}\n{lambdas}")
    assert refused.value.faults == (
        "`lambdas.a.dryRun` (line 2): provider `p` trades real money: set `live: true` and limits, or"
        " `dryRun: true`",
    )
    with pytest.raises(ConfigError, match="states its limits itself"):
        config(folder, f"providers: {{p: {{adapter: real, live: true}}}}\n{lambdas}")
    limits = "{maxPositionSize: 1, maxNotionalValue: 9, priceBandPercent: 1, maxDailyLoss: 5"
    limits += ", staleMarketSeconds: 2}"
    loaded = config(folder, f"providers: {{p: {{adapter: real, live: true, risk: {limits}}}}}\n{lambdas}")
    assert not loaded.lambdas["a"].dry_run


# Spellings.


def test_both_spellings_of_adapters_and_lambdas_are_equivalent(folder: Path) -> None:
    short = config(
        folder,
        """\
        providers:
          p: {adapter: replay, settings: {paths: [a.gz], speed: 2}, enabled: false}
        lambdas:
          - {id: x, strategy: mine.py, scope: {p: "*"}}
        """,
    )
    long = config(
        folder,
        """\
        providers:
          p: {adapter: {identifier: replay, config: {paths: [a.gz], speed: 2}}, enabled: false}
        lambdas:
          x: {id: x, strategy: mine.py, scope: {p: "*"}}
        """,
    )
    assert short.providers == long.providers
    assert short.lambdas == long.lambdas
    assert short.settings == long.settings


def test_specs_have_defaults_applied_and_paths_resolved(folder: Path) -> None:
    loaded = config(
        folder,
        """\
        eventbus: {bufferSize: 64}
        lambdaDefaults: {maxErrors: 2, stopTimeout: 1s}
        providers:
          p: {adapter: replay, settings: {paths: [a.gz, /b.gz, "~/c"], speed: 2}}
        lambdas:
          - id: a
            strategy: mine.py:Mine
            config: {size: 1}
            scope: {p: [BTC/USDT, BTC-USDT], meltica: "*"}
          - id: b
            strategy: LargeTrades
            scope: {p: ["*", ETH-USDT]}
            host: shared
            enabled: no
            policies: {Trade: block}
            bufferSize: 8
            maxErrors: 0
            slowCallback: 5ms
        """,
    )
    provider, first, second = loaded.providers["p"], *loaded.lambdas.values()
    assert (provider.name, provider.adapter, provider.enabled) == ("p", "replay", True)
    assert isinstance(provider.settings, registry.adapter("replay").Settings)
    assert provider.settings.model_dump()["paths"] == [
        folder / "a.gz",
        Path("/b.gz"),
        Path("~/c").expanduser(),
    ]
    assert (first.id, first.strategy, first.config) == ("a", f"{folder}/mine.py:Mine", {"size": 1})
    assert first.scope == {"p": ("BTC-USDT",), "meltica": ("*",)}
    assert (first.host, first.enabled, first.policies) == ("thread", True, {})
    assert (first.buffer_size, first.max_errors) == (64, 2)
    assert (first.slow_callback, first.stop_timeout) == (timedelta(milliseconds=100), timedelta(seconds=1))
    assert (second.strategy, second.scope) == ("large-trades", {"p": ("*",)})
    assert (second.host, second.enabled, second.policies) == ("shared", False, {"Trade": "block"})
    assert (second.buffer_size, second.max_errors, second.slow_callback) == (8, 0, timedelta(milliseconds=5))
    assert load_strategy(first.strategy).__name__ == "Mine"
    assert load_strategy(second.strategy) is LargeTrades


def test_files_of_strategies_are_relative_to_the_configured_folder(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "mine.py").rename(folder / "deep" / "mine.py")
    lambdas = "lambdas: [{id: a, strategy: mine.py, scope: {p: '*'}}]\n"
    text = f"{PROVIDER}{lambdas}strategies: {{directory: deep}}\n"
    assert config(folder, text).lambdas["a"].strategy == f"{folder}/deep/mine.py"


def test_the_shown_configuration_can_be_loaded_again(folder: Path) -> None:
    lambdas = "lambdas: [{id: a, strategy: mine.py, config: {size: 1}, scope: {p: '*'}}]\n"
    loaded = config(folder, f"{PROVIDER}{lambdas}shutdown: {{timeout: 90s}}\n")
    (folder / "empty.yaml").write_text("environment: dev")
    again = load(folder / "empty.yaml", loaded.shown(), environ={})
    assert again.shown() == loaded.shown()
    assert (again.providers, again.lambdas) == (loaded.providers, loaded.lambdas)
    assert again.settings.shutdown == loaded.settings.shutdown


# Faults.


def test_strategies_are_imported_by_the_check_and_not_by_loading(folder: Path) -> None:
    (folder / "bad.py").write_text("import meltica\nraise ValueError('ran')\n")
    (folder / "syntax.py").write_text("class A:\n  x = (\n")
    (folder / "none.py").write_text("import meltica\nclass N(meltica.Lambda): ...\n")
    (folder / "plain.py").write_text(
        "import meltica\nclass P(meltica.Lambda):\n  def on_trade(self, t): ...\n"
    )
    loaded = config(
        folder,
        PROVIDER
        + dedent("""\
        lambdas:
          - {id: a, strategy: bad.py, scope: {p: "*"}}
          - {id: b, strategy: syntax.py, scope: {p: "*"}}
          - {id: c, strategy: none.py, scope: {p: "*"}}
          - {id: d, strategy: plain.py, scope: {p: "*"}, config: {x: 1}}
          - {id: e, strategy: mine.py, scope: {p: "*"}, config: {sise: 1, api_key: hush}}
          - {id: f, strategy: mine.py:Mien, scope: {p: "*"}}
          - {id: g, strategy: mine.py, scope: {p: "*"}, config: {size: "1.5"}}
          - {id: h, strategy: mine.py, scope: {p: "*"}, config: {size: "${SIZE}"}}
        """),
        SIZE="hush",
    )
    no_number = "unable to parse string as"
    assert [line.replace(str(folder), "FOLDER") for line in check_lambdas(loaded)] == [
        "`lambdas[0].strategy` (line 3): FOLDER/bad.py, line 2: ValueError: ran",
        "`lambdas[1].strategy` (line 4): FOLDER/syntax.py, line 2: syntax error: '(' was never closed",
        f"`lambdas[2].strategy` (line 5): nothing is subscribed: override one of {', '.join(CALLBACKS)}",
        "`lambdas[3].config.x` (line 6) is unknown; P has no Config",
        "`lambdas[4].config.size` (line 7) is required and was not given",
        f"`lambdas[4].config.api_key` (line 7): input should be a valid integer, {no_number} an integer",
        "`lambdas[4].config.sise` (line 7) is unknown; did you mean `size`?",
        "`lambdas[5].strategy` (line 8): FOLDER/mine.py: class `Mien` does not exist; did you mean `Mine`?",
        f"`lambdas[7].config.size` (line 10): input should be a valid number, {no_number} a number, saw the"
        " value of ${SIZE}",
    ]


# Shipped files.


@pytest.mark.parametrize("name", ["default", "example", "ci"])
def test_the_shipped_files_load_without_faults_or_warnings(name: str) -> None:
    loaded = load(shipped(name), environ={})
    assert not loaded.warnings
    assert not check_lambdas(loaded)
    assert loaded.providers
    assert loaded.lambdas
    # The installed files may be copies.
    assert (ROOT / "config" / f"{name}.yaml").read_bytes() == shipped(name).read_bytes()


def walk(cls: Any, under: str = "") -> Iterator[tuple[str, bool]]:
    """Yields each key of a model, and whether it has no effect."""
    for key, field in keys(cls).items():
        idle = any(isinstance(mark, NoEffect) for mark in field.metadata)
        inner = model_of(field.annotation)
        if inner is None or key in ("providers", "lambdas", "settings"):
            yield f"{under}{key}", idle
        else:
            yield from ((name, idle or deep) for name, deep in walk(inner, f"{under}{key}."))


def flat(values: Mapping[str, Any], under: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(cast(dict[str, Any], value), f"{under}{key}.")
        yield f"{under}{key}"


def test_the_example_has_every_key_with_its_default(tmp_path: Path) -> None:
    """Uncomments the keys behind `#`: those without effect, and those without a default."""
    file = tmp_path / "all.yaml"
    text = shipped("example").read_text()
    file.write_text(re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE))
    everything = load(file, environ={"DATABASE_URL": "postgres://h/db"})
    given = set(everything.sources)
    expected = {
        *(key for key, _ in walk(Settings)),
        *(f"providers.demo.{key}" for key, _ in walk(ProviderEntry)),
        *(f"lambdas.large-trades.{key}" for key, _ in walk(LambdaEntry)),
    }
    above = {key.rpartition(".")[0] for key in given} | {".".join(key.split(".")[:3]) for key in given}
    assert expected - given - above - {"providers", "lambdas"} == set()
    assert {warning.split("`")[1] for warning in everything.warnings} == {
        "eventbus.fanoutWorkers",
        "pools.event",
        "pools.orderRequest",
        "strategies.requireRegistry",
    }
    idle = {key for key, has_no_effect in walk(Settings) if has_no_effect}
    unset = {
        "apiServer.tls",
        "apiServer.tls.certificate",
        "apiServer.tls.key",
        "apiServer.tokenFolder",
        "database.dsn",
        "database.home",
        "hosts.spin",
        "log.file",
        "notifications.heartbeat.url",
        "notifications.heartbeat.failUrl",
        "strategies.directory",
        "telemetry.otlpEndpoint",
        "telemetry.otlpInsecure",
        "telemetry.enableMetrics",
    }
    unset |= {f"risk.{key}" for key, field in keys(GlobalRiskLimits).items() if field.default is None}
    loaded, defaults = everything.settings.model_dump(by_alias=True), Settings().model_dump(by_alias=True)
    for key in {key for key, _ in walk(Settings)} - unset - {"providers", "lambdas"}:
        if key not in idle:
            value, default = loaded, defaults
            for part in key.split("."):
                value, default = value[part], default[part]
            assert value == default, key


def test_the_docs_explain_every_key() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for key in [*(key for key, _ in walk(Settings)), *OTHERS]:
        assert f"`{key}`" in page, key
    for key in [key for cls in (ProviderEntry, LambdaEntry) for key, _ in walk(cls)]:
        assert f"`{key}`" in page, key


def test_the_variables_of_the_example_exist() -> None:
    lines = re.findall(r"^#?(MELTICA_\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(lines) >= 3
    assert not layer(dict(lines), {}).faults


# Arbitrary input.

WORDS = sorted(
    {part for key, _ in walk(Settings) for part in key.split(".")}
    | {key for cls in (ProviderEntry, LambdaEntry) for key, _ in walk(cls)}
    | {"id", "identifier", "replay", "paths", "demo", "large-trades", "BTC-USDT", "*", "true", "5s"}
)
TEXTS = ["~unknown-user-name/x.py", "x" * 300, "large-trades", "", ".", "/", "a\nb.py", "\x1b[2J", "a=b"]
numbers = st.booleans() | st.integers(-9, 9) | st.floats(0, 9)
scalars = st.none() | numbers | st.sampled_from(WORDS + TEXTS) | st.text("a$\0{}~/.:", max_size=4)


def containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)


anything = st.recursive(scalars, containers, max_leaves=8)
manifests = st.fixed_dictionaries(
    {},
    optional={
        "providers": st.dictionaries(
            st.sampled_from(WORDS),
            st.fixed_dictionaries({"adapter": st.just("replay")}, optional={"settings": anything}) | anything,
            max_size=2,
        ),
        "lambdas": st.lists(
            st.fixed_dictionaries(
                {"id": scalars, "strategy": scalars, "scope": anything},
                optional=dict.fromkeys(set(keys(LambdaEntry)) - {"strategy", "scope"}, anything),
            )
            | anything,
            max_size=3,
        ),
        "strategies": st.fixed_dictionaries({"directory": scalars}) | anything,
        "database": st.fixed_dictionaries({"home": scalars, "dsn": scalars}) | anything,
    },
)
blocks = st.dictionaries(st.sampled_from([*keys(Settings)]), anything, max_size=3)


@given(manifests, blocks, blocks)
def test_any_input_is_loaded_or_refused_with_printable_faults(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, object],
    second: dict[str, object],
    variables: dict[str, object],
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    text = yaml.safe_dump(second | first)  # pyright: ignore[reportUnknownMemberType]
    file.write_text(text, encoding="utf-8")
    environ = {f"MELTICA_{key.upper()}": json.dumps(value) for key, value in variables.items()}
    for source, overrides in ((file, None), (shipped("ci"), first)):
        try:
            loaded = load(source, overrides, environ=environ)
        except ConfigError as error:
            assert error.faults
            assert all(fault.isprintable() for fault in error.faults)
        else:
            assert json.dumps(loaded.shown())


def test_a_stored_module_is_not_loaded_before_the_gateway_has_its_database(folder: Path) -> None:
    text = PROVIDER + "lambdas: {a: {strategy: 'Grid:1.0.0', scope: {p: '*'}, config: {step: 1}}}\n"
    loaded = config(folder, text)
    assert (loaded.lambdas["a"].strategy, loaded.lambdas["a"].module) == ("grid:1.0.0", None)
    assert check_lambdas(loaded) == []
