"""Options with a JSON object."""

import json
from pathlib import Path
from typing import Any, cast

from meltica.cli import BadInput


def read_object(option: str, text: str) -> dict[str, Any]:
    """Returns the JSON object of an option, read from a file if it begins with `@`. Raises BadInput."""
    text = read_text(option, text)
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise BadInput(f"{option}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{option}: expected an object, saw {text[:80]!r}")
    return cast(dict[str, Any], value)


def read_text(option: str, text: str) -> str:
    """Returns the text of an option, read from a file if it begins with `@`. Raises BadInput."""
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{option}: {error}") from None
