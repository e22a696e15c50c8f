"""Settings of a strategy: declared as a pydantic model, checked before the instance exists.

This is the one module of `meltica.lambdas` that loads pydantic; `meltica.LambdaConfig` gets here lazily.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from meltica.validation.models import load, schema


class LambdaConfig(BaseModel):
    """Base of a strategy's settings. Unknown keys are refused, values are frozen, all faults told at once.

    ::

        class Config(LambdaConfig):
            threshold: float = 0.5
            '''Spread in percent of the bid from which to act.'''
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
    """Returns a validated `cls`. Texts are read as the field's type, so values may come from a command line.

    Raises ConfigError that lists all faults, each with its key path and the nearest valid key.
    """
    return load(cls, values, what=f"config of {cls.__qualname__.removesuffix('.Config')}")


def config_schema(cls: type[BaseModel] | None) -> list[dict[str, object]]:
    """Returns `{name, type, description, default?, required}` of each setting, in order."""
    return [] if cls is None else schema(cls)
