"""Loading the configuration: priority of its sources, all faults at once, secrets, warnings."""

import pickle
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import pytest

from meltica.errors import ConfigError
from meltica.settings import Loaded, Settings, load, shipped
from meltica.validation.models import revealed

Load = Callable[..., Loaded]
Faults = Callable[..., tuple[str, ...]]

VAULT = """
    from pydantic import SecretStr
    from meltica.adapters.base import Adapter, AdapterSettings

    class VaultSettings(AdapterSettings):
        key: SecretStr
        passphrase: int = 0
        limit: int = 1
        uri: str = ""

    class Vault(Adapter):
        identifier, display_name, venue = "vault", "Vault", "VAULT"
        Settings = VaultSettings
        def providers(self): return ["vault"]
        def start(self, producers): ...
        def run(self): ...
        def stop(self): ...
"""
HUSH = "hush-hush"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.fixture(name="loaded")
def _loaded(file: Path) -> Load:
    """Loads a configuration from the text of a file and an environment."""

    def run(
        text: str = "environment: dev", overrides: dict[str, object] | None = None, **environ: str
    ) -> Loaded:
        file.write_text(dedent(text))
        return load(file, overrides, environ=environ)

    return run


@pytest.fixture(name="faults")
def _faults(loaded: Load, file: Path) -> Faults:
    """Returns the faults of the text of a file and an environment."""

    def run(text: str = "environment: dev", **environ: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, **environ)
        assert caught.value.subject == str(file)
        assert not any("\n" in fault for fault in caught.value.faults)
        return caught.value.faults

    return run


