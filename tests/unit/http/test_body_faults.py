"""Every fault of a body, with the path of its key."""

from enum import StrEnum

import msgspec
import pytest
from msgspec import UNSET, Struct, UnsetType

from meltica.http.body_faults import body_faults


class Color(StrEnum):
    """Values of a key."""

    RED = "red"
    BLUE = "blue"


class Inner(Struct, forbid_unknown_fields=True, rename="camel"):
    """An object in a body."""

    some_number: int
    color: Color = Color.RED


class Body(Struct, forbid_unknown_fields=True, rename="camel"):
    """A body."""

    reason: str
    inner: Inner
    numbers: list[int] | UnsetType = UNSET
    other: Inner | None = None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"reason": "x", "inner": {"someNumber": 1}}, {}),
        (
            {"reson": 1, "inner": {"someNumber": "x", "colour": 1, "color": "green"}, "numbers": [1, "2"]},
            {
                "reson": "`reson` is unknown; did you mean `reason`?",
                "reason": "`reason` is required and was not given",
                "inner.someNumber": "`inner.someNumber`: Expected `int`, got `str`",
                "inner.colour": "`inner.colour` is unknown; did you mean `color`?",
                "inner.color": "`inner.color`: Invalid enum value 'green'",
                "numbers[1]": "`numbers[1]`: Expected `int`, got `str`",
            },
        ),
        (
            {"reason": None, "inner": [], "other": {}},
            {
                "reason": "`reason`: Expected `str`, got `null`",
                "inner": "`inner`: Expected `object`, got `array`",
                "other.someNumber": "`other.someNumber` is required and was not given",
            },
        ),
        ([], {"": "Expected `object`, got `array`"}),
    ],
)
def test_all_faults_are_found(body: object, expected: dict[str, str]) -> None:
    content = msgspec.json.encode(body)
    assert body_faults(Body, content) == expected
    # It agrees with the decoder.
    if expected:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(content, type=Body)


def test_what_is_not_json_has_no_faults_of_its_own() -> None:
    assert body_faults(Body, b"{") == {}
    assert body_faults(Body | None, b"null") == {}
