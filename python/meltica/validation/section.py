"""Base classes and field types of configuration sections."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel

from meltica.validation.models import fault, keys, mapping, word
from meltica.validation.units import Duration

MAX_BUFFER = 1 << 20
"""Largest capacity of an event queue."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?")


class Section(BaseModel):
    """A section of the configuration: camelCase keys, unknown keys refused, values frozen."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_bool_as_number(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and word(field.annotation) in ("int", "float", "decimal"):
            raise fault(f"expected a number, saw {str(value).lower()}")
        return value


class AdapterSettings(BaseModel):
    """Base class of an adapter's settings: unknown keys are refused and all faults are reported at once."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    change_live: ClassVar[frozenset[str]] = frozenset()
    """The settings that are changed without a restart of the provider. None of them selects the account."""

    def restarts_for(self, other: "AdapterSettings") -> bool:
        """Returns whether a change to `other` needs a restart."""
        if type(self) is not type(other):
            return True
        names = type(self).model_fields.keys() - self.change_live
        return any(getattr(self, name) != getattr(other, name) for name in names)


class FeedSettings(AdapterSettings):
    """Base class of the settings of an adapter whose frames a codec decodes."""

    change_live: ClassVar[frozenset[str]] = frozenset({"checksum"})

    checksum: Literal["verify", "off"] = "verify"
    """Whether the checksums of books are verified; `off` delivers books unverified."""


@dataclass(frozen=True)
class NoEffect:
    """Marks a key without effect, accepted only because the configs of other systems contain it."""

    why: str


def name(value: str) -> str:
    """Validates the name of a provider or lambda."""
    if _NAME.fullmatch(value) is None:
        raise fault(
            "expected a name of 1 to 64 letters, digits, `-`, `_` and `.` that begins with a letter or digit,"
            f" saw {value[:80]!r}"
        )
    return value


def words(value: object) -> object:
    """Splits a string of comma-separated words; returns any other value unchanged."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _decimal(value: object) -> object:
    if isinstance(value, str) and _DECIMAL.fullmatch(value.strip()) is None:
        raise ValueError("expected a decimal number")
    return value


def _above_zero(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("expected a duration above 0")
    return value


def effectless(cls: type[BaseModel], values: Mapping[str, object]) -> dict[tuple[str, ...], str]:
    """Returns the keys in `values` that have no effect, each with the reason."""
    reasons: dict[tuple[str, ...], str] = {}
    for key, field in keys(cls).items():
        value = values.get(key)
        if value is None:
            continue
        for mark in field.metadata:
            if isinstance(mark, NoEffect):
                reasons[(key,)] = mark.why
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            inner = effectless(annotation, mapping(value))
            reasons.update({(key, *rest): why for rest, why in inner.items()})
    return reasons


Name = Annotated[str, AfterValidator(name)]
"""The name of a provider or lambda."""

Amount = Annotated[Decimal, BeforeValidator(_decimal), Field(max_digits=28)]
"""An exact decimal number."""

Positive = Annotated[Duration, AfterValidator(_above_zero)]
"""A duration above 0."""
