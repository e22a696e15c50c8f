"""Settings of a strategy: declared as a pydantic model, validated before the instance exists.

This is the only module of `meltica.lambdas` that loads pydantic; `meltica.LambdaConfig` imports it lazily.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from meltica.validation.models import load, schema


class LambdaConfig(BaseModel):
    """Base class of a strategy's settings.

    Unknown keys are refused, values are frozen, and all faults are reported at once::

        class Config(LambdaConfig):
            threshold: float = 0.5
            '''Spread, in percent of the bid, that triggers a trade.'''
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )


Config = TypeVar("Config", bound=BaseModel)


def load_config(cls: type[Config], values: Mapping[str, object]) -> Config:
    """Validates `values` and returns a `cls`; strings are parsed as the field's type.

    Raises ConfigError with all faults, each with its key path and the nearest valid key.
    """
    return load(cls, values, subject=f"config of {cls.__qualname__.removesuffix('.Config')}")


def config_schema(cls: type[BaseModel] | None) -> list[dict[str, object]]:
    """Returns `{name, type, description, default?, required}` of each setting, in order."""
    return [] if cls is None else schema(cls)