@pytest.fixture(name="vault")
def _vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs a package with an adapter that has secrets."""
    site = tmp_path / "site"
    info = site / "meltica_vault-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: meltica-vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[meltica.adapters]\nvault = meltica_vault_adapter:Vault\n")
    (site / "meltica_vault_adapter.py").write_text(dedent(VAULT))
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])


# Sources.


def test_sources_have_their_order_of_priority(loaded: Load, file: Path) -> None:
    text = "database: {dsn: 'postgres://file/db', maxConns: 3}\nlog: {level: error}\n"
    dotenv = file.with_name(".env")
    layers: list[dict[str, str]] = [{}, {"DATABASE_URL": "postgres://url/db"}]
    layers += [{"MELTICA_DATABASE__DSN": "postgres://env/db"}]
    dsns: list[str] = []
    for environ in layers:
        settings = loaded(text, **environ).settings
        assert settings.database.dsn is not None
        dsns.append(settings.database.dsn.get_secret_value())
    dotenv.write_text("MELTICA_DATABASE__DSN=postgres://dotenv/db\nDATABASE_URL=postgres://never/db\n")
    for environ, overrides in [
        (layers[1], None),
        (layers[2], None),
        (layers[2], {"database": {"dsn": "postgres://given/db"}}),
    ]:
        result = loaded(text, overrides, **environ)
        assert result.settings.database.dsn is not None
        assert result.settings.database.max_conns == 3
        dsns.append(result.settings.database.dsn.get_secret_value())
    assert [dsn.removeprefix("postgres://").removesuffix("/db") for dsn in dsns] == (
        ["file", "url", "env", "dotenv", "env", "given"]
    )


def test_the_origin_of_each_value_is_recorded(loaded: Load, file: Path) -> None:
    file.with_name(".env").write_text("MELTICA_LOG__LEVEL=error\n")
    text = "environment: prod\nlambdaDefaults:\n  maxErrors: 3\n"
    result = loaded(
        text, {"shutdown": {"timeout": 5}}, MELTICA_LOG__FORMAT="json", DATABASE_URL="postgres://h/db"
    )
    assert result.sources == {
        "environment": "config.yaml:1",
        "lambdaDefaults.maxErrors": "config.yaml:3",
        "log.level": "MELTICA_LOG__LEVEL in .env",
        "log.format": "MELTICA_LOG__FORMAT",
        "database.dsn": "DATABASE_URL",
        "shutdown.timeout": "given at start",
    }


def test_the_file_is_given_by_path_or_variable_or_is_the_default(
    loaded: Load, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded()
    monkeypatch.chdir(tmp_path)
    assert load(environ={"MELTICA_CONFIG_PATH": str(file)}).path == file
    assert load(Path("config.yaml"), environ={}).base == tmp_path
    packaged = load(environ={"MELTICA_CONFIG_PATH": ""})
    assert (packaged.path, packaged.base) == (shipped("default"), tmp_path)
    with pytest.raises(
        ConfigError, match=r"no\.yaml: cannot be read: No such file.*; the path is from MELTICA_CONFIG_PATH$"
    ):
        load(environ={"MELTICA_CONFIG_PATH": "no.yaml"})


def test_the_environment_of_the_process_is_the_default(
    loaded: Load, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded()
    monkeypatch.setenv("MELTICA_LOG__LEVEL", "error")
    assert load(file).settings.log.level == "error"
    assert Settings().log.level == "info"


def test_dotenv_is_next_to_the_file_and_has_lower_priority_than_the_environment(
    loaded: Load, file: Path
) -> None:
    file.with_name(".env").write_text(
        "# a remark\nexport LEVEL=error\nEMPTY=full\nSECRET_TOO='a$b${c} # d'\n"
        "MELTICA_HOME=/srv\nMELTICA_LOG__FORMAT=\n"
    )
    result = loaded("log: {level: '${LEVEL}', format: json}\n", OTHER="x", EMPTY="")
    assert (result.settings.log.level, result.settings.log.format) == ("error", "json")
    assert result.environment == {
        "LEVEL": "error",
        "EMPTY": "full",
        "SECRET_TOO": "a$b${c} # d",
        "MELTICA_HOME": "/srv",
        "MELTICA_LOG__FORMAT": "",
        "OTHER": "x",
    }


def test_broken_dotenv(faults: Faults, file: Path) -> None:
    dotenv = file.with_name(".env")
    dotenv.write_text("A=1\nno value\nB\n")
    assert faults() == (
        f"{dotenv}, line 2: expected NAME=value",
        f"{dotenv}, line 3: expected NAME=value",
    )
    dotenv.write_bytes(b"A=\xff\n")
    assert faults() == (f"{dotenv}: is not valid UTF-8 at byte 2",)
    dotenv.unlink()
    dotenv.mkdir()
    assert faults("- 1") == (
        "expected keys with values, such as `environment: dev`, saw a list",
        f"{dotenv}: cannot be read: Is a directory",
    )


def test_null_and_empty_sections_count_as_unset(loaded: Load) -> None:
    result = loaded(
        "log:\nproviders:\nlambdas:\ndatabase: {dsn: null, maxConns: 2}\neventbus: {fanoutWorkers: ~}\n"
    )
    assert result.settings.log.level == "info"
    assert result.settings.database.dsn is None
    assert result.settings.database.max_conns == 2
    assert not result.warnings
    assert not result.providers


# Values.


def test_values_are_converted_to_their_types(loaded: Load, tmp_path: Path) -> None:
    settings = loaded(
        """
        environment: PROD
        log: {level: Debug}
        apiServer: {addr: "[::1]:0"}
        eventbus: {bufferSize: "4096", extensionPayloadCapBytes: 1MiB}
        interpreter: {switchInterval: 0.001}
        hosts: {spin: 50us}
        supervision: {backoff: {min: 250ms, max: 2m}, stopTimeout: 1h30m}
        database: {runMigrations: no, home: data, maxConns: 2}
        strategies: {directory: mine}
        risk: {maxPositionSize: 0.10, priceBandPercent: "2.50", allowedOrderTypes: "limit, LIMIT"}
        """
    ).settings
    assert (settings.environment, settings.log.level) == ("prod", "debug")
    assert (settings.api_server.host, settings.api_server.port) == ("::1", 0)
    assert (settings.eventbus.buffer_size, settings.eventbus.extension_payload_cap_bytes) == (4096, 1 << 20)
    assert settings.interpreter.switch_interval == timedelta(milliseconds=1)
    assert settings.hosts.spin == timedelta(microseconds=50)
    assert settings.supervision.backoff.min == timedelta(milliseconds=250)
    assert settings.supervision.stop_timeout == timedelta(minutes=90)
    assert settings.database.run_migrations is False
    assert settings.database.home == tmp_path / "data"
    assert settings.strategies.directory == tmp_path / "mine"
    assert str(settings.risk.price_band_percent) == "2.50"
    assert settings.risk.allowed_order_types == ("Limit",)


def test_a_partial_risk_section_keeps_the_other_defaults(loaded: Load) -> None:
    risk = loaded("risk: {maxPositionSize: 7, circuitBreaker: {threshold: 9}}").settings.risk
    expected = Settings().risk
    assert risk.max_position_size == Decimal(7)
    assert risk.circuit_breaker is not None
    assert (risk.circuit_breaker.threshold, risk.circuit_breaker.cooldown) == (9, timedelta(seconds=90))
    assert risk.model_copy(update={"max_position_size": Decimal(250)}) == expected.model_copy(
        update={"circuit_breaker": risk.circuit_breaker}
    )


def test_values_are_frozen(loaded: Load) -> None:
    settings = loaded().settings
    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "error"
    with pytest.raises(ValueError, match="frozen"):
        settings.environment = "prod"


# Faults. The table holds configurations with the exact lines of their faults.


def cases() -> list[tuple[str, list[str]]]:
    """Returns (config, faults) of each case; `=> ` begins a fault, FOLDER is that of the config."""
    table = (Path(__file__).parent / "faults.txt").read_text(encoding="utf-8")
    rows: list[tuple[str, list[str]]] = []
    for case in table.strip().split("\n\n"):
        text, *lines = case.split("\n=> ")
        rows.append((text, lines))
    return rows


@pytest.mark.parametrize(("text", "lines"), cases())
def test_faults_in_the_file(faults: Faults, file: Path, text: str, lines: list[str]) -> None:
    assert [line.replace(str(file.parent), "FOLDER") for line in faults(text)] == lines


def test_all_faults_are_reported_at_once_in_the_order_of_the_file(faults: Faults) -> None:
    lines = faults(
        """\
        lambdas: [{id: a, strategy: nothing, scope: {x: "*"}}]
        environment: nowhere
        log:
          levl: info
          format: ${NO}
        database: {minConns: -1}
        """,
        MELTICA_LOG__LEVL="x",
        MELTICA_EVENTBUS__BUFFERSIZE="many",
    )
    assert [line.partition("`: ")[0].partition("):")[0][:48] for line in lines] == [
        "`lambdas[0].scope.x` (line 1",
        "`lambdas[0].strategy` (line 1",
        "`environment` (line 2",
        "`log.levl` (line 4) is unknown; did you mean `le",
        "`log.format` (line 5",
        "`database.minConns` (line 6",
        "`eventbus.bufferSize` (MELTICA_EVENTBUS__BUFFERS",
        "`MELTICA_LOG__LEVL` does not match any key; did ",
    ]


def test_an_error_can_be_pickled(faults: Faults, file: Path) -> None:
    error = ConfigError(str(file), faults("log: {levl: 1, formt: 2}"))
    assert pickle.loads(pickle.dumps(error)).faults == error.faults
    assert str(error).count("is unknown") == 2


# Keys without effect.


def test_keys_without_effect_cause_warnings(loaded: Load) -> None:
    result = loaded(
        """\
        eventbus: {fanoutWorkers: auto}
        pools:
          event: {size: 8192}
          orderRequest: {size: 1, waitQueueSize: 0}
        """,
        MELTICA_STRATEGIES__REQUIREREGISTRY="false",
    )
    grows = "pools grow with the lambdas that run; pools.maxBytes limits them"
    assert sorted(result.warnings) == sorted(
        [
            "`eventbus.fanoutWorkers` (line 1) has no effect: events are queued without worker threads",
            f"`pools.event` (line 3) has no effect: {grows}",
            f"`pools.orderRequest` (line 4) has no effect: {grows}",
            "`strategies.requireRegistry` (MELTICA_STRATEGIES__REQUIREREGISTRY) has no effect:"
            " strategies are files or entry points",
        ]
    )


def test_keys_without_effect_are_validated(faults: Faults) -> None:
    assert faults("eventbus: {fanoutWorkers: 0}\npools: {event: {waitQueueSize: -1, siz: 2}}\n") == (
        "`eventbus.fanoutWorkers` (line 1): input should be greater than 0 or input should be 'auto' or"
        " 'default', saw 0",
        "`pools.event.waitQueueSize` (line 2): input should be greater than or equal to 0, saw -1",
        "`pools.event.siz` (line 2) is unknown; did you mean `size`?",
    )


def test_a_config_path_in_dotenv_causes_a_warning(loaded: Load, file: Path) -> None:
    file.with_name(".env").write_text("MELTICA_CONFIG_PATH=x.yaml\n")
    (warning,) = loaded().warnings
    assert warning.startswith("`MELTICA_CONFIG_PATH` in .env has no effect")


# Secrets.


@pytest.mark.usefixtures("vault")
def test_errors_do_not_contain_secrets(faults: Faults) -> None:
    lines = faults(
        f"""\
        database: {{dsn: "mysql://me:{HUSH}@host/db", maxConns: "${{SECRET}}"}}
        providers:
          a: {{adapter: vault, settings: {{key: [{HUSH}], passphrase: {HUSH}, limit: "${{SECRET}}"}}}}
          b: {{adapter: vault, settings: {HUSH}}}
          c: {HUSH}
          d: {{adapter: vault, settings: {{key: x, kee: {HUSH}}}}}
        lambdas: {HUSH}
        """,
        SECRET=HUSH,
        MELTICA_PROVIDERS__D__SETTINGS__KEYY=HUSH,
        MELTICA_PROVIDERS__D__SETTINGS__LIMIT=HUSH,
        MELTICA_LOG=HUSH,
    )
    assert HUSH not in "".join(lines)
    no_int = "input should be a valid integer, unable to parse string as an integer"
    dsn = "postgresql://user:password@host:port/database"
    assert lines == (
        f"`database.dsn` (line 1): expected {dsn}, or host=... dbname=...",
        f"`database.maxConns` (line 1): {no_int}, saw the value of ${{SECRET}}",
        "`providers.a.settings.key` (line 3): input should be a valid string",
        f"`providers.a.settings.passphrase` (line 3): {no_int}",
        f"`providers.a.settings.limit` (line 3): {no_int}, saw the value of ${{SECRET}}",
        "`providers.b.settings` (line 4): expected keys with values, saw a string",
        "`providers.c` (line 5): expected keys with values, saw a string",
        f"`providers.d.settings.limit` (MELTICA_PROVIDERS__D__SETTINGS__LIMIT): {no_int},"
        " saw the value of this variable",
        "`providers.d.settings.kee` (line 6) is unknown; did you mean `key`?",
        "`lambdas` (line 7): expected keys with values, saw a string",
        "`MELTICA_PROVIDERS__D__SETTINGS__KEYY` does not match any key; did you mean"
        " `MELTICA_PROVIDERS__D__SETTINGS__KEY`?",
        '`MELTICA_LOG`: expected JSON such as {"key": "value"}',
    )


@pytest.mark.usefixtures("vault")
def test_the_shown_configuration_does_not_contain_secrets(loaded: Load) -> None:
    result = loaded(
        f"""\
        database: {{dsn: "postgresql://me:{HUSH}@host/db"}}
        providers:
          a: {{adapter: vault, settings: {{key: {HUSH}, uri: "x://${{SECRET}}"}}}}
        lambdas:
          - id: l
            strategy: large-trades
            scope: {{a: "*"}}
            config:
              apiKey: {HUSH}
              deep: {{access_token: [{HUSH}]}}
              plain: "${{SECRET}}"
              list: [1, "${{SECRET}}"]
        """,
        SECRET=HUSH,
        MELTICA_LAMBDAS__L__CONFIG__FROMOUTSIDE=HUSH,
    )
    shown = result.shown()
    assert HUSH not in f"{result!r}{result.settings!r}{shown!r}{result.providers!r}{result.lambdas!r}"
    assert shown["database"]["dsn"] == "********"  # pyright: ignore
    assert shown["providers"]["a"]["settings"] == {  # pyright: ignore
        "key": "********",
        "passphrase": "********",
        "limit": 1,
        "uri": "********",
    }
    assert shown["lambdas"]["l"]["config"] == {  # pyright: ignore
        "apiKey": "********",
        "deep": {"access_token": "********"},
        "plain": "********",
        "list": [1, "********"],
        "fromoutside": "********",
    }
    assert revealed(result.providers["a"].settings) == {
        "key": HUSH,
        "passphrase": 0,
        "limit": 1,
        "uri": f"x://{HUSH}",
    }


def test_none_in_overrides_unsets_a_key_of_every_source(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("database: {dsn: 'postgresql://file/x', home: elsewhere, maxConns: 4}")
    environ = {"DATABASE_URL": "postgresql://url/x", "MELTICA_DATABASE__DSN": "postgresql://variable/x"}
    overrides = {"database": {"home": str(tmp_path), "dsn": None}}
    loaded = load(file, overrides, environ=environ)
    assert loaded.settings.database.dsn is None
    assert loaded.settings.database.home == tmp_path
    assert loaded.settings.database.max_conns == 4
    assert "database.dsn" not in loaded.sources
