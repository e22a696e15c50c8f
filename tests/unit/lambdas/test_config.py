"""Configs: validation, defaults, schema, errors."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from meltica.errors import ConfigError
from meltica.lambdas.config import LambdaConfig, config_schema, load_config
from meltica.validation.units import Duration


class Grid(BaseModel):
    levels: int = Field(default=5, ge=1)
    width: float


class Config(LambdaConfig):
    symbol: str
    threshold: float = 0.5
    """Percent of the bid."""
    size: Decimal = Decimal("0.001")
    mode: Literal["fast", "slow"] = "fast"
    pause: timedelta = timedelta(seconds=30)
    symbols: list[str] = Field(default_factory=list)
    grid: Grid | None = None
    key: SecretStr | None = None
    dry: bool = True


def faults(values: Mapping[str, object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(Config, values)
    return caught.value.faults


def test_strings_are_parsed_as_the_type_of_the_field() -> None:
    texts = {"symbol": "BTC-USDT", "threshold": "0.25", "size": "0.10", "symbols": "A-B, C-D", "dry": "false"}
    config = load_config(Config, {**texts, "grid": {"width": "0.1"}})
    assert (config.threshold, config.size, config.dry) == (0.25, Decimal("0.10"), False)
    assert config.symbols == ["A-B", "C-D"]
    assert config.grid == Grid(levels=5, width=0.1)
    assert load_config(Config, {"symbol": "x", "grid": '{"width": 1}'}).grid == Grid(width=1)
    assert load_config(Config, {"symbol": "x", "symbols": '["a"]'}).symbols == ["a"]


def test_every_fault_is_reported_with_its_path() -> None:
    assert faults({"threshhold": "1", "grid": {"levels": 0, "with": 1}, "dry": "perhaps"}) == (
        "`symbol` is required and was not given",
        "`grid.levels`: input should be greater than or equal to 1, saw 0",
        "`grid.width` is required and was not given",
        "`dry`: input should be a valid boolean, unable to interpret input, saw 'perhaps'",
        "`threshhold` is unknown; did you mean `threshold`?",
    )


def test_the_error_names_the_lambda_and_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^config of Config: .*`symbol` is required") as caught:
        load_config(Config, {"nothing": 1})
    assert "\n" not in str(caught.value)


def test_secrets_are_never_shown() -> None:
    text = "".join(faults({"symbol": "x", "key": ["hush-hush"]}))
    assert "`key`" in text
    assert "hush" not in text


def test_values_are_frozen() -> None:
    config = load_config(Config, {"symbol": "x"})
    with pytest.raises(ValueError, match="frozen"):
        config.symbol = "y"  # pyright: ignore[reportAttributeAccessIssue]


class Timing(LambdaConfig):
    every: Duration = timedelta(milliseconds=500)
    again: Duration = timedelta(minutes=90)
    written: Duration = "250ms"  # pyright: ignore[reportAssignmentType]
    pauses: list[Duration] = [timedelta(seconds=2)]
    plain: timedelta = timedelta(seconds=0.5)
    grid: Grid = Grid(width=2)


class Unready(LambdaConfig):
    every: Duration = timedelta(seconds=1)

    def model_post_init(self, context: object, /) -> None:
        raise SystemExit


def test_a_schema_runs_no_code_of_the_author() -> None:
    assert [row["default"] for row in config_schema(Unready)] == ["1s"]


def test_a_default_can_be_given() -> None:
    defaults = {str(row["name"]): row["default"] for row in config_schema(Timing)}
    assert [defaults[name] for name in ("every", "again", "written")] == ["500ms", "1h30m", "250ms"]
    assert load_config(Timing, defaults) == load_config(Timing, {})


def test_schema() -> None:
    rows = {row["name"]: row for row in config_schema(Config)}
    words = "string float decimal string duration list object string bool"
    assert [row["type"] for row in rows.values()] == words.split()
    assert rows["symbol"] == {"name": "symbol", "type": "string", "description": "", "required": True}
    assert rows["threshold"]["description"] == "Percent of the bid."
    assert rows["size"]["default"] == "0.001"
    assert rows["symbols"]["default"] == []
    assert "default" not in rows["key"]
    assert config_schema(None) == []


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15))
def test_decimals_are_parsed_exactly(value: Decimal) -> None:
    config = load_config(Config, {"symbol": "x", "size": str(value)})
    assert config.size == value
    assert config.size.as_tuple() == value.as_tuple()


@given(st.dictionaries(st.text(min_size=1, max_size=12), st.text(max_size=12), max_size=4))
def test_any_strings_are_a_config_or_a_config_error(values: dict[str, str]) -> None:
    try:
        load_config(Config, values)
    except ConfigError as error:
        assert error.faults
